# -*- test-case-name: tests.net.test_http -*-
"""
Asks web servers, for what answers with one small document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from twisted_mailstack.errors import TemporaryFailure

#: Octets of an answer.
MAX_BODY = 1024 * 1024
TIMEOUT = 10.0


class WebClient:
    """
    Connections are kept and used again. Certificates are verified, redirections aren't followed.
    """

    log = Logger()

    def __init__(self, reactor: Any, trustRoot: Any = None, timeout: float = TIMEOUT) -> None:
        """
        @param trustRoot: as C{twisted.internet.ssl.trustRootFromCertificates} makes it; by default
            the platform's.
        @param timeout: seconds for a whole answer.
        """
        self._reactor = reactor
        self._timeout = timeout
        self._pool = HTTPConnectionPool(reactor)
        self._agent = Agent(
            reactor, BrowserLikePolicyForHTTPS(trustRoot), connectTimeout=timeout, pool=self._pool
        )

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, bytes]:
        """
        @return: the status and the body.
        @raise TemporaryFailure: if there is none, or it is too long; the log says why.
        """
        work = Deferred.fromCoroutine(self._ask(method, url, headers, body))
        timer = self._reactor.callLater(self._timeout, work.cancel)
        try:
            return await work
        except Exception as error:
            # Whatever the agent makes of what the server says.
            problem: Exception = error
        finally:
            if timer.active():
                timer.cancel()
        text = "no answer in time" if isinstance(problem, CancelledError) else str(problem)
        self.log.error("{url}: {text}", url=url, text=text or type(problem).__name__)
        raise TemporaryFailure()

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        given = Headers({"User-Agent": ["twisted_mailstack"]})
        for name, value in headers.items():
            given.setRawHeaders(name, [value])
        producer = _Given(body) if body else None
        response = await self._agent.request(
            method.encode("ascii"), url.encode("ascii"), given, producer
        )
        reader = _Body()
        response.deliverBody(reader)
        return response.code, await reader.whole

    def close(self) -> Deferred[Any]:
        """
        @return: fires when no connection is left.
        """
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed


@implementer(IBodyProducer)
class _Given:
    """
    A request's body that is in memory.
    """

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


class _Body(Protocol):
    """
    An answer's body, up to L{MAX_BODY} octets.
    """

    transport: Any

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        self._parts.append(data)
        if self._size > MAX_BODY and not self.whole.called:
            self._stop()
            self.whole.errback(ValueError("the answer is too long"))

    def _stop(self) -> None:
        transport = getattr(self.transport, "abortConnection", None)
        if transport is not None:
            transport()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.whole.called:
            if reason.check(ResponseDone, PotentialDataLoss):
                self.whole.callback(b"".join(self._parts))
            else:
                self.whole.errback(reason)
