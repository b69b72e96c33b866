"""
IMAPClient with our own server, in memory: both sides of each command.
"""

from __future__ import annotations

from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, now
from tests.imap.test_responses import Gathered
from tests.sasl.support import Mutual
from twisted_mailstack.errors import (
    AuthenticationFailed,
    DestinationUnavailable,
    EncryptionRequired,
    MailError,
    SyntaxProblem,
)
from twisted_mailstack.imap.client import (
    BodyPart,
    FetchedMessage,
    IMAPClient,
    MailboxState,
    readFetched,
)
from twisted_mailstack.imap.clientsession import IMAPClientSession, Literal, Refused
from twisted_mailstack.imap.responses import Data, MalformedResponse, parseResponse
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.records import CopyResult
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.net.reach import TLSUnavailable
from twisted_mailstack.sasl.crammd5 import CramMD5Client
from twisted_mailstack.sasl.credentials import TokenCredentials
from twisted_mailstack.sasl.plain import PlainClient
from twisted_mailstack.sasl.scram import ScramClient
from twisted_mailstack.testing.conversation import Conversation, FakeWire
from twisted_mailstack.wire.stream import Stream

T = TypeVar("T")

MULTIPART = (
    b"Subject: two\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nbody\r\n"
    b"--b\r\nContent-Type: image/png; name=x.png\r\nContent-Transfer-Encoding: base64\r\n"
    b"Content-Disposition: attachment; filename=x.png\r\n\r\nAAAA\r\n--b--\r\n"
)


class Pair:
    """
    A client whose session talks to a server in memory.
    """

    def __init__(self, server: Server, connection: Conversation | None = None) -> None:
        self.server = server
        self.connection = connection or server.connect()
        self.wire = FakeWire("imap", self.connection.wire.secure)
        self.stream = Stream(self.wire, server.clock)
        self.client = IMAPClient(Clock(), "imap.example.test")
        self.session = self.client.session = IMAPClientSession(self.stream)

    def pump(self) -> None:
        """Carry octets until nobody has any."""
        while self.wire.sent or self.connection.wire.sent:
            if self.connection.wire.sent:
                self.stream.received(self.connection.wire.take())
            if self.wire.sent:
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
            raise AssertionError("it waits")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        result: T = results[0]
        return result

    def login(self) -> IMAPClient:
        """
        @return: the client, logged in.
        """
        self.do(self.session.greet())
        self.do(self.session.logIn(b"alice@example.test", b"secret"))
        self.do(self.session.learnCapabilities())
        return self.client


