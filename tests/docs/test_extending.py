"""
The examples of docs/extending.rst: each extension is one file, and one line makes a server speak
it.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import fields
from hashlib import sha256
from importlib import import_module
from ipaddress import ip_network
from pathlib import Path

from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import twisted_mailstack
from docs.examples import digest, subjects, tickets
from docs.examples.notes import NoteField, notes
from docs.examples.strangers import Strangers
from tests.docs.accounts import (
    ALICE,
    PASSWORD,
    PLAIN,
    AccountsTestCase,
    Conversation,
    FakeWire,
    secureWire,
)
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.target import MailTarget
from twisted_mailstack.imap.extension import Extension as IMAPExtension
from twisted_mailstack.imap.registry import EXTENSIONS as IMAP
from twisted_mailstack.imap.server import IMAPFactory
from twisted_mailstack.imap.session import IMAPSettings
from twisted_mailstack.interfaces import IPolicyStep, ISASLExchange, IServerMechanism
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.pop3.registry import EXTENSIONS as POP3
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.sasl.registry import MECHANISMS
from twisted_mailstack.smtp.registry import EXTENSIONS as SMTP
from twisted_mailstack.smtp.server import POLICIES, SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings

MESSAGE = b"Subject: one\r\nMessage-ID: <1@example.test>\r\n\r\ntext\r\n"


class SMTPExampleTests(AccountsTestCase):
    """
    docs/examples/notes.py and strangers.py.
    """

    def serve(
        self, policies: Sequence[IPolicyStep] = (NoteField(),), peer: str = "192.0.2.1"
    ) -> Conversation:
        """A server with the extension and these policies."""
        factory = SMTPFactory(
            MailTarget(self.store, Resolver(self.store.directory)),
            SMTPSettings(hostname="mx.example.test"),
            Clock(),
            extensions=(*SMTP, notes(["invoice", "order"])),
            policies=(*POLICIES, *policies),
        )
        return Conversation(factory.serve, wire=FakeWire(peer=peer))

    def begin(self) -> Conversation:
        """A session that has said EHLO."""
        conversation = self.serve()
        self.assertIn(b"\r\n250-XNOTE invoice order\r\n", conversation.send(b"EHLO me.test\r\n"))
        return conversation

    def test_parameter(self) -> None:
        """A note is announced, taken with MAIL in any case, and written into the message."""
        conversation = self.begin()
        conversation.send(b"MAIL FROM:<a@far.test> XNOTE=Invoice\r\n")
        conversation.send(b"RCPT TO:<alice@example.test>\r\nDATA\r\n")
        self.assertTrue(conversation.send(MESSAGE + b".\r\n").startswith(b"250 2.0.0"))
        (octets,) = self.inbox()
        self.assertIn(b"\r\nX-Note: invoice\r\n", octets)
        self.assertTrue(octets.endswith(MESSAGE))

    def test_badValue(self) -> None:
        """Another word, or none, is a syntax error, and there is no transaction."""
        conversation = self.begin()
        conversation.check("""
            C: MAIL FROM:<a@far.test> XNOTE=love
            S: 501 5.5.4 XNOTE is one of invoice, order
            C: MAIL FROM:<a@far.test> XNOTE
            S: 501 5.5.4 XNOTE is one of invoice, order
            C: MAIL FROM:<a@far.test>
            S: 250 2.1.0 OK
        """)

    def test_command(self) -> None:
        """The command is there, HELP knows it, and an argument is refused."""
        conversation = self.begin()
        conversation.check("""
            C: XNOTES
            S: 214-2.0.0 invoice
            S: 214 2.0.0 order
            C: HELP XNOTES
            S: 214 2.0.0 XNOTES
            C: XNOTES all
            S: 501 5.5.4 XNOTES takes no argument
        """)

    def test_longerLine(self) -> None:
        """MAIL's line may be as much longer as the extension said (RFC 5321 §4.5.3.1.4)."""
        plain = SMTPFactory(
            MailTarget(self.store, Resolver(self.store.directory)),
            SMTPSettings(hostname="mx.example.test"),
            Clock(),
        )

        def longest(conversation: Conversation) -> int:
            conversation.send(b"EHLO me.test\r\n")
            for size in range(512, 2000):
                # Spaces at the end are no parameter, and count.
                line = b"MAIL FROM:<a@far.test>".ljust(size - 2) + b"\r\n"
                if not conversation.send(line + b"RSET\r\n").startswith(b"250"):
                    return size - 1
            return 0

        self.assertEqual(
            longest(self.serve()), longest(Conversation(plain.serve)) + len(" XNOTE=invoice")
        )

    def test_policy(self) -> None:
        """Each stage has its say: the greeting, MAIL, RCPT and the end of data."""
        policy = Strangers([ip_network("203.0.113.0/24")], ["late.test"], "bob")
        verifyObject(IPolicyStep, policy)
        refused = self.serve([policy], "203.0.113.9")
        refused.check("""
            S: 554 mx.example.test No mail from there
            C: QUIT
            S: 221 2.0.0 mx.example.test closing
        """)
        self.assertTrue(refused.finished)
        conversation = self.serve([policy])
        conversation.send(b"EHLO me.test\r\n")
        conversation.check("""
            C: MAIL FROM:<a@late.test>
            S: 450 4.7.1 Try again later
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<bob@example.test>
            S: 550 5.7.1 Only for members
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
        """)
        conversation.send(b"Subject: no id\r\n\r\n.\r\n")
        self.assertIn(b"X-Suspicious: no Message-ID\r\n", self.inbox()[0])


