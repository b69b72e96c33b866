# -*- test-case-name: tests.sasl.test_login -*-
"""
LOGIN: not standardised (draft-murchison-sasl-login), but what some clients know best. A password in
two messages. Only under TLS. Both halves.
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


@implementer(ISASLClientExchange)
class LoginClientExchange:
    """One attempt. What the server asks isn't read: servers put it in many ways."""

    def __init__(self, *messages: bytes) -> None:
        self._messages = list(messages)

    def respond(self, challenge: bytes | None) -> bytes | None:
        """See L{ISASLClientExchange}."""
        if challenge is None:
            # Some servers know no initial response.
            return None
        if not self._messages:
            raise AuthenticationFailed("The server asks for more than LOGIN has")
        return self._messages.pop(0)

    def accepted(self) -> None:
        """See L{ISASLClientExchange}."""
        if self._messages:
            raise AuthenticationFailed("The server hasn't asked who we are")


@implementer(IClientMechanism)
class LoginClient:
    """See the module."""

    name = b"LOGIN"
    needsTLS = True

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        if not isinstance(credentials, PasswordCredentials):
            raise WrongCredentials("LOGIN needs a password")
        if not credentials.username or not credentials.password:
            raise SyntaxProblem("LOGIN has no empty name or password")
        if credentials.authorizationIdentity:
            raise SyntaxProblem("LOGIN can't say whom to act as")
        return LoginClientExchange(credentials.username, credentials.password)
