"""
Asking web servers: over the network in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.net.http import MAX_BODY, TIMEOUT, WebClient

URL = "http://127.0.0.1:8080/introspect"


class WebClientTests(SynchronousTestCase):
    """
    L{WebClient}.
    """

    def setUp(self) -> None:
        """A client without a network."""
        self.reactor: Any = MemoryReactorClock()
        self.client = WebClient(self.reactor)

    def ask(self, method: str = "POST", body: bytes = b"a=b") -> Deferred[Any]:
        """
        @return: the answer to come, of a server that is connected.
        """
        asked = ensureDeferred(self.client(method, URL, {"X-Test": "1"}, body))
        host, port, factory, *_ = self.reactor.tcpClients.pop()
        self.assertEqual((host, port), ("127.0.0.1", 8080))
        self.protocol = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        return asked

    def test_answer(self) -> None:
        """The request goes out whole, the status and the body come back."""
        asked = self.ask()
        sent = self.transport.value()
        self.assertTrue(sent.startswith(b"POST /introspect HTTP/1.1\r\n"), sent)
        self.assertIn(b"\r\nX-Test: 1\r\n", sent)
        self.assertIn(b"\r\nContent-Length: 3\r\n", sent)
        self.assertTrue(sent.endswith(b"\r\n\r\na=b"))
        answer = b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello"
        for at in range(len(answer)):
            self.assertNoResult(asked)
            self.protocol.dataReceived(answer[at : at + 1])
        self.assertEqual(self.successResultOf(asked), (404, b"hello"))
        self.assertEqual([each for each in self.reactor.getDelayedCalls() if each.active()][1:], [])

    def test_redirect(self) -> None:
        """Nobody is sent elsewhere with a token."""
        asked = self.ask("GET", b"")
        self.protocol.dataReceived(
            b"HTTP/1.1 302 There\r\nLocation: http://x.test/\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertEqual(self.successResultOf(asked), (302, b""))

    def test_tooLong(self) -> None:
        """An answer without an end is broken off."""
        asked = self.ask()
        self.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY + 1))
        self.failureResultOf(asked, TemporaryFailure)
        self.flushLoggedErrors()

    def test_late(self) -> None:
        """An answer that doesn't come, or not whole, is none in time."""
        for beginning in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"):
            asked = self.ask()
            self.protocol.dataReceived(beginning)
            self.reactor.advance(TIMEOUT - 0.1)
            self.assertNoResult(asked)
            self.reactor.advance(0.1)
            self.failureResultOf(asked, TemporaryFailure)
        self.flushLoggedErrors()

    def test_garbage(self) -> None:
        """What isn't HTTP is no answer."""
        asked = self.ask()
        self.protocol.dataReceived(b"220 mx.example.test ESMTP\r\n")
        self.failureResultOf(asked, TemporaryFailure)
        self.flushLoggedErrors()
