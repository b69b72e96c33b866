# -*- test-case-name: tests.sasl.test_oauthbearer -*-
"""
OAUTHBEARER (RFC 7628): an OAuth 2.0 access token, which somebody else has given out. Both halves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from twisted_mailstack.errors import AuthenticationFailed, ProofRefused, SyntaxProblem
from twisted_mailstack.interfaces import (
    IClientMechanism,
    ISASLClientExchange,
    ISASLExchange,
    IServerMechanism,
    ITokenVerifier,
)
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import ProvenIdentity, TokenCredentials, WrongCredentials

#   kvsep = %x01
#   key = 1*(ALPHA)
#   value = *(VCHAR / SP / HTAB / CR / LF )
_PAIR = re.compile(rb"([A-Za-z]+)=([\x21-\x7e \t\r\n]*)\Z")
#   gs2-header = gs2-cbind-flag "," [ authzid ] ","
_HEADER = re.compile(rb"([ny]),(?:a=((?:[^\0\x01=,]|=2C|=3D)+))?,\Z")
#   b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="   (RFC 6750 §2.1)
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)\Z", re.IGNORECASE)
_SEPARATOR = b"\x01"
#: Octets of a message. Tokens with many claims have some thousand.
MAX_MESSAGE = 32768


class TokenExchange:
    """
    What exchanges of tokens have in common: the token is verified, and if it is none the client is
    told why in a challenge, to which it answers something empty.
    """

    #: What the client answers then.
    acknowledgement = _SEPARATOR

    def __init__(self, verifier: ITokenVerifier, failure: bytes) -> None:
        """
        @param failure: what the client is told when the token isn't good.
        """
        self._verifier = verifier
        self._failure = failure
        self._name: bytes | None = None
        self._failed = self._over = False

    def respond(self, response: bytes | None) -> Any:
        """See L{ISASLExchange}."""
        if self._failed:
            self._failed = False
            # RFC 7628 §3.2.3: "the server MUST NOT" go on; whatever it was, it failed.
            raise ProofRefused(self._name or b"?")
        if response is None and not self._over:
            return b""
        if self._over or response is None or len(response) > MAX_MESSAGE:
            raise SyntaxProblem("Malformed message")
        self._over = True
        name, token = self.parse(response)
        return self._verify(name, token)

    def parse(self, message: bytes) -> tuple[bytes | None, bytes]:
        """
        @return: whom the client wants to be, C{None} if it doesn't say; and the token, empty if it
            only wants to know where there are any.
        @raise SyntaxProblem: if it is malformed.
        """
        raise NotImplementedError("parse")

    def identities(self, name: bytes | None, owner: bytes) -> ProvenIdentity:
        """
        @param owner: whose the token is.
        """
        return ProvenIdentity(owner, name)

    async def _verify(self, name: bytes | None, token: bytes) -> Any:
        owner = await self._verifier.verify(token) if token else None
        self._name = name or owner
        if owner is None:
            self._failed = True
            return self._failure
        return self.identities(name, owner)


@implementer(ISASLExchange)
class OAuthBearerExchange(TokenExchange):
    """One attempt."""

    def parse(self, message: bytes) -> tuple[bytes | None, bytes]:
        """See L{TokenExchange}."""
        #   client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep
        header, _, rest = message.partition(_SEPARATOR)
        match = _HEADER.match(header)
        pairs = rest.split(_SEPARATOR)
        if match is None or len(pairs) < 3 or pairs[-2:] != [b"", b""]:
            raise SyntaxProblem("Malformed OAUTHBEARER message")
        found = {}
        for pair in pairs[:-2]:
            matched = _PAIR.match(pair)
            if matched is None or matched[1].lower() in found:
                raise SyntaxProblem("Malformed OAUTHBEARER message")
            found[matched[1].lower()] = matched[2]
        # Deviation: host and port aren't compared with ours (§3.2). Servers have many names, and
        # are behind others; a token says by itself whom it is for.
        auth = found.get(b"auth")
        bearer = _BEARER.match(auth or b"")
        # §4.3: empty, "which is how a client can query for the needed scope".
        if bearer is None and auth != b"":
            raise SyntaxProblem("Malformed OAUTHBEARER message: no token")
        name = match[2]
        if name is not None:
            name = decoded(name.replace(b"=2C", b",").replace(b"=3D", b"="))
        return name, b"" if bearer is None else bearer[1]


def decoded(name: bytes) -> bytes:
    """
    @return: the name.
    @raise SyntaxProblem: if it isn't UTF-8.
    """
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("Malformed message: not UTF-8") from None
    return name


@implementer(IServerMechanism)
class OAuthBearer:
    """See the module."""

    name = b"OAUTHBEARER"
    needsTLS = True

    def __init__(self, verifier: ITokenVerifier, hints: Mapping[str, str] | None = None) -> None:
        """
        @param hints: where tokens are to be had: C{scope}, C{openid-configuration} (RFC 7628
            §3.2.2).
        """
        self._verifier = verifier
        self._failure = json.dumps({"status": "invalid_token", **(hints or {})}).encode("ascii")

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        return OAuthBearerExchange(self._verifier, self._failure)


@implementer(ISASLClientExchange)
class TokenClientExchange:
    """
    One attempt.

    @ivar refusal: what the server said of the token, C{None} if nothing: JSON (RFC 7628 §3.2.2).
    """

    def __init__(self, message: bytes, acknowledgement: bytes) -> None:
        """
        @param acknowledgement: the answer to what the server says of a token that it doesn't take.
        """
        self._message: bytes | None = message
        self._acknowledgement: bytes | None = acknowledgement
        self.refusal: bytes | None = None

    def respond(self, challenge: bytes | None) -> bytes | None:
        """See L{ISASLClientExchange}."""
        if self._message is not None:
            message, self._message = self._message, None
            return message
        acknowledgement, self._acknowledgement = self._acknowledgement, None
        if acknowledgement is None:
            raise AuthenticationFailed("The server asks for more than a token")
        # RFC 7628 §3.2.3: it is about to fail.
        self.refusal = challenge
        return acknowledgement

    def accepted(self) -> None:
        """See L{ISASLClientExchange}."""
        if self._message is not None:
            raise AuthenticationFailed("The server hasn't asked who we are")
        if self._acknowledgement is None:
            raise AuthenticationFailed("The server didn't take the token")


@implementer(IClientMechanism)
class OAuthBearerClient:
    """See the module."""

    name = b"OAUTHBEARER"
    needsTLS = True

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        checkToken(credentials)
        name = credentials.username.replace(b"=", b"=3D").replace(b",", b"=2C")
        parts = [b"n,a=%b," % name]
        if credentials.host:
            parts.append(b"host=" + credentials.host.encode("ascii", "replace"))
        if credentials.port:
            parts.append(b"port=%d" % credentials.port)
        parts.append(b"auth=Bearer " + credentials.token)
        return TokenClientExchange(_SEPARATOR.join((*parts, b"", b"")), _SEPARATOR)


def checkToken(credentials: Any) -> None:
    """
    @raise SyntaxProblem: if these are no credentials with a token, or it can't be sent.
    """
    if not isinstance(credentials, TokenCredentials):
        raise WrongCredentials("It needs a token")
    name = credentials.username
    if not name or b"\0" in name or _SEPARATOR in name:
        raise SyntaxProblem("A token has no empty name")
    if not _BEARER.match(b"bearer " + credentials.token):
        raise SyntaxProblem("That is no token")
