"""
A SASL mechanism of one's own: X-TICKET, by which a user of a web application reads mail without a
password. The application gives out a ticket; the client proves that it has it without sending it.

    S: base64(nonce)
    C: base64(name NUL HMAC-SHA-256(ticket, nonce))

The mechanism knows what is said; whether it is true is the checker's business (twisted.cred).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import ISASLExchange, IServerMechanism
from twisted_mailstack.model.records import ConnectionInfo


class ITicketProof(ICredentials):
    """That somebody has a ticket; the portal finds the checker by this."""


@implementer(ITicketProof)
class TicketProof:
    """
    @ivar username: who it is said to be; the log names it.
    """

    def __init__(self, username: bytes, nonce: bytes, proof: bytes) -> None:
        self.username = username
        self.nonce = nonce
        self.proof = proof


@implementer(ISASLExchange)
class TicketExchange:
    """One attempt."""

    def __init__(self) -> None:
        self._nonce = b""

    def respond(self, response: bytes | None) -> bytes | TicketProof:
        """See L{ISASLExchange}: bytes are the next challenge, credentials end the exchange."""
        if not self._nonce:
            if response is not None:
                raise SyntaxProblem("X-TICKET has no initial response")
            self._nonce = secrets.token_bytes(24)
            return self._nonce
        name, nul, proof = (response or b"").partition(b"\0")
        if not nul or not name:
            raise SyntaxProblem("Malformed X-TICKET message")
        return TicketProof(name, self._nonce, proof)


@implementer(IServerMechanism)
class Ticket:
    """See the module."""

    name = b"X-TICKET"
    #: The ticket itself isn't sent, so the mechanism may be offered without TLS.
    needsTLS = False

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        return TicketExchange()


@implementer(ICredentialsChecker)
class TicketChecker:
    """
    Knows the tickets that were given out.
    """

    credentialInterfaces = (ITicketProof,)

    def __init__(self, tickets: Mapping[bytes, tuple[bytes, bytes]]) -> None:
        """
        @param tickets: by user name: the ticket, and the accountId that it opens.
        """
        self._tickets = tickets

    def requestAvatarId(self, credentials: TicketProof) -> Deferred[bytes | tuple[()]]:
        """See L{ICredentialsChecker}."""
        ticket, accountId = self._tickets.get(credentials.username, (b"", b""))
        expected = hmac.digest(ticket, credentials.nonce, "sha256")
        if ticket and hmac.compare_digest(expected, credentials.proof):
            return succeed(accountId)
        return fail(UnauthorizedLogin())
