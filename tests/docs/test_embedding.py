"""
The examples of docs/embedding.rst: single protocols in an application, in memory and as programs
that the standard library's clients talk to.
"""

from __future__ import annotations

import imaplib
import poplib
import signal
import smtplib
import subprocess
import sys
from pathlib import Path

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from docs.examples import imapapp, pop3app, smtpapp
from docs.examples.users import User, makePortal
from tests.docs import ROOT
from tests.docs.accounts import AccountsTestCase, Conversation, secureWire
from tests.interop.harness import environment, looseTLS
from twisted_mailstack.auth.passwords import PasswordHasher, hashPassword
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IDelivery, IDeliveryTarget
from twisted_mailstack.model.records import ConnectionInfo, Envelope
from twisted_mailstack.net.protocol import MailFactory

USERS = {"alice": User("alice", hashPassword(b"correct horse"))}


class MailboxExampleTests(AccountsTestCase):
    """
    docs/examples/users.py, imapapp.py and pop3app.py.
    """

    def setUp(self) -> None:
        """The application's own portal over a store that has no account of its users yet."""
        super().setUp()
        self.clock = Clock()
        hasher = PasswordHasher(maybeDeferred, self.clock)
        self.portal = makePortal(self.store, imapapp.DOMAIN, USERS, hasher)

    def test_imap(self) -> None:
        """A user logs in with the application's password and is told of news while in IDLE."""
        factory = imapapp.makeFactory(self.portal, self.clock)
        conversation = Conversation(factory.serve, wire=secureWire(), clock=self.clock)
        conversation.wire.take()
        reply = conversation.send(b'a LOGIN alice "correct horse"\r\n')
        self.assertTrue(reply.startswith(b"a OK [CAPABILITY IMAP4rev1 "), reply)
        self.assertIn(b"* 0 EXISTS\r\n", conversation.send(b"b SELECT INBOX\r\n"))
        conversation.send(b"c IDLE\r\n")
        self.run_(imapapp.notify(self.store, "alice", "Grüße", "Fünf Äpfel\n"))
        conversation.settle()
        conversation.stream.flush()
        self.assertIn(b"* 1 EXISTS\r\n", conversation.wire.take())
        conversation.send(b"DONE\r\n")
        fetched = conversation.send(b"d FETCH 1 (ENVELOPE BODY.PEEK[TEXT])\r\n")
        self.assertIn(b'((NIL NIL "alice" "app.example"))', fetched)
        self.assertIn("Fünf Äpfel\r\n".encode(), fetched)

    def test_otherUsers(self) -> None:
        """Another name or another password is nobody's, and the reply is the same."""
        factory = imapapp.makeFactory(self.portal, self.clock)
        replies = []
        for login in (b"alice wrong", b'bob "correct horse"'):
            conversation = Conversation(factory.serve, wire=secureWire(), clock=self.clock)
            conversation.wire.take()
            conversation.send(b"a LOGIN " + login + b"\r\n")
            self.clock.advance(1)
            replies.append(conversation.wire.take())
        self.assertEqual(replies, [b"a NO [AUTHENTICATIONFAILED] Authentication failed\r\n"] * 2)

    def test_noPasswordInTheClear(self) -> None:
        """Without TLS nobody can log in."""
        factory = imapapp.makeFactory(self.portal, self.clock)
        conversation = Conversation(factory.serve, clock=self.clock)
        self.assertIn(b"LOGINDISABLED", conversation.wire.take())
        reply = conversation.send(b'a LOGIN alice "correct horse"\r\n')
        self.assertTrue(reply.startswith(b"a NO [PRIVACYREQUIRED] "))

    def test_pop3(self) -> None:
        """The same users by POP3, and the same mail."""
        self.run_(imapapp.notify(self.store, "alice", "Hello", "text\n"))
        factory = pop3app.makeFactory(self.portal, self.clock)
        conversation = Conversation(factory.serve, wire=secureWire(), clock=self.clock)
        conversation.wire.take()
        conversation.send(b"USER alice\r\n")
        self.assertTrue(
            conversation.send(b"PASS correct horse\r\n").startswith(b"+OK 1 messages, ")
        )
        retrieved = conversation.send(b"RETR 1\r\n")
        self.assertIn(b"\r\nSubject: Hello\r\n", retrieved)
        self.assertTrue(retrieved.endswith(b"\r\ntext\r\n.\r\n"))


def overTransport(factory: MailFactory, octets: bytes) -> bytes:
    """
    Speak to a factory as Twisted does, with a protocol and a transport.

    @return: what the server said.
    """
    protocol = factory.buildProtocol(None)
    assert protocol is not None
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(octets)
    said: bytes = transport.value()
    return said


