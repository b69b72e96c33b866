"""
POP3Client with our own server, in memory: both sides of each command.
"""

from __future__ import annotations

from collections.abc import Awaitable
from hashlib import md5
from types import SimpleNamespace
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.pop3.support import FIRST, SECOND, Server
from twisted_mailstack.errors import (
    AuthenticationFailed,
    DestinationUnavailable,
    EncryptionRequired,
    OverQuota,
    SyntaxProblem,
)
from twisted_mailstack.net.reach import TLSUnavailable
from twisted_mailstack.pop3 import clientsession
from twisted_mailstack.pop3.client import ListedMessage, POP3Client
from twisted_mailstack.pop3.clientsession import POP3ClientSession, Refused
from twisted_mailstack.sasl.crammd5 import CramMD5Client
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.sasl.scram import ScramClient
from twisted_mailstack.testing.conversation import Conversation, FakeWire
from twisted_mailstack.wire.stream import Stream

T = TypeVar("T")

#: A header in UTF-8.
GLOBAL = "Subject: Gr\u00fc\u00dfe\r\n\r\ntext\r\n".encode()


class Pair:
    """
    A client whose session talks to a server in memory.
    """

    def __init__(self, server: Server, connection: Conversation | None = None) -> None:
        self.server = server
        self.connection = connection or server.connect()
        self.wire = FakeWire("pop3", self.connection.wire.secure)
        self.stream = Stream(self.wire, server.clock)
        self.client = POP3Client(Clock(), "pop.example.test")
        self.session = self.client.session = POP3ClientSession(self.stream)
        #: All that the client sent.
        self.sent: list[bytes] = []

    def pump(self) -> None:
        """Carry octets until nobody has any."""
        while self.wire.sent or self.connection.wire.sent:
            if self.connection.wire.sent:
                self.stream.received(self.connection.wire.take())
            if self.wire.sent:
                self.sent.append(self.wire.sent)
                self.connection.stream.received(self.wire.take())
            self.connection.settle()
            if self.connection.finished and not self.connection.wire.sent:
                self.stream.lost()
                break

    def start(self, awaitable: Awaitable[T]) -> list[Any]:
        """
        @return: where its result is put.
        """

        async def run() -> T:
            return await awaitable

        results: list[Any] = []
        Deferred.fromCoroutine(run()).addBoth(results.append)
        self.pump()
        return results

    def do(self, awaitable: Awaitable[T]) -> T:
        """
        @return: its result.
        """
        results = self.start(awaitable)
        if not results:
            self.server.clock.advance(20)
            self.pump()
        if not results:
            raise AssertionError("it waits")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: T = results[0]
        return result

    def login(self, utf8: bool = False) -> POP3Client:
        """
        @return: the client, logged in.
        """
        self.do(self.session.greet())
        if utf8:
            self.do(self.session.command(b"UTF8"))
        self.do(self.session.logIn(b"alice", b"secret"))
        self.do(self.session.learnCapabilities())
        return self.client


