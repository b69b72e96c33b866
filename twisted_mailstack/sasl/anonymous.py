# -*- test-case-name: tests.sasl.test_anonymous -*-
"""
ANONYMOUS (RFC 4505): nobody in particular. Only where it is configured. Both halves.
"""

from __future__ import annotations

import stringprep
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
from twisted_mailstack.sasl.credentials import AnonymousCredentials, WrongCredentials

#:   token = 1*255TCHAR
MAX_TRACE = 255


def _check(trace: bytes) -> None:
    #   message = [ email / token ]
    # RFC 4505 §3: what is prohibited by the "trace" profile of stringprep.
    try:
        text = trace.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("Malformed ANONYMOUS message: not UTF-8") from None
    if len(text) > MAX_TRACE or any(
        stringprep.in_table_c21_c22(character)
        or stringprep.in_table_c3(character)
        or stringprep.in_table_c4(character)
        or stringprep.in_table_c5(character)
        or stringprep.in_table_c6(character)
        or stringprep.in_table_c8(character)
        or stringprep.in_table_c9(character)
        for character in text
    ):
        raise SyntaxProblem("Malformed ANONYMOUS message")


@implementer(ISASLExchange)
class AnonymousExchange:
    """One attempt."""

    def respond(self, response: bytes | None) -> bytes | AnonymousCredentials:
        """See L{ISASLExchange}."""
        if response is None:
            return b""
        _check(response)
        return AnonymousCredentials(response)


@implementer(IServerMechanism)
class Anonymous:
    """See the module."""

    name = b"ANONYMOUS"
    needsTLS = False

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        return AnonymousExchange()


@implementer(ISASLClientExchange)
class AnonymousClientExchange:
    """One attempt."""

    def __init__(self, message: bytes) -> None:
        self._message: bytes | None = message

    def respond(self, challenge: bytes | None) -> bytes | None:
        """See L{ISASLClientExchange}."""
        message, self._message = self._message, None
        if message is None:
            raise AuthenticationFailed("The server asks for more than ANONYMOUS has")
        return message

    def accepted(self) -> None:
        """See L{ISASLClientExchange}."""
        if self._message is not None:
            raise AuthenticationFailed("The server hasn't asked anything")


@implementer(IClientMechanism)
class AnonymousClient:
    """See the module."""

    name = b"ANONYMOUS"
    needsTLS = False

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        if not isinstance(credentials, AnonymousCredentials):
            raise WrongCredentials("ANONYMOUS is for nobody")
        _check(credentials.trace)
        return AnonymousClientExchange(credentials.trace)
