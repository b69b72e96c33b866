# -*- test-case-name: tests.sasl.test_plain -*-
"""
PLAIN (RFC 4616): a password in one message. Only under TLS.
"""

from __future__ import annotations

from zope.interface import implementer

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import ISASLExchange, IServerMechanism
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials


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
