# -*- test-case-name: tests.sasl.test_plain -*-
"""
PLAIN (RFC 4616): a password in one message. Only under TLS. Both halves.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from twisted_mailstack.errors import AuthenticationFailed, SyntaxProblem
from twisted_mailstack.interfaces import (
    IClientMechanism,
    ISASLClientExchange,
    ISASLExchange,
    IServerMechanism,
)
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials, WrongCredentials


@implementer(ISASLExchange)
class PlainExchange:
    """One attempt."""

    def respond(self, response: bytes | None) -> bytes | PasswordCredentials:
        """See L{ISASLExchange}."""
        if response is None:
            return b""
        #   message = [authzid] UTF8NUL authcid UTF8NUL passwd
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            raise SyntaxProblem("Malformed PLAIN message")
        try:
            response.decode("utf-8")
        except UnicodeDecodeError:
            raise SyntaxProblem("Malformed PLAIN message: not UTF-8") from None
        authorizationIdentity, name, password = parts
        return PasswordCredentials(name, password, authorizationIdentity or None)


@implementer(IServerMechanism)
class Plain:
    """See the module."""

    name = b"PLAIN"
    needsTLS = True

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        return PlainExchange()


@implementer(ISASLClientExchange)
class PlainClientExchange:
    """One attempt."""

    def __init__(self, message: bytes) -> None:
        self._message: bytes | None = message

    def respond(self, challenge: bytes | None) -> bytes | None:
        """See L{ISASLClientExchange}."""
        message, self._message = self._message, None
        if message is None:
            raise AuthenticationFailed("The server asks for more than PLAIN has")
        return message

    def accepted(self) -> None:
        """See L{ISASLClientExchange}."""
        if self._message is not None:
            raise AuthenticationFailed("The server hasn't asked who we are")


@implementer(IClientMechanism)
class PlainClient:
    """See the module."""

    name = b"PLAIN"
    needsTLS = True

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        if not isinstance(credentials, PasswordCredentials):
            raise WrongCredentials("PLAIN needs a password")
        name, password = credentials.username, credentials.password
        parts = (credentials.authorizationIdentity or b"", name, password)
        # RFC 4616 §2: SAFE, which NUL is not.
        if not name or not password or any(b"\0" in part for part in parts):
            raise SyntaxProblem("PLAIN has no empty name or password, and none with a NUL")
        return PlainClientExchange(b"\0".join(parts))