class ClientTests(SynchronousTestCase):
    """What the methods do, with a server that does it."""

    def setUp(self) -> None:
        """A server, and a client that is logged in."""
        self.server = Server()
        self.pair = Pair(self.server)
        self.client = self.pair.login()
        self.do = self.pair.do

    def test_mailboxes(self) -> None:
        """Mailboxes are made, renamed, listed and deleted, whatever is in their names."""
        name = 'Entw\u00fcrfe "alt" %/\u53f0\u5317'
        self.do(self.client.createMailbox(name))
        self.do(self.client.renameMailbox(name, "plain"))
        self.do(self.client.renameMailbox("plain", name))
        listed = {each.name: each for each in self.do(self.client.listMailboxes())}
        self.assertIn(name, listed)
        self.assertEqual(listed[name].delimiter, "/")
        self.assertTrue(listed[name].selectable)
        self.assertTrue(listed["Sent"].has("\\SENT"))
        self.do(self.client.deleteMailbox(name))
        self.do(self.client.setSubscribed("Sent", False))
        names = {each.name for each in self.do(self.client.listMailboxes())}
        self.assertNotIn(name, names)
        self.assertEqual(
            self.do(self.client.listMailboxes("", "")), [("", "/", {"\\Noselect"}, {})]
        )

    def test_refused(self) -> None:
        """What the server refuses is an exception with its code; the session goes on."""
        refused = self.assertFalse(False) or self.assertRaises(
            Refused, self.do, self.client.select("absent")
        )
        self.assertEqual(refused.imapCode, "NONEXISTENT")
        self.assertFalse(refused.bad)
        self.assertTrue(self.assertRaises(Refused, self.do, self.client.command(b"XYZZY")).bad)
        self.assertIsNone(self.client.mailbox)
        self.do(self.client.noop())

    def test_status(self) -> None:
        """STATUS gives numbers by name."""
        self.server.deliver()
        self.assertEqual(
            self.do(self.client.status("INBOX", ["MESSAGES", "UIDNEXT"])),
            {"MESSAGES": 1, "UIDNEXT": 2},
        )

    def test_select(self) -> None:
        """What SELECT tells is kept, and kept up."""
        self.server.deliver()
        mailbox = self.do(self.client.select("INBOX"))
        self.assertEqual((mailbox.messages, mailbox.uidValidity, mailbox.uidNext), (1, 1, 2))
        self.assertIn("\\Seen", mailbox.flags)
        self.assertIn("\\*", mailbox.permanentFlags)
        self.assertFalse(mailbox.readOnly)
        self.server.deliver()
        self.do(self.client.noop())
        self.assertEqual(mailbox.messages, 2)
        self.do(self.client.store("1", FlagOperation.ADD, ["\\Deleted"]))
        self.do(self.client.expunge())
        self.assertEqual(mailbox.messages, 1)
        self.assertTrue(self.do(self.client.select("INBOX", readOnly=True)).readOnly)

    def test_close(self) -> None:
        """Closing expunges only if it is told to."""
        self.server.deliver(flags=["\\Deleted"])
        self.do(self.client.select("INBOX"))
        self.do(self.client.closeMailbox())
        self.assertIsNone(self.client.mailbox)
        self.assertEqual(self.do(self.client.select("INBOX")).messages, 1)
        self.do(self.client.closeMailbox(expunge=True))
        self.assertEqual(self.do(self.client.select("INBOX")).messages, 0)

    def test_fetch(self) -> None:
        """What is fetched is typed."""
        self.server.deliver(MESSAGE, date=784_111_777, zone=-480, flags=["\\Flagged", "$Label1"])
        self.do(self.client.select("INBOX"))
        (message,) = self.do(
            self.client.fetch(
                [1],
                [
                    "FLAGS",
                    "INTERNALDATE",
                    "RFC822.SIZE",
                    "ENVELOPE",
                    "BODY.PEEK[]",
                    "BODYSTRUCTURE",
                ],
            )
        )
        self.assertEqual(message.uid, 1)
        self.assertEqual(message.flags & {"\\Flagged", "$Label1"}, {"\\Flagged", "$Label1"})
        self.assertEqual(message.internalDate, (784_111_777, -480))
        self.assertEqual(message.octets, len(MESSAGE))
        self.assertEqual(message.section(), MESSAGE)
        self.assertEqual(message.envelope.subject, b"afternoon meeting")
        self.assertEqual(message.envelope.sentFrom[0].localPart, b"foobar")
        self.assertEqual(message.envelope.cc, ())
        self.assertEqual(message.bodyStructure.type, "text/plain")
        self.assertEqual(message.bodyStructure.lines, 1)
        self.assertRaises(KeyError, message.section, "TEXT")

    def test_structure(self) -> None:
        """The parts of a message have the numbers by which their sections are fetched."""
        self.server.deliver(MULTIPART)
        self.do(self.client.select("INBOX"))
        (message,) = self.do(self.client.fetch("1", ["BODYSTRUCTURE"]))
        root = message.bodyStructure
        self.assertEqual(root.type, "multipart/mixed")
        self.assertEqual(root.parameters, {"boundary": b"b"})
        text, inner, image = root.parts
        self.assertEqual([text.number, inner.number, image.number], ["1", "2", "3"])
        self.assertEqual(inner.envelope and inner.envelope.subject, b"inner")
        self.assertEqual(inner.parts[0].number, "2.1")
        self.assertEqual((image.disposition, image.encoding), ("attachment", "base64"))
        self.assertEqual(image.dispositionParameters, {"filename": b"x.png"})

        def leaves(part: BodyPart) -> list[BodyPart]:
            return [each for below in part.parts for each in leaves(below)] or [part]

        for part, octets in zip(leaves(root), (b"hello", b"body", b"AAAA"), strict=True):
            (found,) = self.do(self.client.fetch("1", [f"BODY.PEEK[{part.number}]"]))
            self.assertEqual(found.section(part.number), octets)
            self.assertEqual(part.octets, len(octets))

    def test_fetchOnlyWhatWasAsked(self) -> None:
        """Flags that the server tells of other messages meanwhile are no result of FETCH."""
        self.server.deliver()
        self.server.deliver()
        other = Pair(self.server)
        other.login()
        other.do(other.client.select("INBOX"))
        self.do(self.client.select("INBOX"))
        other.do(other.client.store("2", FlagOperation.ADD, ["\\Answered"]))
        found = self.do(self.client.fetch("1", ["ENVELOPE"]))
        self.assertEqual([each.uid for each in found], [1])

    def test_fetchTo(self) -> None:
        """A message is read in pieces, octet for octet, and isn't marked as seen."""
        large = b"Subject: large\r\n\r\n" + b"a line with {3}\r\n" * 30_000
        self.server.deliver(large)
        self.do(self.client.select("INBOX"))
        sink = Gathered()
        told = self.do(self.client.fetchTo(1, sink))
        self.assertEqual(sink.data, large)
        self.assertEqual(told and told.uid, 1)
        self.assertNotIn("\\Seen", (told and told.flags) or ())
        self.assertIsNone(self.do(self.client.fetchTo(2, Gathered())))
        section = Gathered()
        self.do(self.client.fetchTo(1, section, "HEADER"))
        self.assertEqual(section.data, b"Subject: large\r\n\r\n")

    def test_search(self) -> None:
        """Texts go as they must; sets, sorts and return options have values."""
        for subject in ("Gr\u00fc\u00dfe", 'a "quoted" \\one', "plain"):
            self.server.deliver(f"Subject: {subject}\r\n\r\nx".encode())
        self.do(self.client.select("INBOX"))
        for subject, uid in (("gr\u00fc\u00dfe", 1), ('a "quoted" \\one', 2), ("PLAIN", 3)):
            found = self.do(self.client.search("SUBJECT %s", texts=[subject]))
            self.assertEqual(found.uids, [uid])
        self.assertEqual(self.do(self.client.search("ALL")).uids, [1, 2, 3])
        self.assertEqual(self.do(self.client.search("SEEN")).uids, [])
        self.assertRaises(ValueError, self.do, self.client.search("SUBJECT %s"))

    def test_store(self) -> None:
        """Flags are added, removed and replaced."""
        self.server.deliver()
        self.do(self.client.select("INBOX"))
        self.do(self.client.store("1", FlagOperation.ADD, ["\\Seen", "one"]))
        self.do(self.client.store("1", FlagOperation.REMOVE, ["\\Seen"], silent=True))
        told, modified = self.do(self.client.store("1", FlagOperation.ADD, ["two"]))
        self.assertEqual(told[0].flags and told[0].flags - {"\\Recent"}, {"one", "two"})
        self.assertEqual(modified, NumberSet())

    def test_copyAndMove(self) -> None:
        """What was copied and moved where is told."""
        for _ in range(3):
            self.server.deliver()
        self.do(self.client.select("INBOX"))
        self.assertEqual(
            self.do(self.client.copy([1, 3], "Archive")), [CopyResult(6, [1, 3], [1, 2])]
        )
        self.assertEqual(self.do(self.client.move("2", "Archive")), [CopyResult(6, [2], [3])])
        self.assertEqual(self.do(self.client.search("ALL")).uids, [1, 3])

    def test_moveWithoutMove(self) -> None:
        """A server without MOVE is told to copy and to expunge just those."""
        for flags in ([], ["\\Deleted"]):
            self.server.deliver(flags=flags)
        self.do(self.client.select("INBOX"))
        self.pair.session.capabilities -= {"MOVE", "IMAP4REV2"}
        self.pair.session.capabilities |= {"UIDPLUS"}
        self.assertEqual(self.do(self.client.move([1], "Archive")), [CopyResult(6, [1], [1])])
        self.assertEqual(self.do(self.client.search("ALL")).uids, [2])
        self.pair.session.capabilities -= {"UIDPLUS"}
        # What else is marked must not be removed.
        self.assertRaises(MailError, self.do, self.client.expunge([2]))

    def test_append(self) -> None:
        """A message comes back as it was appended, with its flags and its date."""
        uid = self.do(self.client.append("Sent", MESSAGE, ["\\Seen"], (784_111_777, 60)))
        self.assertEqual(uid, (3, [1]))
        self.do(self.client.select("Sent"))
        (message,) = self.do(self.client.fetch("1", ["FLAGS", "INTERNALDATE", "BODY.PEEK[]"]))
        self.assertEqual(message.section(), MESSAGE)
        self.assertEqual(message.internalDate, (784_111_777, 60))
        self.assertIn("\\Seen", message.flags or ())

    def test_appendRefused(self) -> None:
        """A refusal before the literal is sent is one, and the session goes on."""
        self.pair.session.capabilities = frozenset({"IMAP4REV1"})
        refused = self.assertRaises(Refused, self.do, self.client.append("absent", MESSAGE))
        self.assertEqual(refused.imapCode, "TRYCREATE")
        self.do(self.client.noop())

    def test_idle(self) -> None:
        """IDLE ends with the first news; what it told is in the session's state."""
        self.do(self.client.select("INBOX"))
        results = self.pair.start(self.client.idle())
        self.assertEqual(results, [])
        self.server.deliver()
        self.pair.pump()
        self.assertEqual(results[0][0], Data("EXISTS", 1, ()))
        self.assertEqual(self.client.mailbox and self.client.mailbox.messages, 1)
        self.do(self.client.noop())

    def test_stopIdle(self) -> None:
        """IDLE ends when somebody says so, or after its time, with nothing to tell."""
        self.do(self.client.select("INBOX"))
        results = self.pair.start(self.client.idle())
        self.client.stopIdle()
        self.pair.pump()
        self.assertEqual(results, [[]])
        results = self.pair.start(self.client.idle(timeout=60))
        self.server.clock.advance(60)
        self.pair.pump()
        self.assertEqual(results, [[]])
        self.do(self.client.noop())

    def test_identify(self) -> None:
        """ID in both directions."""
        self.assertIn("name", self.do(self.client.identify({"name": 'a "b"'})))

    def test_metadata(self) -> None:
        """RFC 5464 §4.2: entries of a mailbox and of the server; what isn't there is None."""
        account: Any = self.server.account
        for name in ("", "Entw\u00fcrfe"):
            if name:
                now(account.createMailbox(name))
            for value in (b'one "two"', b"x\r\n\xc3\xa9", b"", b"NIL", b"a\0b"):
                now(account.setMetadata(name, {"/private/x": value}, 10))
                found = self.do(self.client.getMetadata(name, "/private/X", "/shared/y"))
                self.assertEqual(found, {"/private/x": value, "/shared/y": None})
        refused = self.assertRaises(
            Refused, self.do, self.client.getMetadata("absent", "/private/x")
        )
        self.assertEqual(refused.imapCode, "NONEXISTENT")

    def test_oneAtATime(self) -> None:
        """Commands that are sent at the same time go one after the other."""
        first = self.pair.start(self.client.status("INBOX", ["MESSAGES"]))
        second = self.pair.start(self.client.listMailboxes())
        self.assertEqual(first, [{"MESSAGES": 0}])
        self.assertEqual(len(second[0]), 6)

    def test_quit(self) -> None:
        """LOGOUT, and then there is no connection."""
        self.do(self.client.quit())
        self.assertTrue(self.pair.connection.finished)
        self.assertRaises(DestinationUnavailable, self.do, self.client.noop())

    def test_lost(self) -> None:
        """A connection that breaks in the midst of a command is told as such."""
        results = self.pair.start(self.client.idle())
        self.pair.stream.lost()
        self.assertIsInstance(results[0].value, DestinationUnavailable)
        self.assertRaises(DestinationUnavailable, self.do, self.client.noop())