class IMAPExampleTests(AccountsTestCase):
    """
    docs/examples/subjects.py.
    """

    def setUp(self) -> None:
        """Alice has selected INBOX."""
        super().setUp()
        self.put(
            b"Subject: =?utf-8?q?Caf=C3=A9?=\r\n\r\n1\r\n",
            b'Subject: Re: Fwd: "Caf\xc3\xa9"\r\n\r\n2\r\n',
            b"Subject: Re: =?utf-8?q?caf=C3=A9?=\r\n\r\n3\r\n",
        )
        factory = IMAPFactory(
            self.portal,
            IMAPSettings(hostname="imap.example.test"),
            Clock(),
            extensions=(*IMAP, subjects.EXTENSION),
        )
        self.conversation = Conversation(factory.serve, wire=secureWire())
        greeting = self.conversation.wire.take()
        self.assertIn(b" XSUBJECTS]", greeting)
        self.conversation.send(f"1 AUTHENTICATE PLAIN {PLAIN}\r\n2 SELECT INBOX\r\n".encode())

    def test_fetchItem(self) -> None:
        """The item is rendered from its column, and may be asked for together with others."""
        self.assertEqual(
            self.conversation.send(b"a FETCH 1,3 (UID X-BASE-SUBJECT)\r\n").decode(),
            "* 1 FETCH (UID 1 X-BASE-SUBJECT {5}\r\nCAFÉ)\r\n"
            "* 3 FETCH (UID 3 X-BASE-SUBJECT {5}\r\nCAFÉ)\r\na OK FETCH completed\r\n",
        )

    def test_searchKey(self) -> None:
        """The key combines with the others, and needs its argument."""
        self.conversation.check("""
            C: a SEARCH CHARSET UTF-8 X-SAME-SUBJECT "Fwd: café"
            S: * SEARCH 1 3
            S: a OK SEARCH completed
            C: b SEARCH NOT X-SAME-SUBJECT "Re: lunch" 2
            S: * SEARCH 2
            S: b OK SEARCH completed
            C: c SEARCH X-SAME-SUBJECT
            S: c BAD Space expected
        """)

    def test_commandAndStatusItem(self) -> None:
        """The command tells the keywords, the STATUS item how many they are."""
        inbox = self.run_(self.account(self.alice).openMailbox("INBOX"))
        flags = frozenset(("work", "$Important"))
        self.run_(inbox.storeFlags(NumberSet.of([1]), FlagOperation.ADD, flags))
        self.conversation.send(b"a NOOP\r\n")
        self.conversation.check("""
            C: b XKEYWORDS
            S: * XKEYWORDS ($Important work)
            S: b OK 2 keywords
            C: c STATUS INBOX (X-KEYWORDS)
            S: * STATUS INBOX (X-KEYWORDS 2)
            S: c OK STATUS completed
            C: d UNSELECT
            S: d OK UNSELECT completed
            C: e XKEYWORDS
            S: e BAD Not when authenticated
        """)


class POP3ExampleTests(AccountsTestCase):
    """
    docs/examples/digest.py.
    """

    def test_digest(self) -> None:
        """The digest is that of the octets that RETR sends, however large they are."""
        large = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 20_000
        self.put(MESSAGE, large)
        factory = POP3Factory(
            self.portal,
            POP3Settings(hostname="pop.example.test"),
            Clock(),
            extensions=(*POP3, digest.EXTENSION),
        )
        conversation = Conversation(factory.serve, wire=secureWire())
        self.assertNotIn(b"XDIGEST", conversation.send(b"CAPA\r\n"))
        self.assertTrue(conversation.send(b"XDIGEST 1\r\n").endswith(b"-ERR Not in this state\r\n"))
        conversation.send(b"USER alice\r\nPASS " + PASSWORD + b"\r\n")
        self.assertIn(b"\r\nXDIGEST SHA-256\r\n", conversation.send(b"CAPA\r\n"))
        for number, octets in enumerate((MESSAGE, large), 1):
            conversation.check(f"""
                C: XDIGEST {number}
                S: +OK {number} {sha256(octets).hexdigest()}
            """)
        conversation.check("""
            C: XDIGEST 3
            S: -ERR No such message
            C: XDIGEST two
            S: -ERR A message number is needed
        """)


