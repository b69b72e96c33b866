# -*- test-case-name: tests.sasl.test_xoauth2 -*-
"""
XOAUTH2: not standardised, the older form of OAUTHBEARER that large providers and their clients use.
Both halves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import (
    IClientMechanism,
    ISASLClientExchange,
    ISASLExchange,
    IServerMechanism,
    ITokenVerifier,
)
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.oauthbearer import (
    TokenClientExchange,
    TokenExchange,
    checkToken,
    decoded,
)

#   "user=" {User} "^Aauth=Bearer " {Access Token} "^A^A"
_MESSAGE = re.compile(
    rb"user=([^\0\x01]+)\x01auth=bearer +([A-Za-z0-9._~+/-]+=*)\x01\x01\Z", re.IGNORECASE
)


@implementer(ISASLExchange)
class XOAuth2Exchange(TokenExchange):
    """One attempt."""

    def parse(self, message: bytes) -> tuple[bytes | None, bytes]:
        """See L{TokenExchange}."""
        match = _MESSAGE.match(message)
        if match is None:
            raise SyntaxProblem("Malformed XOAUTH2 message")
        return decoded(match[1]), match[2]


@implementer(IServerMechanism)
class XOAuth2:
    """See the module."""

    name = b"XOAUTH2"
    needsTLS = True

    def __init__(self, verifier: ITokenVerifier, hints: Mapping[str, str] | None = None) -> None:
        """
        @param hints: as of L{OAuthBearer<twisted_mailstack.sasl.oauthbearer.OAuthBearer>}; only
            C{scope} is told.
        """
        self._verifier = verifier
        told = {"status": "401", "schemes": "bearer", "scope": (hints or {}).get("scope", "")}
        self._failure = json.dumps(told).encode("ascii")

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        return XOAuth2Exchange(self._verifier, self._failure)


@implementer(IClientMechanism)
class XOAuth2Client:
    """See the module."""

    name = b"XOAUTH2"
    needsTLS = True

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        checkToken(credentials)
        return TokenClientExchange(
            b"user=%b\x01auth=Bearer %b\x01\x01" % (credentials.username, credentials.token), b""
        )