class SynchroniseTests(SynchronousTestCase):
    """A mailbox is followed, however much the server helps."""

    def setUp(self) -> None:
        """A mailbox with four messages, and two clients."""
        self.server = Server()
        for _ in range(4):
            self.server.deliver()
        self.other = Pair(self.server)
        self.other.login()
        self.other.do(self.other.client.select("INBOX"))

    def follow(self, without: frozenset[str]) -> None:
        """Two rounds of changes."""
        pair = Pair(self.server)
        client = pair.login()
        pair.session.capabilities -= without
        first = pair.do(client.synchronise("INBOX"))
        self.assertTrue(first.reset)
        self.assertEqual(list(first.state.uids), [1, 2, 3, 4])
        self.assertEqual(set(first.changed), {1, 2, 3, 4})
        pair.do(client.closeMailbox())
        self.other.do(self.other.client.store("1,3", FlagOperation.ADD, ["\\Deleted"]))
        self.other.do(self.other.client.expunge([3]))
        self.other.do(self.other.client.append("INBOX", MESSAGE, ["new"]))
        second = pair.do(client.synchronise("INBOX", first.state))
        self.assertFalse(second.reset)
        self.assertEqual(list(second.vanished), [3])
        self.assertIn("\\Deleted", second.changed[1])
        self.assertIn("new", second.changed[5])
        self.assertEqual(list(second.state.uids), [1, 2, 4, 5])
        third = pair.do(client.synchronise("INBOX", second.state))
        self.assertEqual((third.vanished, third.state.uids), (NumberSet(), second.state.uids))
        if not without:
            self.assertEqual(third.changed, {})

    def test_qresync(self) -> None:
        """With QRESYNC (RFC 7162 §3.2) only what changed is told."""
        self.follow(frozenset())

    def test_condstore(self) -> None:
        """With CONDSTORE."""
        self.follow(frozenset({"QRESYNC"}))

    def test_plain(self) -> None:
        """With neither."""
        self.follow(frozenset({"QRESYNC", "CONDSTORE", "IMAP4REV2"}))

    def test_anotherMailbox(self) -> None:
        """A mailbox of another UIDVALIDITY is a new one, whose UIDs mean something else."""
        pair = Pair(self.server)
        client = pair.login()
        changes = pair.do(client.synchronise("INBOX", MailboxState(99, 1, NumberSet.of([1, 9]))))
        self.assertTrue(changes.reset)
        self.assertEqual(list(changes.state.uids), [1, 2, 3, 4])
        self.assertEqual(set(changes.changed), {1, 2, 3, 4})

    def test_empty(self) -> None:
        """An empty mailbox."""
        pair = Pair(self.server)
        client = pair.login()
        changes = pair.do(client.synchronise("Sent"))
        self.assertEqual((changes.changed, changes.state.uids), ({}, NumberSet()))
        pair.do(client.synchronise("Sent", changes.state))


