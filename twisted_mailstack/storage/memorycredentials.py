# -*- test-case-name: tests.storage.test_memory -*-
"""
Credentials of accounts in memory, and who may log in to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from twisted_mailstack.errors import AlreadyExists
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import (
    APP_PASSWORD,
    PASSWORD,
    AccountPolicy,
    AccountRecord,
    Credential,
)

Secrets = Mapping[str, str]


class MemoryCredentials:
    """
    The part of L{IDirectoryAdmin} that is about logging in.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """
        @param now: seconds since 1970.
        """
        self._time = now
        self._numbers = count(1)
        self._credentials: dict[str, list[Credential]] = {}
        self._policies: dict[str, AccountPolicy] = {}

    def _existing(self, address: Address) -> AccountRecord:
        raise NotImplementedError("_existing")

    async def findCredentials(self, accountId: str) -> Sequence[Credential]:
        """See L{IDirectory}."""
        return sorted(self._credentials.get(accountId, ()), key=lambda each: each.kind != PASSWORD)

    async def isMissing(self, scheme: str) -> bool:
        """See L{ICredentialSurvey<twisted_mailstack.interfaces.ICredentialSurvey>}."""
        return any(
            each.kind == PASSWORD and each.secrets and scheme not in each.secrets
            for found in self._credentials.values()
            for each in found
        )

    async def findPolicy(self, accountId: str) -> AccountPolicy:
        """See L{IDirectory}."""
        return self._policies.get(accountId, AccountPolicy())

    async def setPassword(self, address: Address, secrets: Secrets | str | None) -> None:
        """See L{IDirectoryAdmin}."""
        self.setMainPassword(self._existing(address).accountId, secrets)

    def setMainPassword(self, accountId: str, secrets: Secrets | str | None) -> None:
        """
        @param secrets: as L{IDirectoryAdmin.setPassword}.
        """
        kept = [each for each in self._credentials.get(accountId, ()) if each.kind != PASSWORD]
        self._credentials[accountId] = kept
        if isinstance(secrets, str):
            secrets = {"argon2id": secrets}
        if secrets:
            self._make(accountId, PASSWORD, "", secrets, None, None)

    def _make(
        self, accountId: str, kind: str, name: str, secrets: Secrets, *more: Any
    ) -> Credential:
        services, expires = more
        made = Credential(
            *(f"C{next(self._numbers)}", accountId, kind, name, dict(secrets), services),
            int(self._time()),
            expires,
        )
        self._credentials.setdefault(accountId, []).append(made)
        return made

    async def addAppPassword(
        self,
        address: Address,
        name: str,
        secrets: Secrets,
        services: frozenset[str] | None = None,
        expires: int | None = None,
    ) -> Credential:
        """See L{IDirectoryAdmin}."""
        accountId = self._existing(address).accountId
        for each in self._credentials.get(accountId, ()):
            if (each.kind, each.name) == (APP_PASSWORD, name):
                raise AlreadyExists(f"{address} has an app password {name} already")
        return self._make(accountId, APP_PASSWORD, name, secrets, services, expires)

    def _replaceOne(
        self, credentialId: str, change: Callable[[Credential], Credential | None]
    ) -> None:
        for accountId, all_ in self._credentials.items():
            changed = [change(each) if each.credentialId == credentialId else each for each in all_]
            self._credentials[accountId] = [each for each in changed if each is not None]

    async def removeCredential(self, credentialId: str) -> None:
        """See L{IDirectoryAdmin}."""
        self._replaceOne(credentialId, lambda found: None)

    async def touchCredential(self, credentialId: str, when: int) -> None:
        """See L{IDirectoryAdmin}."""
        self._replaceOne(
            credentialId, lambda found: found._replace(lastUsed=max(found.lastUsed or 0, when))
        )

    async def changeSecrets(self, credentialId: str, secrets: Secrets) -> None:
        """See L{IDirectoryAdmin}."""
        self._replaceOne(credentialId, lambda found: found._replace(secrets=dict(secrets)))

    async def setPolicy(self, address: Address, policy: AccountPolicy) -> None:
        """See L{IDirectoryAdmin}."""
        self._policies[self._existing(address).accountId] = policy

    def forgetCredentials(self, accountId: str) -> None:
        """
        An account is removed.
        """
        self._credentials.pop(accountId, None)
        self._policies.pop(accountId, None)
