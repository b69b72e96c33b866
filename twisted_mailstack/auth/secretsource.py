# -*- test-case-name: tests.auth.test_secretsource -*-
"""
What mechanisms verify clients by that don't show their passwords, out of a directory.

Who asks for a name that isn't known gets what looks like the others': an exchange goes on to its
end, and fails there.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence

from zope.interface import implementer

from twisted_mailstack.auth.names import nameKey, parseLogin
from twisted_mailstack.interfaces import IDirectory, ISecretSource
from twisted_mailstack.model.records import StoredSecret
from twisted_mailstack.sasl.scram import SCHEMES, Verifier, saltFor


@implementer(ISecretSource)
class DirectorySecrets:
    """
    The secrets of a directory's accounts.
    """

    def __init__(
        self,
        directory: IDirectory,
        iterations: int,
        now: Callable[[], float],
        defaultDomain: str | None = None,
        isLocked: Callable[[str, str], Awaitable[bool]] | None = None,
    ) -> None:
        """
        @param iterations: that verifiers are made with here.
        @param now: seconds since 1970.
        @param defaultDomain: of names without C{@}; C{None}: they are unknown.
        @param isLocked: whether a name, as L{nameKey} has it, is locked for a peer. Whoever is
            locked out gets nothing that could be right: a SCRAM server says so before anybody else
            is asked.
        """
        self._isLocked = isLocked
        self._directory = directory
        self._iterations = iterations
        self._now = now
        self._defaultDomain = defaultDomain

    async def secretsFor(self, name: bytes, scheme: str, peer: str = "") -> Sequence[StoredSecret]:
        """See L{ISecretSource}."""
        address = parseLogin(name, self._defaultDomain).actor
        record = None if address is None else await self._directory.findAccount(address)
        usable = record is not None and record.enabled
        # Asked for in any case, so that it takes as long.
        accountId = record.accountId if record is not None and usable else "A0"
        now = self._now()
        found = [
            StoredSecret(each.credentialId, each.secrets[scheme])
            for each in await self._directory.findCredentials(accountId)
            if scheme in each.secrets and (each.expires is None or now < each.expires)
        ]
        key = nameKey(name, self._defaultDomain)
        locked = peer and self._isLocked is not None and await self._isLocked(key, peer)
        if found and not locked:
            return found
        decoy = self._decoy(scheme, key)
        if found and scheme in SCHEMES:
            # As it is told to those who aren't.
            decoy = _withKeysOf(decoy, found[0].text)
        return [StoredSecret("", decoy)]

    def _decoy(self, scheme: str, name: str) -> str:
        if scheme not in SCHEMES:
            return secrets.token_urlsafe(32)
        # Nobody is told the keys, so only the salt has to be the same at each time.
        salt = saltFor(scheme, name)
        keys = secrets.token_bytes(64), secrets.token_bytes(64)
        return str(Verifier(self._iterations, salt, *keys))


def _withKeysOf(decoy: str, known: str) -> str:
    try:
        return str(Verifier(*Verifier.parse(known)[:2], *Verifier.parse(decoy)[2:]))
    except ValueError:
        return decoy
