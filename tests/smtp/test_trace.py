"""
The trace field that each message gets (RFC 5321 §4.4, RFC 3848, RFC 6531 §3.7.3), and what stands
above it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from time import localtime, time
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.smtp.support import PLAIN, TODAY, Server, SMTPTestCase, now
from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import Envelope, Recipient
from twisted_mailstack.smtp.commands import mail as mailModule
from twisted_mailstack.testing.conversation import Conversation

#   Time-stamp-line (RFC 5321 §4.4) as we write it. Between the clauses is FWS, a comment is CFWS.
DOMAIN = rb"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]*[A-Za-z0-9_])?"
LITERAL = rb"\[(?:[0-9.]+|IPv6:[0-9a-f:.]+)\]"
ATEXT = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-\x80-\xff]"
STAMP = re.compile(
    rb"Received: from (?P<name>"
    + DOMAIN
    + rb"|"
    + LITERAL
    + rb")(?: \((?P<peer>"
    + LITERAL
    + rb")\))?\r\n"
    rb"\tby (?P<by>" + DOMAIN + rb") with (?P<with>[A-Z0-9]+)(?: \([A-Za-z0-9._ \-]+\))?\r\n"
    rb"\tid (?P<id>[A-Z0-9]+)"
    rb"(?:\r\n\tfor <(?P<for>(?:"
    + ATEXT
    + rb'+|"(?:[^"\\\r\n]|\\.)*")@(?:'
    + DOMAIN
    + rb"|"
    + LITERAL
    + rb"))>)?"
    rb";\r\n\t(?P<date>[^\r\n]+)\r\n"
)


class TraceTestCase(SMTPTestCase):
    """
    Messages that consist of what we put in front.
    """

    def deliver(self, conversation: Conversation, parameters: str = "", to: str = "alice") -> None:
        """
        Send an empty message.
        """
        for name in to.split():
            if name == to.split()[0]:
                self.said(conversation, f"MAIL FROM:<s@far.test>{parameters}", "250 2.1.0")
            self.said(conversation, f"RCPT TO:<{name}@example.test>", "250 2.1.5")
        self.said(conversation, "DATA", "354")
        self.said(conversation, ".", "250 2.0.0")

    def said(self, conversation: Conversation, line: str, answer: str) -> None:
        """
        Send a line and see how the answer begins.
        """
        got = conversation.send(line.encode() + b"\r\n")
        self.assertTrue(got.startswith(answer.encode()), (line, got))

    def received(self, server: Server, name: str = "alice") -> re.Match[bytes]:
        """
        @return: the trace field of the last message.
        """
        stored = server.inbox(name)[-1]
        match = STAMP.search(stored)
        assert match is not None, stored
        self.assertEqual(match.end(), len(stored))
        return match


class ReceivedTests(TraceTestCase):
    """
    The Received field.
    """

    def test_whole(self) -> None:
        """From, by, with, id, for and the date, in that order, each line short."""
        server = self.serve()
        self.deliver(server.greeted())
        self.assertEqual(
            server.inbox(),
            [
                b"Return-Path: <s@far.test>\r\n"
                b"Delivered-To: alice@example.test\r\n"
                b"Received: from client.test ([192.0.2.1])\r\n"
                b"\tby mx.example.test with ESMTP\r\n"
                b"\tid Q1\r\n"
                b"\tfor <alice@example.test>;\r\n"
                b"\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
            ],
        )

    def test_protocols(self) -> None:
        """HELO or EHLO, UTF-8, TLS and authentication have keywords (RFC 3848; RFC 6531 §4.3)."""
        for hello, secure, login, parameters, keyword in (
            ("HELO", False, False, "", b"SMTP"),
            # RFC 3848 has no keyword for HELO under TLS.
            ("HELO", True, False, "", b"SMTP"),
            ("EHLO", False, False, "", b"ESMTP"),
            ("EHLO", True, False, "", b"ESMTPS"),
            ("EHLO", False, True, "", b"ESMTPA"),
            ("EHLO", True, True, "", b"ESMTPSA"),
            ("EHLO", False, False, " SMTPUTF8", b"UTF8SMTP"),
            ("EHLO", True, False, " SMTPUTF8", b"UTF8SMTPS"),
            ("EHLO", False, True, " SMTPUTF8", b"UTF8SMTPA"),
            ("EHLO", True, True, " SMTPUTF8", b"UTF8SMTPSA"),
        ):
            server = self.serve(allowPlaintextAuth=True)
            conversation = server.connect(secure=secure)
            conversation.send(f"{hello} client.test\r\n".encode())
            if login:
                self.said(conversation, f"AUTH PLAIN {PLAIN}", "235")
            self.deliver(conversation, parameters)
            self.assertEqual(self.received(server)["with"], keyword)

    def test_TLS(self) -> None:
        """What protects the connection is in a comment."""
        server = self.serve()
        self.deliver(server.greeted(secure=True))
        self.assertIn(b" with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n", server.inbox()[0])

    def test_peer(self) -> None:
        """The address is that of the connection, as a literal (RFC 5321 §4.1.3)."""
        for peer, literal in (
            ("192.0.2.7", b"[192.0.2.7]"),
            ("2001:db8::7", b"[IPv6:2001:db8::7]"),
            # What a dual-stack socket calls an IPv4 peer, and a link-local one with its zone.
            ("::ffff:192.0.2.7", b"[192.0.2.7]"),
            ("fe80::7%eth0", b"[IPv6:fe80::7]"),
            # A Unix socket has none.
            ("local", None),
        ):
            server = self.serve()
            self.deliver(server.greeted(peer=peer))
            self.assertEqual(self.received(server)["peer"], literal)

    def test_name(self) -> None:
        """The client's name is as it gave it, if it is a domain or a literal; else it's unknown."""
        for hello, name in (
            ("client.test", b"client.test"),
            ("Client.TEST", b"Client.TEST"),
            ("localhost", b"localhost"),
            ("192.0.2.1", b"192.0.2.1"),
            ("[192.0.2.1]", b"[192.0.2.1]"),
            ("[IPv6:2001:db8::1]", b"[IPv6:2001:db8::1]"),
            ("client.test (by)", b"client.test"),
            ("a.test)(b", b"unknown"),
            ("x;y", b"unknown"),
            ("[1.2.3.4", b"unknown"),
            ("[evil]", b"unknown"),
            ("a..b", b"unknown"),
            ("\\r\\nX:", b"unknown"),
            ("@", b"unknown"),
            ('"', b"unknown"),
            ("a" * 255, b"unknown"),
            (f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 63}", None),
        ):
            server = self.serve()
            self.deliver(server.greeted(f"EHLO {hello}"))
            self.assertEqual(self.received(server)["name"], name or hello.encode())

    def test_for(self) -> None:
        """A recipient is named only if it is the only one (§7.2: a Bcc stays blind)."""
        server = self.serve()
        conversation = server.greeted()
        self.deliver(conversation)
        self.assertEqual(self.received(server)["for"], b"alice@example.test")
        self.deliver(conversation, to="alice bob")
        self.assertIsNone(self.received(server)["for"])
        self.assertIsNone(self.received(server, "bob")["for"])
        # Also nothing of a recipient that was refused.
        conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<nobody@example.test>\r\n")
        conversation.send(b"RCPT TO:<alice@example.test>\r\nDATA\r\n.\r\n")
        self.assertEqual(self.received(server)["for"], b"alice@example.test")

    def test_forQuoted(self) -> None:
        """A local-part that needs quotes has them, so nothing in it can end the field."""
        for name, written in (
            ('a"b', b'"a\\"b"'),
            ("a;b", b'"a;b"'),
            ("a)(b", b'"a)(b"'),
            ("a> b", b'"a> b"'),
            ("a\\b", b'"a\\\\b"'),
        ):
            server = self.serve()
            now(server.directory.addAccount(Address(name, "example.test"), None))
            conversation = server.greeted()
            conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<%b@example.test>\r\n" % written)
            self.said(conversation, "DATA", "354")
            self.said(conversation, ".", "250 2.0.0")
            self.assertEqual(self.received(server, name)["for"], written + b"@example.test")

    def test_UTF8(self) -> None:
        """With SMTPUTF8 the recipient is in UTF-8 (RFC 6531 §3.7)."""
        server = self.serve()
        now(server.directory.addAccount(Address("дима", "example.test"), None))
        self.deliver(server.greeted(), " SMTPUTF8", "дима")
        self.assertEqual(self.received(server, "дима")["for"], "дима@example.test".encode())

    def test_date(self) -> None:
        """The date is local time with its offset (§4.4: SHOULD), and the right instant."""
        self.patch(mailModule, "localtime", localtime)
        self.patch(mailModule, "time", time)
        server = self.serve()
        before = int(time())
        self.deliver(server.greeted())
        at = parsedate_to_datetime(self.received(server)["date"].decode("ascii"))
        self.assertTrue(before <= at.timestamp() <= time())
        offset = at.utcoffset()
        assert offset is not None
        self.assertEqual(offset.total_seconds(), localtime().tm_gmtoff)

    def test_zone(self) -> None:
        """The offset is shown in hours and minutes."""
        for seconds, shown in (
            (19_800, b"Wed, 15 Nov 2023 03:43:20 +0530"),
            (-12_600, b"Tue, 14 Nov 2023 18:43:20 -0330"),
        ):
            zone = SimpleNamespace(tm_gmtoff=seconds)
            self.patch(mailModule, "localtime", lambda _, zone=zone: zone)
            server = self.serve()
            self.deliver(server.greeted())
            self.assertEqual(self.received(server)["date"], shown)

    @given(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
    )
    @settings(max_examples=150, deadline=None)
    def test_anyName(self, hello: str) -> None:
        """Whatever a client calls itself, the field is as the grammar wants it."""
        server = Server()
        conversation = server.connect()
        conversation.send(f"EHLO {hello}\r\n".encode())
        self.deliver(conversation)
        self.received(server)


class AboveTests(TraceTestCase):
    """
    What is put in front of a message, and in which order.
    """

    def test_order(self) -> None:
        """
        Return-Path is first (§4.4), then who got it, then what policies found, then our Received,
        then those that were there, in their order.
        """

        class Marks(PolicyStep):
            def __init__(self, line: bytes) -> None:
                self.line = line

            def message(
                self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
            ) -> bytes:
                return self.line

        server = self.serve(
            policies=[Marks(b"X-First: 1\r\n"), Marks(b""), Marks(b"X-Second: 2\r\n")]
        )
        conversation = server.greeted()
        conversation.send(b"MAIL FROM:<s@far.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        conversation.send(b"Received: from b\r\nReceived: from a\r\nSubject: x\r\n\r\n.\r\n")
        names = [name for name, _ in message_from_bytes(server.inbox()[0]).items()]
        self.assertEqual(
            names,
            [
                *("Return-Path", "Delivered-To", "X-Second", "X-First"),
                *("Received", "Received", "Received", "Subject"),
            ],
        )
        values = message_from_bytes(server.inbox()[0]).get_all("Received")
        assert values is not None
        self.assertEqual(values[1:], ["from b", "from a"])

    def test_eachItsOwn(self) -> None:
        """Each recipient's copy names that recipient alone."""
        server = self.serve()
        self.deliver(server.greeted(), to="alice bob")
        for name, other in (("alice", b"bob"), ("bob", b"alice")):
            stored = server.inbox(name)[0]
            self.assertEqual(stored.count(b"Delivered-To: "), 1)
            self.assertIn(f"Delivered-To: {name}@example.test\r\n".encode(), stored)
            self.assertNotIn(other, stored)

    def test_internalDate(self) -> None:
        """The message's date in the mailbox is that of its delivery."""
        server = self.serve()
        self.deliver(server.greeted())
        account = next(iter(server.store.accounts.values()))
        self.assertEqual(account.boxes["INBOX"].entries[0].date, TODAY)