class Scripted(SynchronousTestCase):
    """A client with a server of which only the words are known."""

    def setUp(self) -> None:
        """A connection."""
        self.wire = FakeWire("imap", True)
        self.clock = Clock()
        self.stream = Stream(self.wire, self.clock)
        self.session = IMAPClientSession(self.stream, timeout=60)

    def start(self, awaitable: Awaitable[Any]) -> list[Any]:
        """
        @return: where its result is put.
        """

        async def run() -> Any:
            return await awaitable

        results: list[Any] = []
        Deferred.fromCoroutine(run()).addBoth(results.append)
        return results

    def greet(self, capabilities: bytes = b"IMAP4rev1") -> None:
        """The greeting."""
        self.start(self.session.greet())
        self.stream.received(b"* OK [CAPABILITY %b] hi\r\n" % capabilities)


class SessionTests(Scripted):
    """Servers as they are, good and bad."""

    def test_greetings(self) -> None:
        """OK, PREAUTH, BYE, and what is no greeting (RFC 9051 §7.1)."""
        for greeting, authenticated in ((b"* OK hi", False), (b"* PREAUTH hi", True)):
            self.setUp()
            results = self.start(self.session.greet())
            self.stream.received(greeting + b"\r\n")
            self.assertEqual(len(results), 1)
            self.assertEqual(self.session.authenticated, authenticated)
        for greeting, kind in (
            (b"* BYE full", Refused),
            (b"220 mx ESMTP", MalformedResponse),
            (b"+ go on", MalformedResponse),
        ):
            self.setUp()
            results = self.start(self.session.greet())
            self.stream.received(greeting + b"\r\n")
            self.assertIsInstance(results[0].value, kind)
            self.assertFalse(self.session.usable)

    def test_literals(self) -> None:
        """
        A literal waits to be asked for, unless LITERAL+, or LITERAL- and it is small (RFC 7888).
        """
        for capabilities, size, waits in (
            (b"IMAP4rev1", 5, True),
            (b"IMAP4rev1 LITERAL-", 4096, False),
            (b"IMAP4rev1 LITERAL-", 4097, True),
            (b"IMAP4rev1 LITERAL+", 5000, False),
            (b"IMAP4rev1 IMAP4rev2", 5, False),
        ):
            self.setUp()
            self.greet(capabilities)
            results = self.start(self.session.command(b"X ", Literal(b"y" * size), b" z"))
            sent = self.wire.take()
            if waits:
                self.assertEqual(sent, b"a1 X {%d}\r\n" % size)
                self.stream.received(b"* 3 EXISTS\r\n+ go\r\n")
                sent += self.wire.take()
            plus = b"" if waits else b"+"
            self.assertEqual(sent, b"a1 X {%d%b}\r\n%b z\r\n" % (size, plus, b"y" * size))
            self.stream.received(b"a1 OK done\r\n")
            self.assertEqual(results[0].status.kind, "OK")

    def test_wrongTag(self) -> None:
        """A server that answers what wasn't asked can't be believed."""
        self.greet()
        results = self.start(self.session.command(b"NOOP"))
        self.stream.received(b"a9 OK done\r\n")
        self.assertIsInstance(results[0].value, MalformedResponse)
        self.assertTrue(self.wire.lost)
        self.assertFalse(self.session.usable)

    def test_silent(self) -> None:
        """A server that says nothing is left after a while."""
        self.greet()
        results = self.start(self.session.command(b"NOOP"))
        self.clock.advance(61)
        self.assertEqual(results[0].value.reason, "timeout")
        self.assertTrue(self.wire.lost)

    def test_bye(self) -> None:
        """After BYE there are no commands."""
        self.greet()
        results = self.start(self.session.command(b"NOOP"))
        self.stream.received(b"* BYE down\r\na1 OK done\r\n")
        self.assertEqual(results[0].status.kind, "OK")
        self.assertFalse(self.session.usable)

    def test_capabilitiesAfterLogin(self) -> None:
        """What was known before login isn't believed after it; a code says what holds."""
        self.greet(b"IMAP4rev1 LOGINDISABLED")
        self.start(self.session.logIn(b"a b", b'p"'))
        self.assertEqual(self.wire.take(), b'a1 LOGIN "a b" "p\\""\r\n')
        self.stream.received(b"a1 OK [CAPABILITY IMAP4rev1 MOVE] in\r\n")
        self.assertEqual(self.session.capabilities, {"IMAP4REV1", "MOVE"})
        self.assertTrue(self.session.authenticated)

    def test_loginRefused(self) -> None:
        """A wrong password is told apart from a server that can't say now."""
        for code, kind in ((b"[AUTHENTICATIONFAILED]", AuthenticationFailed), (b"", Exception)):
            self.setUp()
            self.greet()
            results = self.start(self.session.logIn(b"a", b"b"))
            self.stream.received(b"a1 NO %b no\r\n" % code)
            self.assertIsInstance(results[0].value, kind)
        self.setUp()
        self.greet()
        results = self.start(self.session.logIn(b"a", b"b"))
        self.stream.received(b"a1 NO [UNAVAILABLE] later\r\n")
        self.assertNotIsInstance(results[0].value, AuthenticationFailed)

    def test_startTLSInjected(self) -> None:
        """
        What stands behind the OK to STARTTLS may be anybody's, and what was said before counts for
        nothing (RFC 9051 §6.2.1).
        """
        self.greet(b"IMAP4rev1 AUTH=PLAIN")
        results = self.start(self.session.startTLS())
        self.stream.received(b"a1 OK go\r\n* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n")
        self.assertEqual(type(results[0].value).__name__, "PlaintextInjected")
        self.setUp()
        self.greet(b"IMAP4rev1 AUTH=PLAIN")
        self.start(self.session.startTLS())
        self.stream.received(b"a1 OK go\r\n")
        self.assertTrue(self.wire.secure)
        self.assertEqual(self.session.capabilities, set())

    def test_idleRefused(self) -> None:
        """A server without IDLE says so, and the session goes on."""
        self.greet()
        results = self.start(self.session.idle())
        self.stream.received(b"a1 BAD what\r\n")
        self.assertIsInstance(results[0].value, Refused)
        self.assertTrue(self.session.usable)

    def test_idleKeepAlive(self) -> None:
        """What servers say to keep the connection alive is no news, and not a timeout either."""
        self.greet()
        results = self.start(self.session.idle(timeout=1000))
        self.wire.take()
        self.stream.received(b"+ idling\r\n")
        for _ in range(5):
            self.clock.advance(100)
            self.stream.received(b"* OK Still here\r\n")
        self.assertEqual(results, [])
        self.stream.received(b"* 1 EXPUNGE\r\n")
        self.assertEqual(self.wire.take(), b"DONE\r\n")
        self.stream.received(b"* 2 EXISTS\r\na1 OK done\r\n")
        self.assertEqual(results[0], [Data("EXPUNGE", 1, ()), Data("EXISTS", 2, ())])

    def test_modified(self) -> None:
        """What STORE left alone is told (RFC 7162 §3.1.3, its example)."""
        self.greet()
        client = IMAPClient(Clock(), "imap.example.test")
        client.session = self.session
        results = self.start(
            client.store("7,5,9", FlagOperation.ADD, ["\\Deleted"], unchangedSince=320162338)
        )
        self.assertEqual(
            self.wire.take(),
            b"a1 UID STORE 7,5,9 (UNCHANGEDSINCE 320162338) +FLAGS (\\Deleted)\r\n",
        )
        self.stream.received(b"* 5 FETCH (MODSEQ (320162350))\r\na1 OK [MODIFIED 7,9] failed\r\n")
        told, modified = results[0]
        self.assertEqual(list(modified), [7, 9])
        self.assertEqual(told[0].modSeq, 320162350)

    def test_esearch(self) -> None:
        """ESEARCH in its forms (RFC 4731 §3.1, RFC 5267: the order of a SORT is kept)."""
        self.greet()
        client = IMAPClient(Clock(), "imap.example.test")
        client.session = self.session
        results = self.start(client.search("FLAGGED", "MIN COUNT"))
        self.assertEqual(self.wire.take(), b"a1 UID SEARCH RETURN (MIN COUNT) FLAGGED\r\n")
        self.stream.received(b'* ESEARCH (TAG "a1") UID MIN 2 COUNT 3\r\na1 OK done\r\n')
        self.assertEqual(results[0].values, {"MIN": "2", "COUNT": "3"})
        results = self.start(client.sort("REVERSE DATE", returns="ALL"))
        self.assertEqual(self.wire.take(), b"a2 UID SORT RETURN (ALL) (REVERSE DATE) UTF-8 ALL\r\n")
        self.stream.received(b'* ESEARCH (TAG "a2") UID ALL 5,3:1,9\r\na2 OK done\r\n')
        self.assertEqual(results[0].uids, [5, 3, 2, 1, 9])


