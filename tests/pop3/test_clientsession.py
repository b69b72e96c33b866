"""
The client's session against servers that are odd, or hostile.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.sasl.support import Mutual
from twisted_mailstack.errors import (
    AuthenticationFailed,
    ConnectionClosed,
    PlaintextInjected,
    SessionEnded,
)
from twisted_mailstack.pop3 import clientsession
from twisted_mailstack.pop3.clientsession import (
    Gathered,
    MalformedResponse,
    POP3ClientSession,
    Refused,
    Request,
)
from twisted_mailstack.testing.conversation import FakeWire
from twisted_mailstack.wire.stream import Stream

T = TypeVar("T")


class SessionTestCase(SynchronousTestCase):
    """
    @ivar session: greeted.
    """

    def setUp(self) -> None:
        """Greet."""
        self.clock = Clock()
        self.wire = FakeWire("pop3", True)
        self.stream = Stream(self.wire, self.clock)
        self.session = POP3ClientSession(self.stream)
        self.begin(self.session.greet(), b"+OK hello\r\n")
        self.assertEqual(self.results, ["hello"])

    def begin(self, awaitable: Awaitable[Any], *said: bytes) -> None:
        """Start it, then the server says something."""

        async def run() -> Any:
            return await awaitable

        self.results: list[Any] = []
        Deferred.fromCoroutine(run()).addBoth(self.results.append)
        for each in said:
            self.stream.received(each)

    def assertFailed(self, kind: type[BaseException]) -> BaseException:
        """What was begun failed so."""
        self.assertEqual(len(self.results), 1)
        failure = self.results[0]
        self.assertIsInstance(failure, Failure)
        self.assertTrue(failure.check(kind), failure)
        error: BaseException = failure.value
        return error


class ResponseTests(SessionTestCase):
    """
    What a response looks like (RFC 1939 \u00a73, RFC 2449 \u00a78).
    """

    def test_forms(self) -> None:
        """Texts, response codes, and none."""
        for said, text, code in (
            (b"-ERR", "Refused", None),
            (b"-ERR no", "no", None),
            (b"-ERR [IN-USE] busy", "busy", "IN-USE"),
            (b"-ERR [sys/temp]", "Refused", "SYS/TEMP"),
            (b"-ERR [SYS/NEW] x [y]", "x [y]", "SYS/NEW"),
            (b"-ERR  [AUTH] x", " [AUTH] x", None),
            ("-ERR [AUTH] \u00fc".encode(), "\u00fc", "AUTH"),
            (b"-ERR \xff", "\ufffd", None),
        ):
            self.begin(self.session.command(b"NOOP"), said + b"\r\n")
            error = self.assertFailed(Refused)
            assert isinstance(error, Refused)
            self.assertEqual((error.text, error.pop3Code), (text, code), said)
            self.assertTrue(self.session.usable)

    def test_temporary(self) -> None:
        """Only some codes say that it may be otherwise later."""
        for code, temporary in (
            *(("IN-USE", True), ("LOGIN-DELAY", True), ("SYS/TEMP", True), ("SYS/PERM", False)),
            *(("AUTH", False), ("NEW", False)),
        ):
            self.assertIs(Refused("x", code).temporary, temporary)

    def test_malformed(self) -> None:
        """What is neither is the end: nobody knows what belongs to what."""
        for said in (b"", b"OK", b"+ok", b"+OKAY", b"* OK x", b"HTTP/1.1 200 OK", b"-ERRx"):
            self.setUp()
            self.begin(self.session.command(b"NOOP"), said + b"\r\n")
            self.assertFailed(MalformedResponse)
            self.assertTrue(self.wire.lost)
            self.begin(self.session.command(b"NOOP"))
            self.assertFailed(ConnectionClosed)

    def test_long(self) -> None:
        """A line without an end isn't read for ever."""
        self.begin(self.session.command(b"NOOP"), b"+OK " + b"x" * 100_000 + b"\r\n")
        self.assertFailed(MalformedResponse)

    def test_multiLine(self) -> None:
        """Stuffed dots, empty texts, and what comes behind, however it is cut."""
        said = b"+OK\r\n..\r\n...x\r\n.\r\n+OK\r\n.\r\n-ERR no\r\n+OK 1\r\n"
        for size in (1, 2, 3, 7, len(said)):
            self.setUp()
            self.session.capabilities = {"PIPELINING": []}
            sinks = [Gathered(), Gathered(), Gathered()]
            requests = [Request(b"RETR 1", sink) for sink in sinks]
            chunks = [said[at : at + size] for at in range(0, len(said), size)]
            self.begin(self.session.pipeline([*requests, Request(b"NOOP")]), *chunks)
            self.assertEqual([sink.octets for sink in sinks], [b".\r\n..x\r\n", b"", b""])
            (results,) = self.results
            self.assertEqual([results[0], results[1], results[3]], ["", "", "1"])
            self.assertIsInstance(results[2], Refused)

    def test_endless(self) -> None:
        """A response that is read into memory has an end."""
        self.patch(clientsession, "MAX_OCTETS", 1000)
        self.begin(self.session.lines(b"UIDL"), b"+OK\r\n" + b"1 x\r\n" * 300)
        self.assertFailed(MalformedResponse)
        self.assertTrue(self.wire.lost)

    def test_cut(self) -> None:
        """A message that isn't whole isn't given."""
        sink = Gathered()
        self.begin(self.session.command(b"RETR 1", sink), b"+OK\r\nhalf")
        self.stream.lost()
        self.assertFailed(ConnectionClosed)

    def test_silence(self) -> None:
        """A server that says nothing is left after a while."""
        self.begin(self.session.command(b"NOOP"))
        self.clock.advance(299)
        self.stream.end(SessionEnded.TIMEOUT)
        self.assertFailed(SessionEnded)


