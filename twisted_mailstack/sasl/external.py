# -*- test-case-name: tests.sasl.test_external -*-
"""
EXTERNAL (RFC 4422 appendix A): the client has shown who it is by its TLS certificate. Both halves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zope.interface import implementer

from twisted_mailstack.errors import AuthenticationFailed, ProofRefused, SyntaxProblem
from twisted_mailstack.interfaces import (
    IClientMechanism,
    IConditionalMechanism,
    ISASLClientExchange,
    ISASLExchange,
)
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import (
    CertificateCredentials,
    ProvenIdentity,
    WrongCredentials,
)

#: Gives the names of the accounts that a certificate (DER) is for, UTF-8, the first one for clients
#: that don't say whom they want to be.
CertificateNames = Callable[[bytes], Sequence[bytes]]


@implementer(ISASLExchange)
class ExternalExchange:
    """One attempt."""

    def __init__(self, names: Sequence[bytes]) -> None:
        self._names = names
        self._over = False

    def respond(self, response: bytes | None) -> Any:
        """See L{ISASLExchange}."""
        if self._over:
            raise SyntaxProblem("Malformed EXTERNAL message: nothing expected")
        if response is None:
            return b""
        self._over = True
        #   extern-resp = *( UTF8-char-no-nul )
        try:
            response.decode("utf-8")
        except UnicodeDecodeError:
            raise SyntaxProblem("Malformed EXTERNAL message: not UTF-8") from None
        if b"\0" in response:
            raise SyntaxProblem("Malformed EXTERNAL message: NUL")
        if not self._names:
            raise ProofRefused(response or b"?")
        name = response if response in self._names else self._names[0]
        # Whether one may act as the other isn't decided here.
        return ProvenIdentity(name, response or None)


@implementer(IConditionalMechanism)
class External:
    """
    See the module. It is offered to clients whose certificate is somebody's.
    """

    name = b"EXTERNAL"
    needsTLS = True

    def __init__(self, names: CertificateNames) -> None:
        self._names = names

    def _namesOf(self, info: ConnectionInfo) -> Sequence[bytes]:
        shown = None if info.channel is None else info.channel.peerCertificate()
        return () if shown is None else self._names(shown)

    def isAvailable(self, info: ConnectionInfo) -> bool:
        """See L{IConditionalMechanism}."""
        return bool(self._namesOf(info))

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism<twisted_mailstack.interfaces.IServerMechanism>}."""
        return ExternalExchange(self._namesOf(info))


@implementer(ISASLClientExchange)
class ExternalClientExchange:
    """One attempt."""

    def __init__(self, message: bytes) -> None:
        self._message: bytes | None = message

    def respond(self, challenge: bytes | None) -> bytes | None:
        """See L{ISASLClientExchange}."""
        message, self._message = self._message, None
        if message is None:
            raise AuthenticationFailed("The server asks for more than EXTERNAL has")
        return message

    def accepted(self) -> None:
        """See L{ISASLClientExchange}."""
        if self._message is not None:
            raise AuthenticationFailed("The server hasn't asked who we are")


@implementer(IClientMechanism)
class ExternalClient:
    """See the module."""

    name = b"EXTERNAL"
    needsTLS = True

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        if not isinstance(credentials, CertificateCredentials):
            raise WrongCredentials("EXTERNAL has no password")
        identity = credentials.authorizationIdentity or b""
        if b"\0" in identity:
            raise SyntaxProblem("EXTERNAL has no name with a NUL")
        return ExternalClientExchange(identity)