class ClientTests(SynchronousTestCase):
    """
    Commands, and what becomes of them.
    """

    def setUp(self) -> None:
        """Two messages."""
        self.server = Server()
        self.server.put(FIRST, SECOND)
        self.pair = Pair(self.server)
        self.client = self.pair.login()
        self.do = self.pair.do

    def again(self) -> None:
        """Another connection."""
        self.pair.connection.disconnect()
        self.pair = Pair(self.server)
        self.client = self.pair.login()
        self.do = self.pair.do

    def test_status(self) -> None:
        """STAT, and the rest that asks for little."""
        self.assertEqual(self.do(self.client.status()), (2, 64))
        self.do(self.client.noop())
        self.assertIn("PIPELINING", self.client.capabilities)
        self.assertEqual(self.client.capabilities["SASL"], ["PLAIN", "LOGIN"])

    def test_list(self) -> None:
        """Numbers, sizes and unique-ids, in one go where the server can do that."""
        self.pair.sent.clear()
        first, second = self.do(self.client.listMessages())
        self.assertEqual(self.pair.sent, [b"LIST\r\nUIDL\r\n"])
        self.assertEqual((first.number, first.octets), (1, len(FIRST)))
        self.assertEqual((second.number, second.octets), (2, len(SECOND)))
        self.assertNotEqual(first.uniqueId, second.uniqueId)

    def test_newMessages(self) -> None:
        """What isn't known by its unique-id."""
        seen = {each.uniqueId for each in self.do(self.client.listMessages())}
        self.do(self.client.quit())
        self.server.put(b"Subject: third\r\n\r\n")
        self.again()
        (new,) = self.do(self.client.newMessages(seen))
        self.assertEqual(new.number, 3)

    def test_retrieve(self) -> None:
        """A message, dots and all."""
        self.assertEqual(self.do(self.client.retrieve(1)), FIRST)
        self.assertEqual(self.do(self.client.top([1, 2], 1)), {1: FIRST[:23], 2: SECOND})
        self.assertEqual(self.do(self.client.top([2, 99])), {2: SECOND[:19]})

    def test_retrieveAll(self) -> None:
        """All of them with commands sent ahead; one that isn't there is told, the others come."""
        self.server.put(*[b"x: %d\r\n\r\n.\r\n" % n for n in range(100)])
        self.again()
        self.pair.sent.clear()
        got: dict[int, bytes] = {}
        told: list[tuple[int, str | None]] = []

        class Part:
            def __init__(self, number: int) -> None:
                self.number = number

            def write(self, data: bytes) -> None:
                got[self.number] = got.get(self.number, b"") + data

        self.do(
            self.client.retrieveAll(
                [*range(3, 103), 999, 1],
                Part,
                lambda number, refused: told.append((number, refused and refused.text)),
            )
        )
        self.assertEqual(got[1], FIRST)
        self.assertEqual(
            [got[n] for n in range(3, 103)], [b"x: %d\r\n\r\n.\r\n" % n for n in range(100)]
        )
        self.assertEqual([number for number, _ in told], [*range(3, 103), 999, 1])
        self.assertEqual([each for each in told if each[1]], [(999, "No such message")])
        # A bounded number at once.
        self.assertLessEqual(self.pair.sent[0].count(b"RETR"), clientsession.PIPELINE)
        self.assertGreater(self.pair.sent[0].count(b"RETR"), 1)

    def test_oneByOne(self) -> None:
        """Where the server doesn't say that it can, one command waits for the other."""
        assert self.pair.session.capabilities is not None
        del self.pair.session.capabilities["PIPELINING"]
        self.pair.sent.clear()
        self.do(self.client.listMessages())
        self.assertEqual(self.pair.sent, [b"LIST\r\n", b"UIDL\r\n"])

    def test_large(self) -> None:
        """A large message goes to a sink in pieces, and waits for it."""
        large = b"Subject: x\r\n\r\n" + b"".join(b".%d\r\n" % n for n in range(60_000))
        self.server.put(large)
        self.again()
        parts: list[bytes] = []
        waiting: list[Deferred[None]] = []

        class Slow:
            def write(self, data: bytes) -> Deferred[None]:
                parts.append(data)
                waiting.append(Deferred())
                return waiting[-1]

        results = self.pair.start(self.client.retrieveTo(3, Slow()))
        while not results:
            self.assertEqual(len(waiting), 1)
            waiting.pop().callback(None)
            self.pair.pump()
        self.assertEqual(b"".join(parts), large)
        self.assertLessEqual(max(map(len, parts)), clientsession.WINDOW + 4)

    def test_delete(self) -> None:
        """What is marked goes with quit, and not before; reset takes it back."""
        self.do(self.client.delete(1))
        self.do(self.client.reset())
        self.do(self.client.delete(2))
        self.assertEqual(len(self.server.messages()), 2)
        with self.assertRaises(Refused) as caught:
            self.do(self.client.delete(2, 1, 7))
        self.assertEqual(caught.exception.text, "That message is deleted")
        self.do(self.client.quit())
        self.assertEqual(self.server.messages(), [])
        self.assertIs(self.client.session, None)

    def test_error(self) -> None:
        """
        An error within C{async with} ends it without QUIT, so nothing is deleted; the end of it
        without one says QUIT.
        """
        for error, left in ((RuntimeError("no"), 2), (None, 1)):
            self.do(self.client.delete(1))
            self.do(self.client.__aexit__(type(error), error, None))
            self.assertIsNone(self.client.session)
            self.again()
            self.assertEqual(len(self.server.messages()), left)

    def test_abort(self) -> None:
        """Whoever goes without quit deletes nothing."""
        self.do(self.client.delete(1, 2))
        self.pair.connection.disconnect()
        self.assertEqual(len(self.server.messages()), 2)

    def test_quitRefused(self) -> None:
        """If they can't be deleted that is told."""
        self.do(self.client.delete(1))
        self.server.gate.fails = {"removeMessages"}
        with self.assertRaises(Refused) as caught:
            self.do(self.client.quit())
        self.assertEqual(caught.exception.pop3Code, "SYS/TEMP")
        self.assertEqual(len(self.server.messages()), 2)

    def test_refused(self) -> None:
        """A refusal has its text and response code, and the session goes on."""
        with self.assertRaises(Refused) as caught:
            self.do(self.client.retrieve(9))
        self.assertEqual(caught.exception.text, "No such message")
        self.assertIs(caught.exception.pop3Code, None)
        self.assertFalse(caught.exception.temporary)
        self.assertEqual(self.do(self.client.status()), (2, 64))

    def test_inUse(self) -> None:
        """A maildrop that is in use is no wrong password."""
        pair = Pair(self.server)
        pair.do(pair.session.greet())
        with self.assertRaises(Refused) as caught:
            pair.do(pair.session.logIn(b"alice", b"secret"))
        self.assertEqual(caught.exception.pop3Code, "IN-USE")
        self.assertTrue(caught.exception.temporary)

    def test_lost(self) -> None:
        """A connection that breaks is told as that, and nothing can be done with it any more."""
        self.pair.stream.lost()
        with self.assertRaises(DestinationUnavailable):
            self.do(self.client.noop())
        self.assertFalse(self.pair.session.usable)
        with self.assertRaises(DestinationUnavailable):
            self.do(self.client.listMessages())

    def test_sinkFails(self) -> None:
        """What a sink raises ends the connection: the rest of the message is still to come."""

        class Full:
            def write(self, data: bytes) -> None:
                raise OverQuota()

        with self.assertRaises(OverQuota):
            self.do(self.client.retrieveTo(1, Full()))
        self.assertFalse(self.pair.session.usable)

    def test_injection(self) -> None:
        """A command is one line, whatever its parameters."""
        for line in (b"NOOP\r\nDELE 1", b"NOOP\nDELE 1", b"NOOP\0"):
            pair = Pair(self.server, self.server.connect())
            pair.do(pair.session.greet())
            with self.assertRaises(SyntaxProblem):
                pair.do(pair.session.command(line))
        for name, password in ((b"a\r\nQUIT", b"b"), (b"a", b"b\n"), (b"", b"b"), (b"a", b"")):
            pair = Pair(self.server, self.server.connect())
            pair.do(pair.session.greet())
            with self.assertRaises(SyntaxProblem):
                pair.do(pair.session.logIn(name, password))


