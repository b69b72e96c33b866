# -*- test-case-name: tests.auth.test_tokens -*-
"""
Whose an OAuth 2.0 access token is: by asking who gave it out (RFC 7662), or by its signature, if it
is a signed JWT (RFC 7519, RFC 9068).
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Collection, Mapping
from hashlib import sha256
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import quote_plus, urlencode

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import ITokenVerifier

#: How long what was found out about a token holds without asking again, seconds; of how many.
KNOWN_SECONDS = 60.0
MAX_KNOWN = 10_000
#: How long keys are kept, and how often they are asked for at most if one is missing, seconds.
KEYS_SECONDS = 3600.0
KEYS_PAUSE = 30.0
#: Seconds by which clocks may differ.
LEEWAY = 60
#: What may sign a token. Nothing symmetric: whoever can verify that can sign, too.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)


class Fetch(Protocol):
    """
    Asks a web server.
    """

    def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Awaitable[tuple[int, bytes]]:
        """
        @return: the status and the body.
        @raise TemporaryFailure: if there is none.
        """


def ownerOf(claims: Mapping[str, Any], names: Collection[str]) -> bytes | None:
    """
    @param claims: about a token.
    @param names: of claims that say who somebody is, the first one that is there counts.
    """
    for name in names:
        if name == "email" and claims.get("email_verified", True) not in (True, "true"):
            # Anybody could have said that it is theirs.
            continue
        found = claims.get(name)
        if isinstance(found, str) and found:
            return found.encode("utf-8", "replace")
    return None


def _hasScope(claims: Mapping[str, Any], wanted: str) -> bool:
    # RFC 7662 §2.2: separated by spaces; some give a list.
    given = claims.get("scope", claims.get("scp", ""))
    words = given.split() if isinstance(given, str) else given
    return not wanted or (isinstance(words, (list, tuple)) and set(wanted.split()) <= set(words))


def _isFor(claims: Mapping[str, Any], audience: str) -> bool:
    given = claims.get("aud")
    return not audience or given == audience or (isinstance(given, list) and audience in given)


@implementer(ITokenVerifier)
class Introspection:
    """
    Asks an authorisation server (RFC 7662).
    """

    log = Logger()

    def __init__(
        self,
        fetch: Fetch,
        url: str,
        clock: IReactorTime,
        *,
        client: str = "",
        secret: str = "",
        claims: Collection[str] = ("email", "username", "sub"),
        audience: str = "",
        scope: str = "",
        now: Callable[[], float] | None = None,
    ) -> None:
        """
        @param client: by which this server is known there; C{secret}: its password.
        @param claims: that say whose a token is.
        @param audience: for whom it has to be, C{""} for anybody.
        @param scope: what it has to be good for, C{""} for anything.
        @param now: seconds since 1970, by default the clock's.
        """
        self._fetch = fetch
        self._url = url
        self._clock = clock
        self._headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        if client:
            # RFC 6749 §2.3.1
            pair = f"{quote_plus(client)}:{quote_plus(secret)}".encode()
            self._headers["Authorization"] = "Basic " + b64encode(pair).decode("ascii")
        self._claims = tuple(claims)
        self._audience = audience
        self._scope = scope
        self._now = now or clock.seconds
        self._known: dict[bytes, tuple[float, bytes]] = {}

    async def verify(self, token: bytes) -> bytes | None:
        """See L{ITokenVerifier}."""
        digest = sha256(token).digest()
        known = self._known.get(digest)
        if known is not None and self._clock.seconds() < known[0]:
            return known[1]
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode("ascii")
        status, answer = await self._fetch("POST", self._url, self._headers, body)
        claims = _object(answer)
        if status != 200 or claims is None:
            self.log.error(
                "{url} doesn't tell about tokens: {status}", url=self._url, status=status
            )
            raise TemporaryFailure()
        if claims.get("active") is not True:
            self._known.pop(digest, None)
            return None
        expires = claims.get("exp")
        left = expires - self._now() if isinstance(expires, (int, float)) else KNOWN_SECONDS
        owner = ownerOf(claims, self._claims)
        if left <= 0 or owner is None:
            return None
        if not _isFor(claims, self._audience) or not _hasScope(claims, self._scope):
            return None
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[digest] = self._clock.seconds() + min(left, KNOWN_SECONDS), owner
        return owner


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@implementer(ITokenVerifier)
class SignedTokens:
    """
    Verifies JWTs by the keys of who signs them (RFC 7517), which are fetched and kept.
    """

    log = Logger()

    def __init__(
        self,
        fetch: Fetch,
        url: str,
        clock: IReactorTime,
        *,
        issuer: str,
        audience: str,
        claims: Collection[str] = ("email", "username", "sub"),
        scope: str = "",
    ) -> None:
        """
        @param url: of the keys (C{jwks_uri}).
        @param issuer: who has to have signed it; C{audience}: for whom it has to be, or C{""}.
        @param claims: that say whose a token is.
        @param scope: what it has to be good for, C{""} for anything.
        @raise ImportError: if the library C{jwt} isn't there.
        """
        self._jwt: Any = import_module("jwt")
        self._fetch = fetch
        self._url = url
        self._clock = clock
        self._issuer = issuer
        self._audience = audience
        self._claims = tuple(claims)
        self._scope = scope
        self._keys: dict[str, Any] = {}
        self._until = 0.0
        self._askedAt: float | None = None
        self._waiting: list[Deferred[None]] | None = None

    async def verify(self, token: bytes) -> bytes | None:
        """See L{ITokenVerifier}."""
        jwt = self._jwt
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError):
            return None
        name = header.get("kid")
        if header.get("alg") not in ALGORITHMS or not isinstance(name, (str, type(None))):
            return None
        for key in await self._keysFor(name):
            try:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=ALGORITHMS,
                    audience=self._audience or None,
                    issuer=self._issuer,
                    leeway=LEEWAY,
                    options={"require": ["exp", "iss"], "verify_aud": bool(self._audience)},
                )
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
            return ownerOf(claims, self._claims) if _hasScope(claims, self._scope) else None
        return None

    async def _keysFor(self, name: str | None) -> list[Any]:
        now = self._clock.seconds()
        missing = name is not None and name not in self._keys
        if not self._keys or now >= self._until or missing:
            await self._refresh(now)
        if not self._keys:
            raise TemporaryFailure()
        if name is not None:
            return [self._keys[name]] if name in self._keys else []
        return list(self._keys.values())

    async def _refresh(self, now: float) -> None:
        if self._waiting is not None:
            fetched: Deferred[None] = Deferred()
            self._waiting.append(fetched)
            await fetched
        elif self._askedAt is None or now - self._askedAt >= KEYS_PAUSE:
            # Not each time: a token of somebody else's would have them asked for.
            self._askedAt = now
            waiting = self._waiting = []
            try:
                await self._fetchKeys()
            finally:
                self._waiting = None
                for fetched in waiting:
                    fetched.callback(None)

    async def _fetchKeys(self) -> None:
        try:
            status, answer = await self._fetch(
                "GET", self._url, {"Accept": "application/json"}, b""
            )
        except TemporaryFailure:
            status, answer = 0, b""
        found = (_object(answer) or {}).get("keys") if status == 200 else None
        if not isinstance(found, list):
            # Those that are known go on to hold.
            self.log.error("{url} has no keys: {status}", url=self._url, status=status)
            return
        keys = {}
        for number, each in enumerate(found):
            if isinstance(each, dict) and each.get("use", "sig") == "sig":
                try:
                    key = self._jwt.PyJWK(each)
                except (self._jwt.PyJWTError, ValueError, TypeError):
                    continue
                if key.key_type != "oct":
                    keys[str(each.get("kid", f"#{number}"))] = key
        self._keys = keys
        self._until = self._clock.seconds() + KEYS_SECONDS