class GreetingTests(SynchronousTestCase):
    """
    The first line.
    """

    def greet(self, said: bytes) -> tuple[POP3ClientSession, Any]:
        """
        @return: the session, and what became of it.
        """
        stream = Stream(FakeWire("pop3"), Clock())
        session = POP3ClientSession(stream)
        results: list[Any] = []
        Deferred.fromCoroutine(session.greet()).addBoth(results.append)
        stream.received(said + b"\r\n")
        return session, results[0]

    def test_timestamp(self) -> None:
        """Found wherever it stands; what only looks like one isn't one."""
        for said, found in (
            (b"+OK <1.2@x> ready", b"<1.2@x>"),
            (b"+OK ready <1.2@x>", b"<1.2@x>"),
            (b"+OK ready <12>", b""),
            (b"+OK ready <1 2@x>", b""),
            (b"+OK", b""),
        ):
            self.assertEqual(self.greet(said)[0].timestamp, found, said)

    def test_refused(self) -> None:
        """A server that doesn't want us."""
        session, failure = self.greet(b"-ERR [SYS/TEMP] too many")
        self.assertEqual(failure.value.pop3Code, "SYS/TEMP")
        self.assertFalse(session.usable)

    def test_another(self) -> None:
        """One that speaks something else."""
        for said in (b"220 mx.example.test ESMTP", b"* OK IMAP4rev1"):
            self.greet(said)[1].trap(MalformedResponse)


class TLSTests(SessionTestCase):
    """
    STLS (RFC 2595 \u00a74).
    """

    def test_injected(self) -> None:
        """What comes behind the OK before TLS is not believed."""
        self.begin(self.session.startTLS(), b"+OK begin\r\n+OK CAPA\r\n")
        self.assertFailed(PlaintextInjected)

    def test_capabilities(self) -> None:
        """What isn't known to the server is nothing that it can."""
        self.begin(self.session.learnCapabilities(), b"-ERR unknown\r\n")
        self.assertEqual(self.results, [{}])


class AUTHTests(SessionTestCase):
    """
    AUTH (RFC 5034).
    """

    def setUp(self) -> None:
        """An exchange."""
        super().setUp()
        self.mutual = Mutual()

    def authenticate(self, *said: bytes) -> None:
        """The server says these lines."""
        self.wire.take()
        lines = [each + b"\r\n" for each in said]
        self.begin(self.session.authenticate(self.mutual, self.mutual), *lines)

    def test_proven(self) -> None:
        """The server shows who it is, with its last challenge."""
        self.authenticate(b"+ cHJvb2Y=", b"+OK")
        self.assertEqual(self.results, [None])
        self.assertEqual(self.wire.take(), b"AUTH MUTUAL aGVsbG8=\r\n\r\n")
        self.assertTrue(self.session.authenticated)

    def test_notProven(self) -> None:
        """One that says OK before isn't trusted."""
        self.authenticate(b"+OK")
        self.assertFailed(AuthenticationFailed)
        self.assertFalse(self.session.authenticated)
        self.assertTrue(self.wire.lost)

    def test_cancelled(self) -> None:
        """A wrong challenge, or one that is none, is answered with an asterisk."""
        for challenge in (b"+ eA==", b"+ not base64", b"+ eA="):
            self.setUp()
            self.authenticate(challenge, b"-ERR cancelled")
            self.assertFailed(AuthenticationFailed)
            self.assertTrue(self.wire.take().endswith(b"\r\n*\r\n"))
            self.assertTrue(self.session.usable)

    def test_notCancelled(self) -> None:
        """
        A server that says OK to a cancelled exchange, or goes on all the same, isn't one to talk
        to.
        """
        for said in (b"+OK", b"+ cHJvb2Y=", b"+ eA=="):
            self.setUp()
            self.authenticate(b"+ eA==", said)
            self.assertFailed(AuthenticationFailed)
            self.assertTrue(self.wire.take().endswith(b"\r\n*\r\n"))
            self.assertFalse(self.session.authenticated)
            self.assertTrue(self.wire.lost)

    def test_refused(self) -> None:
        """A refusal is a failed login, unless its code says otherwise."""
        self.authenticate(b"-ERR [AUTH] no")
        self.assertFailed(AuthenticationFailed)
        self.setUp()
        self.authenticate(b"-ERR [SYS/PERM] no")
        error = self.assertFailed(Refused)
        self.assertNotIsInstance(error, AuthenticationFailed)