class AuthenticateTests(Scripted):
    """AUTHENTICATE (RFC 9051 §6.2.2), with a mechanism in which the server shows who it is."""

    def authenticate(self, *said: bytes, capabilities: bytes = b"IMAP4rev1 SASL-IR") -> Any:
        """
        The server says these lines.

        @return: what came of it; C{None} if it is done.
        """
        self.setUp()
        self.greet(capabilities)
        self.wire.take()
        mutual = Mutual()
        results = self.start(self.session.authenticate(mutual, mutual))
        for each in said:
            self.stream.received(each + b"\r\n")
        self.assertEqual(len(results), 1)
        return results[0].value if isinstance(results[0], Failure) else results[0]

    def test_proven(self) -> None:
        """With an initial response (RFC 4959), or behind an empty challenge."""
        self.assertIs(self.authenticate(b"+ cHJvb2Y=", b"a1 OK in"), None)
        self.assertEqual(self.wire.take(), b"a1 AUTHENTICATE MUTUAL aGVsbG8=\r\n\r\n")
        self.assertTrue(self.session.authenticated)
        said = (b"+ ", b"+ cHJvb2Y=", b"a1 OK in")
        self.assertIs(self.authenticate(*said, capabilities=b"IMAP4rev1"), None)
        self.assertEqual(self.wire.take(), b"a1 AUTHENTICATE MUTUAL\r\naGVsbG8=\r\n\r\n")
        self.assertTrue(self.session.authenticated)

    def test_notProven(self) -> None:
        """A server that says OK before isn't trusted."""
        self.assertIsInstance(self.authenticate(b"a1 OK in"), AuthenticationFailed)
        self.assertFalse(self.session.authenticated)
        self.assertTrue(self.wire.lost)

    def test_cancelled(self) -> None:
        """A wrong challenge, or one that is none, is answered with an asterisk."""
        for challenge in (b"+ eA==", b"+ not base64", b"+ eA="):
            problem = self.authenticate(challenge, b"a1 BAD cancelled")
            self.assertIsInstance(problem, AuthenticationFailed)
            self.assertTrue(self.wire.take().endswith(b"\r\n*\r\n"))
            self.assertTrue(self.session.usable)

    def test_notCancelled(self) -> None:
        """A server that goes on all the same, or says that we are logged in, is left."""
        for said in (b"+ cHJvb2Y=", b"+ eA==", b"a1 OK in"):
            self.assertIsInstance(self.authenticate(b"+ eA==", said), AuthenticationFailed)
            self.assertTrue(self.wire.take().endswith(b"\r\n*\r\n"))
            self.assertFalse(self.session.authenticated)
            self.assertTrue(self.wire.lost)