class SMTPExampleTests(SynchronousTestCase):
    """
    docs/examples/smtpapp.py.
    """

    def setUp(self) -> None:
        """The application keeps its comments in a list."""
        self.comments: list[tuple[int, str, str]] = []

    async def comment(self, ticket: int, sender: str, text: str) -> None:
        """See C{smtpapp.Comment}."""
        self.comments.append((ticket, sender, text))

    def send(self, *recipients: bytes, text: bytes, comment: smtpapp.Comment | None = None) -> str:
        """Send a message; all commands in one piece, as a pipelining client may."""
        said = overTransport(
            smtpapp.makeFactory(comment or self.comment, Clock()),
            b"EHLO me.test\r\nMAIL FROM:<bob@far.test>\r\n"
            + b"".join(b"RCPT TO:<%b>\r\n" % each for each in recipients)
            + b"DATA\r\n"
            + text
            + b"\r\n.\r\nQUIT\r\n",
        )
        return said.decode()

    def test_contract(self) -> None:
        """Target and delivery are what the server asks for."""
        target = smtpapp.TicketTarget(self.comment)
        verifyObject(IDeliveryTarget, target)
        info = ConnectionInfo("192.0.2.1", 50000, "smtp")
        verifyObject(IDelivery, target.begin(Envelope(info, "me.test", None, None, {}, "1")))

    def test_comment(self) -> None:
        """A message becomes a comment of each ticket it was sent to."""
        said = self.send(
            b"ticket+7@app.example",
            b"Ticket+8@APP.example",
            text=b"Content-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n..dot",
        )
        self.assertEqual(
            self.comments,
            [
                (7, "<bob@far.test>", "Grüße\n.dot\n"),
                (8, "<bob@far.test>", "Grüße\n.dot\n"),
            ],
        )
        self.assertRegex(said, r"\r\n250 2\.0\.0 OK: \S+\r\n221 2\.0\.0 ")

    def test_refused(self) -> None:
        """What is no ticket's address is refused at RCPT, and relaying too."""
        said = self.send(b"sales@app.example", b"ticket+1@else.test", text=b"\r\nx")
        self.assertIn("\r\n550 5.1.1 No such user here\r\n", said)
        self.assertIn("\r\n550 5.7.1 Relaying denied\r\n", said)
        self.assertIn("\r\n554 5.5.1 No valid recipients\r\n", said)
        self.assertEqual(self.comments, [])

    def test_noText(self) -> None:
        """A message without text is refused at the end of data, for good."""
        said = self.send(b"ticket+1@app.example", text=b"Content-Type: image/png\r\n\r\nPNG")
        self.assertIn("\r\n554 5.6.0 There is no text in it\r\n", said)

    def test_applicationFails(self) -> None:
        """If the application can't keep the comment, the client is to try again."""

        async def full(ticket: int, sender: str, text: str) -> None:
            raise TemporaryFailure()

        said = self.send(b"ticket+1@app.example", text=b"\r\nx", comment=full)
        self.assertIn("\r\n451 4.3.0 ", said)

    def test_repliesWait(self) -> None:
        """Nothing is said before the comment is kept, though the client has sent QUIT already."""
        kept: Deferred[None] = Deferred()

        async def slow(ticket: int, sender: str, text: str) -> None:
            await kept

        factory = smtpapp.makeFactory(slow, Clock())
        conversation = Conversation(factory.serve)
        conversation.send(
            b"EHLO me.test\r\nMAIL FROM:<>\r\nRCPT TO:<ticket+1@app.example>\r\nDATA\r\n"
        )
        self.assertEqual(conversation.send(b"\r\nx\r\n.\r\nQUIT\r\n"), b"")
        kept.callback(None)
        self.assertRegex(conversation.wire.take(), rb"\A250 2.0.0 OK: \S+\r\n221 [^\r]*\r\n\Z")


class ProgramTests(SynchronousTestCase):
    """
    The examples as programs of their own.
    """

    def start(self, name: str, *arguments: str) -> int:
        """
        @return: the port on which an example listens.
        """
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", f"docs.examples.{name}", "tcp:0:interface=127.0.0.1"),
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
        )
        self.addCleanup(self.stop)
        assert self.process.stdout is not None
        return int(self.process.stdout.readline().split()[-1])

    def stop(self) -> bytes:
        """
        @return: what it has printed since it listened.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        printed, _ = self.process.communicate(timeout=30)
        self.assertEqual(self.process.returncode, 0)
        return printed

    def directory(self) -> str:
        """
        @return: a fresh one.
        """
        return str(Path(self.mktemp()).resolve())

    def test_imapapp(self) -> None:
        """imaplib reads the notification, by STARTTLS."""
        port = self.start("imapapp", self.directory())
        with imaplib.IMAP4("127.0.0.1", port, timeout=30) as client:
            client.starttls(looseTLS())
            client.login("alice", "correct horse")
            client.select()
            _, data = client.fetch("1", "(BODY[HEADER.FIELDS (SUBJECT)])")
            assert isinstance(data[0], tuple)
            self.assertEqual(data[0][1], b"Subject: Your export is ready\r\n\r\n")

    def test_pop3app(self) -> None:
        """poplib reads the notification, by implicit TLS."""
        port = self.start("pop3app", self.directory())
        client = poplib.POP3_SSL("127.0.0.1", port, timeout=30, context=looseTLS())
        client.user("alice")
        client.pass_("correct horse")
        self.assertIn(b"Subject: Your export is ready", client.retr(1)[1])
        client.quit()

    def test_smtpapp(self) -> None:
        """What smtplib sends becomes a comment."""
        port = self.start("smtpapp")
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            client.sendmail("bob@far.test", ["ticket+42@app.example"], "Subject: x\n\nIt works.\n")
        self.assertEqual(self.stop(), b"ticket 42, from <bob@far.test>: It works.\n")