class LoginTests(SynchronousTestCase):
    """
    Ways to log in.
    """

    def pair(self, secure: bool = True, **settings: Any) -> Pair:
        """
        @return: greeted.
        """
        self.server = Server(**settings)
        self.server.put(GLOBAL)
        self.server.options["secrets"] = self
        pair = Pair(self.server, self.server.connect(secure))
        pair.do(pair.session.greet())
        return pair

    async def secretsFor(self, name: bytes, scheme: str) -> list[Any]:
        """See ISecretSource."""
        return []

    def logIn(self, pair: Pair, password: bytes = b"secret", client: Any = None) -> None:
        """As POP3Client.connect does."""
        credentials = PasswordCredentials(b"alice", password)
        pair.do((client or pair.client)._logIn(pair.session, credentials))

    def test_mechanism(self) -> None:
        """The first mechanism that both have, with an initial response; and UTF8 before."""
        pair = self.pair()
        self.logIn(pair)
        self.assertEqual(
            pair.sent, [b"CAPA\r\n", b"UTF8\r\n", b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"]
        )
        self.assertTrue(pair.session.authenticated)
        self.assertEqual(pair.do(pair.client.retrieve(1)), GLOBAL)

    def test_withoutUTF8(self) -> None:
        """Who doesn't want UTF-8 gets a surrogate."""
        pair = self.pair()
        client = POP3Client(Clock(), "pop.example.test", utf8=False)
        self.logIn(pair, client=client)
        self.assertNotIn(b"UTF8\r\n", pair.sent)
        self.assertTrue(pair.do(pair.client.retrieve(1)).isascii())

    def test_wrong(self) -> None:
        """A wrong password is told as that, whatever the way."""
        pair = self.pair()
        with self.assertRaises(AuthenticationFailed):
            self.logIn(pair, b"wrong")
        self.assertFalse(pair.session.authenticated)
        pair = self.pair()
        with self.assertRaises(AuthenticationFailed):
            pair.do(pair.session.logIn(b"alice", b"wrong"))
        pair = self.pair()
        with self.assertRaises(AuthenticationFailed):
            pair.do(pair.session.apop(b"alice", b"wrong"))

    def test_longResponse(self) -> None:
        """An initial response that makes the command too long is sent when it is asked for."""
        pair = self.pair()
        with self.assertRaises(AuthenticationFailed):
            self.logIn(pair, b"x" * 200)
        self.assertEqual(pair.sent[2], b"AUTH PLAIN\r\n")

    def test_encryption(self) -> None:
        """No password goes without TLS, not even to a server that would take it."""
        pair = self.pair(secure=False, allowPlaintextAuth=True)
        with self.assertRaises(EncryptionRequired):
            self.logIn(pair)
        self.assertEqual(pair.sent, [b"CAPA\r\n", b"UTF8\r\n"])

    def test_allowed(self) -> None:
        """Unless that was allowed."""
        pair = self.pair(secure=False, allowPlaintextAuth=True)
        self.logIn(pair, client=POP3Client(Clock(), "x.test", allowPlaintextAuth=True))
        self.assertTrue(pair.session.authenticated)

    def test_user(self) -> None:
        """USER and PASS where there is no mechanism."""
        pair = self.pair()
        pair.do(pair.session.learnCapabilities())
        assert pair.session.capabilities is not None
        del pair.session.capabilities["SASL"]
        pair.sent.clear()
        self.logIn(pair)
        self.assertEqual(pair.sent[1:], [b"USER alice\r\n", b"PASS secret\r\n"])

    def test_downgrade(self) -> None:
        """
        Where the client is to keep the password to itself it isn't sent by PASS, whatever the
        server has.
        """
        pair = self.pair()
        mechanisms = (CramMD5Client(), ScramClient("scram-sha-256"))
        client = POP3Client(Clock(), "x.test", utf8=False, mechanisms=mechanisms)
        with self.assertRaises(AuthenticationFailed):
            self.logIn(pair, client=client)
        self.assertEqual(pair.sent, [b"CAPA\r\n"])
        self.assertFalse(pair.session.authenticated)

    def test_unsayable(self) -> None:
        """What can't be said to this server is told as that."""
        pair = self.pair()
        capabilities = pair.do(pair.session.learnCapabilities())
        capabilities["SASL"].append("SCRAM-SHA-256")
        client = POP3Client(Clock(), "x.test", mechanisms=(ScramClient("scram-sha-256"),))
        with self.assertRaises(SyntaxProblem) as caught:
            self.logIn(pair, b"\x07", client)
        self.assertIn("U+0007", caught.exception.text)

    def test_stripped(self) -> None:
        """
        Who keeps TLS from us learns nothing of the password, however much it says that it would
        take it.
        """
        for level in ("required", "verified"):
            wire = FakeWire("pop3", False)
            stream = Stream(wire, Clock())
            options: Any = {"username": "a", "password": "b", "tls": level}
            client = POP3Client(Clock(), "pop.example.test", 110, **options)

            async def connect(stream: Stream = stream, wire: FakeWire = wire) -> Any:
                return SimpleNamespace(stream=stream, tlsProblem=None, abort=wire.lose)

            self.patch(client._destination, "connect", connect)
            results: list[Any] = []
            Deferred.fromCoroutine(client.connect()).addBoth(results.append)
            stream.received(b"+OK hi\r\n")
            self.assertEqual(wire.take(), b"STLS\r\n")
            stream.received(b"-ERR what?\r\n")
            self.assertIsInstance(results[0].value, TLSUnavailable)
            self.assertEqual((wire.take(), wire.lost), (b"", True))

    def test_stls(self) -> None:
        """After STLS what was known is asked anew."""
        pair = self.pair(secure=False)
        self.assertNotIn("SASL", pair.do(pair.session.learnCapabilities()))
        pair.do(pair.session.startTLS())
        self.assertTrue(pair.session.stream.info.secure)
        self.assertIn("SASL", pair.do(pair.session.learnCapabilities()))


class APOPTests(SynchronousTestCase):
    """
    APOP (RFC 1939 \u00a77).
    """

    def test_digest(self) -> None:
        """The RFC's example."""
        wire = FakeWire("pop3")
        stream = Stream(wire, Clock())
        session = POP3ClientSession(stream)
        results: list[Any] = []
        Deferred.fromCoroutine(session.greet()).addBoth(results.append)
        stream.received(b"+OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>\r\n")
        Deferred.fromCoroutine(session.apop(b"mrose", b"tanstaaf")).addBoth(results.append)
        self.assertEqual(wire.take(), b"APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n")
        stream.received(b"+OK maildrop has 1 message (369 octets)\r\n")
        self.assertTrue(session.authenticated)
        self.assertEqual(
            md5(b"<1896.697170952@dbc.mtview.ca.us>tanstaaf").hexdigest(),
            "c4c9334bac560ecc979e58001b3e22fb",
        )

    def test_none(self) -> None:
        """Without a timestamp it isn't possible."""
        session = POP3ClientSession(Stream(FakeWire("pop3"), Clock()))
        results: list[Any] = []
        Deferred.fromCoroutine(session.apop(b"a", b"b")).addBoth(results.append)
        results[0].trap(SyntaxProblem)


class ListedTests(SynchronousTestCase):
    """
    What servers write in other ways.
    """

    def test_loose(self) -> None:
        """More behind the size, no unique-ids, lines that are none."""
        wire = FakeWire("pop3", True)
        stream = Stream(wire, Clock())
        client = POP3Client(Clock(), "x.test")
        session = client.session = POP3ClientSession(stream)
        session.usable = True
        results: list[Any] = []
        Deferred.fromCoroutine(client.listMessages()).addBoth(results.append)
        stream.received(b"+OK\r\n2  120 more\r\nx\r\n\r\n1 nonsense\r\n.\r\n")
        stream.received(b"-ERR what?\r\n")
        self.assertEqual(results, [[ListedMessage(1, 0, b""), ListedMessage(2, 120, b"")]])