class SASLExampleTests(AccountsTestCase):
    """
    docs/examples/tickets.py.
    """

    def setUp(self) -> None:
        """Servers of all protocols that offer the mechanism; no TLS anywhere."""
        super().setUp()
        checker = tickets.TicketChecker({b"Alice": (b"open sesame", self.alice.encode())})
        self.portal = Portal(MailRealm(self.store), (checker,))
        self.mechanisms: tuple[IServerMechanism, ...] = (tickets.Ticket(), *MECHANISMS)

    def test_contract(self) -> None:
        """Mechanism and exchange are what the protocols ask for."""
        mechanism = tickets.Ticket()
        verifyObject(IServerMechanism, mechanism)
        info = ConnectionInfo("192.0.2.1", 50000, "imap")
        verifyObject(ISASLExchange, mechanism.begin(info))

    def answer(self, challenge: bytes, ticket: bytes = b"open sesame") -> bytes:
        """The client's half."""
        nonce = b64decode(challenge)
        return b64encode(b"Alice\0" + hmac.digest(ticket, nonce, "sha256")) + b"\r\n"

    def test_imap(self) -> None:
        """IMAP offers it, and takes a proof."""
        factory = IMAPFactory(
            self.portal,
            IMAPSettings(hostname="imap.example.test"),
            Clock(),
            mechanisms=self.mechanisms,
        )
        conversation = Conversation(factory.serve)
        self.assertIn(b" AUTH=X-TICKET", conversation.wire.take())
        challenge = conversation.send(b"a AUTHENTICATE X-TICKET\r\n")
        self.assertTrue(challenge.startswith(b"+ "))
        self.assertTrue(
            conversation.send(self.answer(challenge[2:])).startswith(b"a OK [CAPABILITY ")
        )

    def test_pop3(self) -> None:
        """POP3 offers it, and takes a proof."""
        factory = POP3Factory(
            self.portal,
            POP3Settings(hostname="pop.example.test"),
            Clock(),
            mechanisms=self.mechanisms,
        )
        conversation = Conversation(factory.serve)
        self.assertIn(b"\r\nSASL X-TICKET\r\n", conversation.send(b"CAPA\r\n"))
        challenge = conversation.send(b"AUTH X-TICKET\r\n")
        self.assertEqual(
            conversation.send(self.answer(challenge[2:])), b"+OK 0 messages, 0 octets\r\n"
        )

    def test_smtp(self) -> None:
        """SMTP offers it, and takes a proof; a wrong one, a malformed one and a reuse fail."""
        clock = Clock()
        factory = SMTPFactory(
            MailTarget(self.store, Resolver(self.store.directory)),
            SMTPSettings(hostname="mx.example.test", submission=True),
            clock,
            portal=self.portal,
            mechanisms=self.mechanisms,
        )
        conversation = Conversation(factory.serve, clock=clock)
        self.assertIn(b"\r\n250-AUTH X-TICKET\r\n", conversation.send(b"EHLO me.test\r\n"))
        challenge = conversation.send(b"AUTH X-TICKET\r\n")
        right = self.answer(challenge[4:])
        conversation.check("""
            C: AA==
            S: 501 5.5.4 Malformed X-TICKET message
        """)
        # The next attempt has another nonce: the proof of the first is worth nothing.
        for reply in (right, self.answer(b"AA==", b"guessed")):
            conversation.send(b"AUTH X-TICKET\r\n")
            self.assertEqual(conversation.send(reply), b"")
            clock.advance(2)
            self.assertEqual(conversation.wire.take(), b"535 5.7.8 Authentication failed\r\n")
        challenge = conversation.send(b"AUTH X-TICKET\r\n")
        self.assertEqual(
            conversation.send(self.answer(challenge[4:])), b"235 2.7.0 Authenticated\r\n"
        )
        conversation.check(f"""
            C: MAIL FROM:<{ALICE}>
            S: 250 2.1.0 OK
        """)


class RecordTests(SynchronousTestCase):
    """
    What the page says of the record of an IMAP extension.
    """

    def test_everyField(self) -> None:
        """Each field is named; each file that the table names has what it is named for."""
        page = (Path(__file__).parents[2] / "docs" / "extending.rst").read_text("utf-8")
        known = {each.name for each in fields(IMAPExtension)} - {"capability", "rfc", "commands"}
        table = page.partition("fields of the record")[2].partition("FETCH responses")[0]
        self.assertEqual(known, set(re.findall(r"``(\w+)``", table)))
        folder = Path(twisted_mailstack.__file__).parent / "imap" / "extensions"
        for row in re.split(r"\n(?=``)", table):
            files = re.findall(r"``(\w+\.py)``", row)
            texts = "".join((folder / name).read_text("utf-8") for name in files)
            for name in re.findall(r"``(\w+)``", row):
                self.assertIn(f"{name}=", texts, row)


class RegistryTests(SynchronousTestCase):
    """
    One feature is one file and one line.
    """

    def test_everyFileIsRegistered(self) -> None:
        """No extension lies about that no server speaks."""
        package = Path(twisted_mailstack.__file__).parent
        for protocol, registered in (("smtp", SMTP), ("pop3", POP3), ("imap", IMAP)):
            for path in (package / protocol / "extensions").glob("[!_]*.py"):
                name = f"twisted_mailstack.{protocol}.extensions.{path.stem}"
                mine = vars(import_module(name)).values()
                self.assertTrue(
                    any(extension is each for extension in registered for each in mine), name
                )
