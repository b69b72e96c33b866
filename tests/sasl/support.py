"""
What tests of mechanisms have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zope.interface import implementer

from twisted_mailstack.errors import AuthenticationFailed, TemporaryFailure
from twisted_mailstack.interfaces import (
    IClientMechanism,
    ISASLClientExchange,
    ISecretSource,
    ITokenVerifier,
)
from twisted_mailstack.model.records import Channel, StoredSecret
from twisted_mailstack.testing.contracts.mechanism import INFO


class Bound(Channel):
    """
    A channel with what tests want.
    """

    def __init__(self, bindings: Mapping[str, bytes], certificate: bytes | None = None) -> None:
        self.bindings = bindings
        self.certificate = certificate

    def binding(self, kind: str) -> bytes | None:
        """See L{Channel}."""
        return self.bindings.get(kind)

    def peerCertificate(self) -> bytes | None:
        """See L{Channel}."""
        return self.certificate


#: A connection that one can bind to in both ways.
BOUND = INFO._replace(
    channel=Bound({"tls-exporter": b"exported", "tls-server-end-point": b"certified"})
)


@implementer(ISecretSource)
class Secrets:
    """
    Secrets by name and scheme.

    @ivar asked: for what.
    """

    def __init__(self, known: Mapping[tuple[bytes, str], Sequence[str]]) -> None:
        self.known = known
        self.asked: list[tuple[bytes, str]] = []

    async def secretsFor(self, name: bytes, scheme: str, peer: str = "") -> Sequence[StoredSecret]:
        """See L{ISecretSource}."""
        self.asked.append((name, scheme))
        texts = self.known.get((name, scheme))
        if texts is None:
            decoy = "4096,ZGVjb3k=,AAAA,AAAA" if scheme.startswith("scram") else "decoy"
            return [StoredSecret("", decoy)]
        return [StoredSecret(f"C{number}", text) for number, text in enumerate(texts, 1)]


@implementer(ITokenVerifier)
class Tokens:
    """
    Tokens and whose they are; C{b"down"} can't be verified.
    """

    def __init__(self, known: Mapping[bytes, bytes]) -> None:
        self.known = known

    async def verify(self, token: bytes) -> bytes | None:
        """See L{ITokenVerifier}."""
        if token == b"down":
            raise TemporaryFailure()
        return self.known.get(token)


class FakeContext:
    """
    An end of a context whose tokens are known.

    @ivar initiator: as of L{SecurityContext<twisted_mailstack.sasl.gssapi.SecurityContext>}.
    """

    def __init__(self, script: Sequence[tuple[bytes | None, bytes | None]], initiator: str) -> None:
        """
        @param script: what is expected, and what is given then.
        """
        self._script = list(script)
        self.initiator = initiator

    @property
    def complete(self) -> bool:
        """See SecurityContext."""
        return not self._script

    def step(self, token: bytes | None) -> bytes | None:
        """See SecurityContext."""
        expected, given = self._script[0]
        if token != expected:
            raise AuthenticationFailed()
        del self._script[0]
        return given

    def wrap(self, data: bytes) -> bytes:
        """See SecurityContext."""
        return b"<" + data + b">"

    def unwrap(self, data: bytes) -> bytes:
        """See SecurityContext."""
        if data[:1] != b"<" or data[-1:] != b">":
            raise AuthenticationFailed()
        return data[1:-1]


@implementer(IClientMechanism, ISASLClientExchange)
class Mutual:
    """
    A mechanism in which the server has to show who it is, with the challenge C{proof}.
    """

    name = b"MUTUAL"
    needsTLS = False

    def __init__(self) -> None:
        self.proven = False

    def begin(self, credentials: Any, info: Any) -> Any:
        """See IClientMechanism."""
        return self

    def respond(self, challenge: bytes | None) -> bytes | None:
        """See ISASLClientExchange."""
        if challenge is None:
            return b"hello"
        if challenge != b"proof":
            raise AuthenticationFailed("not the right server")
        self.proven = True
        return b""

    def accepted(self) -> None:
        """See ISASLClientExchange."""
        if not self.proven:
            raise AuthenticationFailed("it has shown nothing")
