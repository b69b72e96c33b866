# -*- test-case-name: tests.sasl.test_crammd5 -*-
"""
CRAM-MD5 (RFC 2195): the password isn't sent, but whoever listens can guess it at leisure, and the
server must have it in plain. Off by default, and only for accounts that chose a stored plain
secret. Both halves.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from time import time
from typing import Any

from zope.interface import implementer

from twisted_mailstack.errors import AuthenticationFailed, ProofRefused, SyntaxProblem
from twisted_mailstack.interfaces import (
    IClientMechanism,
    ISASLClientExchange,
    ISASLExchange,
    ISecretSource,
    IServerMechanism,
)
from twisted_mailstack.model.records import ConnectionInfo, StoredSecret
from twisted_mailstack.sasl.credentials import PasswordCredentials, ProvenIdentity, WrongCredentials

#: The scheme of the secrets.
SCHEME = "plain"
#: Octets of a challenge that a client answers.
MAX_CHALLENGE = 1024

#   "a string consisting of the user name, a space, and a 'digest'": 16 octets "in hexadecimal
#   format, using lower-case ASCII characters". Some write them in upper case.
_RESPONSE = re.compile(rb"([^\0]{1,512}) ([0-9A-Fa-f]{32})\Z", re.DOTALL)


def _digest(secret: bytes, challenge: bytes) -> bytes:
    return hmac.digest(secret, challenge, "md5").hex().encode("ascii")


@implementer(ISASLExchange)
class CramMD5Exchange:
    """One attempt."""

    def __init__(self, source: ISecretSource, challenge: bytes) -> None:
        self._source = source
        self._challenge = challenge
        self._asked = False
        self._over = False

    def respond(self, response: bytes | None) -> Any:
        """See L{ISASLExchange}."""
        if response is None and not self._asked:
            self._asked = True
            return self._challenge
        match = _RESPONSE.match(response or b"")
        if self._over or not self._asked or match is None:
            raise SyntaxProblem("Malformed CRAM-MD5 message")
        self._over = True
        name, digest = match.groups()
        try:
            name.decode("utf-8")
        except UnicodeDecodeError:
            raise SyntaxProblem("Malformed CRAM-MD5 message: not UTF-8") from None
        return self._check(name, digest.lower())

    async def _check(self, name: bytes, digest: bytes) -> ProvenIdentity:
        found: list[StoredSecret] = list(await self._source.secretsFor(name, SCHEME))
        right = [
            each.credentialId
            for each in found
            if hmac.compare_digest(_digest(each.text.encode("utf-8"), self._challenge), digest)
        ]
        if not right or not right[0]:
            raise ProofRefused(name)
        return ProvenIdentity(name, None, right[0])


@implementer(IServerMechanism)
class CramMD5:
    """See the module."""

    name = b"CRAM-MD5"
    # Deviation: RFC 2195 is made for connections without; but what is heard there can be tried
    # against billions of passwords a second.
    needsTLS = True

    def __init__(
        self,
        source: ISecretSource,
        hostname: str = "localhost",
        challenge: Callable[[], bytes] | None = None,
    ) -> None:
        """
        @param hostname: the server's.
        @param challenge: makes challenges, each of them once.
        """
        self._source = source
        self._hostname = hostname.encode("ascii", "replace")
        self._makeChallenge = challenge or self._newChallenge

    def _newChallenge(self) -> bytes:
        # RFC 2195 §2: a msg-id, of random digits, a time and the host's name.
        return b"<%d.%d@%b>" % (secrets.randbits(64), time(), self._hostname)

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        return CramMD5Exchange(self._source, self._makeChallenge())


@implementer(ISASLClientExchange)
class CramMD5ClientExchange:
    """One attempt."""

    def __init__(self, name: bytes, password: bytes) -> None:
        self._name = name
        self._password: bytes | None = password

    def respond(self, challenge: bytes | None) -> bytes | None:
        """See L{ISASLClientExchange}."""
        if challenge is None:
            return None
        password, self._password = self._password, None
        if password is None:
            raise AuthenticationFailed("The server asks for more than CRAM-MD5 has")
        if not challenge or len(challenge) > MAX_CHALLENGE:
            raise AuthenticationFailed("The server's challenge is none")
        return self._name + b" " + _digest(password, challenge)

    def accepted(self) -> None:
        """See L{ISASLClientExchange}."""
        if self._password is not None:
            raise AuthenticationFailed("The server hasn't asked who we are")


@implementer(IClientMechanism)
class CramMD5Client:
    """See the module."""

    name = b"CRAM-MD5"
    needsTLS = True

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        if not isinstance(credentials, PasswordCredentials):
            raise WrongCredentials("CRAM-MD5 needs a password")
        if not credentials.username or not credentials.password:
            raise SyntaxProblem("CRAM-MD5 has no empty name or password")
        if credentials.authorizationIdentity:
            raise SyntaxProblem("CRAM-MD5 can't say whom to act as")
        return CramMD5ClientExchange(credentials.username, credentials.password)