class LoginTests(SynchronousTestCase):
    """Logging in by what is offered."""

    def pair(self, secure: bool = True, **options: Any) -> Pair:
        """
        @return: a client with a name and a password, before its greeting.
        """
        server = Server(allowPlaintextAuth=not secure)
        pair = Pair(server, server.connect(secure))
        pair.client = IMAPClient(
            Clock(),
            "imap.example.test",
            username="alice@example.test",
            password=options.pop("password", "secret"),
            **options,
        )
        pair.client.session = pair.session
        pair.do(pair.session.greet())
        return pair

    def logIn(self, pair: Pair) -> None:
        """What C{connect} does once it is connected."""
        pair.do(pair.client._logIn(pair.session, pair.client._credentials))

    def test_mechanism(self) -> None:
        """By AUTHENTICATE where a mechanism is known, with its initial response or without."""
        pair = self.pair()
        self.logIn(pair)
        self.assertTrue(pair.session.authenticated)
        pair = self.pair()
        pair.session.capabilities -= {"SASL-IR"}
        self.logIn(pair)
        self.assertTrue(pair.session.authenticated)

    def test_login(self) -> None:
        """By LOGIN where none is."""
        pair = self.pair(mechanisms=())
        self.logIn(pair)
        self.assertTrue(pair.session.authenticated)

    def test_wrong(self) -> None:
        """A wrong password."""
        pair = self.pair(password="wrong")
        results = pair.start(pair.client._logIn(pair.session, pair.client._credentials))
        pair.server.clock.advance(60)
        pair.pump()
        self.assertIsInstance(results[0].value, AuthenticationFailed)

    def test_downgrade(self) -> None:
        """
        Where the client is to keep the password to itself it isn't sent by LOGIN, whatever the
        server has.
        """
        pair = self.pair(mechanisms=(CramMD5Client(), ScramClient("scram-sha-256")))
        self.assertRaises(AuthenticationFailed, self.logIn, pair)
        self.assertFalse(pair.session.authenticated)
        pair = self.pair(mechanisms=(CramMD5Client(), PlainClient()))
        pair.session.capabilities -= {"AUTH=PLAIN"}
        self.logIn(pair)
        self.assertTrue(pair.session.authenticated)

    def test_token(self) -> None:
        """A token isn't sent as a password where no mechanism is for it."""
        pair = self.pair()
        token = TokenCredentials(b"alice@example.test", b"abc")
        self.assertRaises(AuthenticationFailed, pair.do, pair.client._logIn(pair.session, token))
        self.assertFalse(pair.session.authenticated)
        self.assertRaises(
            ValueError, IMAPClient, Clock(), "x.test", username="a", password="b", credentials=token
        )

    def test_noTLS(self) -> None:
        """No password goes in the clear, unless it is allowed to."""
        pair = self.pair(secure=False)
        self.assertRaises(EncryptionRequired, self.logIn, pair)
        pair = self.pair(secure=False, allowPlaintextAuth=True)
        self.logIn(pair)
        self.assertTrue(pair.session.authenticated)

    def test_unsayable(self) -> None:
        """What can't be said to this server is told as that."""
        pair = self.pair(mechanisms=(ScramClient("scram-sha-256"),), password="\x07")
        pair.session.capabilities |= {"AUTH=SCRAM-SHA-256"}
        error = self.assertRaises(SyntaxProblem, self.logIn, pair)
        self.assertIn("U+0007", error.text)

    def test_stripped(self) -> None:
        """
        Who keeps TLS from us, by an offer without it or a refusal, learns nothing of the password
        (RFC 9051 §11.2).
        """
        for level in ("required", "verified"):
            wire = FakeWire("imap", False)
            stream = Stream(wire, Clock())
            options: Any = {"username": "a", "password": "b", "tls": level}
            client = IMAPClient(Clock(), "imap.example.test", 143, **options)

            async def connect(stream: Stream = stream, wire: FakeWire = wire) -> Any:
                return SimpleNamespace(stream=stream, tlsProblem=None, abort=wire.lose)

            self.patch(client._destination, "connect", connect)
            results: list[Any] = []
            Deferred.fromCoroutine(client.connect()).addBoth(results.append)
            stream.received(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n")
            self.assertEqual(wire.take(), b"a1 STARTTLS\r\n")
            stream.received(b"a1 BAD what?\r\n")
            self.assertIsInstance(results[0].value, TLSUnavailable)
            self.assertEqual((wire.take(), wire.lost), (b"", True))

    def test_preauth(self) -> None:
        """A greeting that keeps TLS away isn't taken (RFC 9051 §11.2)."""
        wire = FakeWire("imap", False)
        stream = Stream(wire, Clock())
        session = IMAPClientSession(stream)
        client = IMAPClient(Clock(), "imap.example.test", 143)

        async def run() -> None:
            await session.greet()
            await client._secure(session)

        results: list[Any] = []
        Deferred.fromCoroutine(run()).addBoth(results.append)
        stream.received(b"* PREAUTH welcome\r\n")
        self.assertIsInstance(results[0].value, TLSUnavailable)

    def test_options(self) -> None:
        """What makes no sense is told at once."""
        for arguments, options in (
            ((), {}),
            (("h",), {"path": "/s"}),
            (("h",), {"username": "a"}),
            (("h",), {"tls": "perhaps"}),
            ((), {"path": "/s", "tls": "implicit"}),
        ):
            self.assertRaises(ValueError, IMAPClient, Clock(), *arguments, **options)


class ValueTests(SynchronousTestCase):
    """FETCH responses of other servers."""

    def message(self, items: bytes) -> FetchedMessage:
        """
        @return: one with these items.
        """
        found = readFetched(parseResponse(b"* 1 FETCH (%b)" % items))
        assert found is not None
        return found

    def test_malformed(self) -> None:
        """What can't be read is malformed, and nothing else."""
        for items in (
            b"ENVELOPE NIL",
            b"ENVELOPE (1 2)",
            b"ENVELOPE (NIL NIL ((1)) NIL NIL NIL NIL NIL NIL NIL)",
        ):
            self.assertRaises(MalformedResponse, lambda items=items: self.message(items).envelope)
        for items in (b"BODYSTRUCTURE NIL", b"BODYSTRUCTURE (text plain)", b"UID 1"):
            self.assertRaises(
                MalformedResponse, lambda items=items: self.message(items).bodyStructure
            )

    def test_uidfetch(self) -> None:
        """RFC 9586: the number is the UID."""
        found = readFetched(parseResponse(b"* 25 UIDFETCH (FLAGS (\\Seen))"))
        self.assertEqual(found and found.uid, 25)
