# -*- test-case-name: tests.sasl.test_login -*-
"""
LOGIN: not standardised (draft-murchison-sasl-login), but what some clients know best. A password in
two messages. Only under TLS.
"""

from __future__ import annotations

from zope.interface import implementer

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import ISASLExchange, IServerMechanism
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials


@implementer(ISASLExchange)
class LoginExchange:
    """One attempt."""

    def __init__(self) -> None:
        self._name: bytes | None = None
        self._asked = False

    def respond(self, response: bytes | None) -> bytes | PasswordCredentials:
        """See L{ISASLExchange}."""
        if response is None and not self._asked:
            self._asked = True
            return b"Username:"
        if not response:
            raise SyntaxProblem("Malformed LOGIN message: empty")
        if self._name is None:
            self._asked = True
            self._name = response
            return b"Password:"
        return PasswordCredentials(self._name, response)


@implementer(IServerMechanism)
class Login:
    """See the module."""

    name = b"LOGIN"
    needsTLS = True

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        return LoginExchange()
