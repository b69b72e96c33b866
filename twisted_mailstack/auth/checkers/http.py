# -*- test-case-name: tests.auth.checkers.test_http -*-
"""
A web server that is asked: one POST with a JSON object that has C{address}, C{name} (its
local-part), C{domain} and C{password}.

Yes is 204, or 200 with a JSON object in which C{valid} is true; no is 401 or 403, or 200 with one
in which C{valid} is false. All else is no answer: a page that is there for everybody lets nobody
in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_mailstack.auth.checkers.bounds import Bounds
from twisted_mailstack.auth.checkers.source import SourceProblem, SourceRecord, SourceServices
from twisted_mailstack.interfaces import IPasswordSource
from twisted_mailstack.model.address import Address

_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class HTTPSettings:
    """
    @ivar url: https; http on this machine only.
    @ivar tokenFile: a file with a token that is sent with each request (RFC 6750); C{""}: none.
    @ivar caFile: certificates of those whose certificates are believed; C{""}: the platform's.
    @ivar connections: at a time.
    @ivar timeout: seconds for an answer.
    """

    url: str = ""
    tokenFile: str = ""
    caFile: str = ""
    connections: int = 20
    timeout: int = 10

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            known = parts.hostname, parts.port
        except ValueError:
            known = None, None
        if not self.url.isascii() or not known[0] or parts.scheme not in ("https", "http"):
            raise SourceProblem("url must be one, like https://www.example.org/check-password")
        if parts.scheme == "http" and known[0] not in _LOCAL:
            raise SourceProblem("url must be an https URL: passwords are sent there")
        if parts.username is not None:
            raise SourceProblem("url can't have a user in it: there is token-file")


@implementer(IPasswordSource)
class HTTPSource:
    """
    See L{IPasswordSource}.
    """

    def __init__(self, settings: HTTPSettings, services: SourceServices) -> None:
        """
        @raise SourceProblem: if a file can't be read.
        """
        self._url = settings.url
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if settings.tokenFile:
            try:
                token = Path(settings.tokenFile).read_text("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SourceProblem(f"token-file: {error}") from None
            if not token or not token.isprintable():
                raise SourceProblem("token-file has no token")
            self._headers["Authorization"] = f"Bearer {token}"
        try:
            self._fetch: Any = services.makeFetch(settings.timeout, settings.caFile)
        except (OSError, ValueError) as error:
            raise SourceProblem(f"ca-file: {error}") from None
        self._bounds = Bounds(services.reactor, "http", settings.connections, settings.timeout)

    async def start(self) -> None:
        """See L{IPasswordSource}."""

    async def stop(self) -> None:
        """See L{IPasswordSource}."""
        close = getattr(self._fetch, "close", None)
        if close is not None:
            await close()

    async def verify(self, address: Address, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordSource}."""
        try:
            text = password.decode("utf-8")
        except UnicodeDecodeError:
            # JSON has none that isn't text. Asked all the same: it takes as long.
            text = "\ufffd"
        body = json.dumps(
            {
                "address": f"{address.localPart}@{address.domain}",
                "name": address.localPart,
                "domain": address.domain,
                "password": text,
            }
        ).encode("ascii")
        answer: bool = await self._bounds.ask(
            lambda: Deferred.fromCoroutine(self._ask(body)), origin
        )
        return answer and text != "\ufffd"

    async def _ask(self, body: bytes) -> bool:
        status, answer = await self._fetch("POST", self._url, self._headers, body)
        if status == 204:
            return True
        if status in (401, 403):
            return False
        found = None
        if status == 200:
            try:
                found = json.loads(answer)
            except (ValueError, RecursionError):
                pass
        valid = found.get("valid") if isinstance(found, dict) else None
        if not isinstance(valid, bool):
            raise ValueError(f"{self._url} doesn't tell: {status}")
        return valid


SOURCE = SourceRecord("http", HTTPSettings, HTTPSource)
