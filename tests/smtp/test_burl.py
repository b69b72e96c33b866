"""
BURL: C{twisted_mailstack.smtp.extensions.burl}.
"""

from __future__ import annotations

import re

from tests.imap.support import Server as IMAPServer
from tests.imap.support import now
from tests.smtp.support import SMTPTestCase
from tests.smtp.test_chunking import bdat
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import NO_FLAGS
from twisted_mailstack.storage.memory import MemoryContent, MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation

MESSAGE = (
    b"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nMessage-ID: <1@example.test>\r\n"
    b"From: alice@example.test\r\nTo: bob@example.test\r\nSubject: hi\r\n\r\nHello.\r\n"
)


class BURLTests(SMTPTestCase):
    """
    RFC 4468: alice has a message with UID 1 in Drafts; she submits to bob.
    """

    def setUp(self) -> None:
        """Whoever serves IMAP and submission has one store and one authority for URLs."""
        super().setUp()
        self.smtp = self.serve(submission=True, urls="mx.example.test")
        record = now(self.smtp.directory.findAccount(Address("alice", "example.test")))
        assert record is not None
        self.account = now(self.smtp.store.openAccount(record.accountId))
        self.append(MESSAGE)

    def append(self, data: bytes) -> None:
        """
        Put a message into alice's Drafts.
        """
        writer = self.account.newContent(len(data))
        writer.write(data)
        staged = now(writer.finish())
        now(now(self.account.openMailbox("Drafts")).append([(staged, NO_FLAGS, 0, 0)]))
        staged.discard()

    def url(self, rest: bytes = b"/;UID=1;URLAUTH=submit+alice%40example.test") -> bytes:
        """
        @return: alice's authorised URL.
        """
        rump = b"imap://alice%40example.test@mx.example.test/Drafts" + rest
        authority = self.smtp.urls
        assert authority is not None
        return now(authority.authorise(self.account, rump))

    def begin(self) -> Conversation:
        """
        @return: a transaction of alice's with bob as its recipient.
        """
        conversation = self.smtp.authenticated()
        conversation.send(b"EHLO client.test\r\n")
        conversation.check("""
            C: MAIL FROM:<alice@example.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
        """)
        return conversation

    def got(self) -> list[bytes]:
        """
        @return: what bob got, without the fields in front.
        """
        return [data[data.index(b"Date: Mon") :] for data in self.smtp.inbox("bob")]

    def test_ehlo(self) -> None:
        """§3: offered for submission; what kind of URLs there may be is told to who may use it."""
        conversation = self.smtp.greeted(secure=True)
        self.assertIn(b"250-BURL\r\n", conversation.send(b"EHLO client.test\r\n"))
        conversation = self.smtp.authenticated()
        self.assertIn(
            b"250-BURL imap imap://mx.example.test\r\n", conversation.send(b"EHLO client.test\r\n")
        )

    def test_notOffered(self) -> None:
        """Not to other servers, nor where no mailboxes are served."""
        for server in (self.serve(urls="mx.example.test"), self.serve(submission=True)):
            conversation = server.authenticated()
            self.assertNotIn(b"BURL", conversation.send(b"EHLO client.test\r\n"))
            self.assertRegex(conversation.send(b"BURL imap://x/ LAST\r\n"), b"^50[02] 5.5.[12] ")

    def test_simple(self) -> None:
        """§3.5's first example: the message as it is in the mailbox."""
        conversation = self.begin()
        answer = conversation.send(b"BURL " + self.url() + b" LAST\r\n")
        self.assertRegex(answer, b"^250 2.0.0 OK: ")
        self.assertEqual(self.got(), [MESSAGE])

    def test_withChunks(self) -> None:
        """§3.5's second: pieces by BDAT and pieces by BURL, in any case of letters, pipelined."""
        conversation = self.begin()
        header = self.url(b"/;UID=1/;SECTION=HEADER;URLAUTH=submit+alice%40example.test")
        partial = self.url(b"/;UID=1/;SECTION=TEXT/;PARTIAL=0.5;URLAUTH=authuser")
        answer = conversation.send(
            b"BURL " + header + b"\r\n" + bdat(b"First.\r\n")
            + b"burl " + partial + b"\r\n" + bdat(b"!\r\n", True)
        )  # fmt: skip
        size = len(MESSAGE) - len(b"Hello.\r\n")
        self.assertRegex(
            answer,
            rb"250 2\.0\.0 %d octets received\r\n250 2\.0\.0 8 octets received\r\n"
            rb"250 2\.0\.0 5 octets received\r\n250 2\.0\.0 OK: \S+\r\n\Z" % size,
        )
        self.assertEqual(self.got(), [MESSAGE[:size] + b"First.\r\nHello!\r\n"])

    def test_lastIsURL(self) -> None:
        """The message may end with either."""
        conversation = self.begin()
        text = self.url(b"/;UID=1/;SECTION=TEXT;URLAUTH=anonymous")
        answer = conversation.send(
            bdat(MESSAGE.partition(b"Hello")[0]) + b"BURL " + text + b" last\r\n"
        )
        self.assertRegex(answer, rb"\r\n250 2\.0\.0 OK: ")
        self.assertEqual(self.got(), [MESSAGE])

    def test_refused(self) -> None:
        """
        §3.3: what isn't authorised for who submits, or isn't there, or is elsewhere: 554 5.6.6.
        The transaction is over with LAST, and refused until then without.
        """
        good = self.url()
        for url in (
            good[:-1] + b"%c" % (ord("0") + (good[-1:] == b"0")),
            good.partition(b":internal")[0],
            self.url(b"/;UID=1;URLAUTH=submit+bob%40example.test"),
            self.url(b"/;UID=1;URLAUTH=user+bob%40example.test"),
            self.url(b"/;UID=9;URLAUTH=submit+alice%40example.test"),
            self.url(b"/;UID=1/;SECTION=3;URLAUTH=submit+alice%40example.test"),
            good.replace(b"mx.example.test", b"other.example"),
        ):
            conversation = self.begin()
            answer = conversation.send(b"BURL " + url + b" LAST\r\nNOOP\r\n")
            self.assertRegex(answer, rb"^554 5\.6\.6 [^\r]*\r\n250 2.0.0 OK\r\n\Z", url)
            conversation.check("C: MAIL FROM:<alice@example.test>\nS: 250 2.1.0 OK")
            conversation = self.begin()
            answer = conversation.send(b"BURL " + url + b"\r\n" + bdat(b"x", True))
            self.assertRegex(answer, rb"^(554 5\.6\.6 [^\r]*\r\n){2}\Z", url)
        self.assertEqual(self.got(), [])

    def test_expired(self) -> None:
        """A URL that held is void once its time has come."""
        url = self.url(b"/;UID=1;EXPIRE=1970-01-01T00:01:00Z;URLAUTH=submit+alice%40example.test")
        conversation = self.begin()
        self.smtp.clock.advance(60)
        self.assertRegex(conversation.send(b"BURL " + url + b" LAST\r\n"), rb"^554 5\.6\.6 ")

    def test_malformed(self) -> None:
        """501, and the transaction goes on where the command can't be understood."""
        conversation = self.begin()
        for argument in (b"", b" ", b" x LAST LAST", b" x y"):
            self.assertRegex(conversation.send(b"BURL" + argument + b"\r\n"), b"^501 ")
        answer = conversation.send(b"BURL http://example.com/ LAST\r\n")
        self.assertRegex(answer, b"^501 ")
        self.assertEqual(self.got(), [])

    def test_order(self) -> None:
        """Not before MAIL, nor before AUTH; without recipients there is nobody to send it to."""
        conversation = self.smtp.greeted(secure=True)
        self.assertRegex(conversation.send(b"BURL x LAST\r\n"), rb"^530 5\.7\.0 ")
        conversation = self.smtp.authenticated()
        conversation.send(b"EHLO client.test\r\n")
        self.assertRegex(conversation.send(b"BURL x LAST\r\n"), rb"^503 5\.5\.1 ")
        conversation.send(b"MAIL FROM:<alice@example.test>\r\n")
        answer = conversation.send(b"BURL " + self.url() + b" LAST\r\n")
        self.assertRegex(answer, rb"^554 5\.5\.1 ")

    def test_rules(self) -> None:
        """What is stored is held to the rules of what is sent: no NUL, no bare newlines."""
        for data, answer in (
            (b"a\0b", rb"^550 5\.6\.0 "),
            (b"a\nb", rb"^550 5\.6\.0 "),
            (b"x\r\n" * 40_000, rb"^552 5\.3\.4 "),
        ):
            self.smtp = self.serve(
                submission=True, urls="mx.example.test", maxMessageOctets=100_000
            )
            record = now(self.smtp.directory.findAccount(Address("alice", "example.test")))
            assert record is not None
            self.account = now(self.smtp.store.openAccount(record.accountId))
            self.append(data)
            conversation = self.begin()
            self.assertRegex(conversation.send(b"BURL " + self.url() + b" LAST\r\n"), answer)

    def test_storeFails(self) -> None:
        """A store that can't read it is a temporary failure, and the session goes on."""

        async def broken(*_: object) -> bytes:
            raise OSError("disk")

        conversation = self.begin()
        url = self.url()
        patch = self.patch(MemoryContent, "read", broken)
        answer = conversation.send(b"BURL " + url + b" LAST\r\nNOOP\r\n")
        patch.restore()
        self.assertRegex(answer, rb"^451 4\.3\.0 [^\r]*\r\n250 ")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_composeInIMAP(self) -> None:
        """
        RFC 4468 §4: composed in IMAP out of what is there (CATENATE), authorised by GENURLAUTH,
        submitted by BURL; bob has it, and alice downloaded nothing and sent little.
        """
        imap = IMAPServer(store=MemoryMailStore())
        imap.store, imap.portal = self.smtp.store, self.smtp.portal
        alice = imap.login()
        imap.sessions[-1].urls = self.smtp.urls
        answer = alice.send(
            b"a APPEND Drafts (\\Draft) CATENATE (URL /Drafts/;UID=1 TEXT {8+}\r\nP.S. x\r\n)\r\n"
        )
        match = re.match(rb"a OK \[APPENDUID (\d+) 2\] ", answer)
        assert match is not None, answer
        answer = alice.send(
            b'b GENURLAUTH "imap://alice%40example.test@mx.example.test/Drafts;UIDVALIDITY='
            + match[1]
            + b"/;UID=2"
            b';EXPIRE=2100-01-01T00:00:00Z;URLAUTH=submit+alice%40example.test" INTERNAL\r\n'
        )
        match = re.match(rb'\* GENURLAUTH "(\S+)"', answer)
        assert match is not None, answer
        # It is for submission, and for nothing else.
        self.assertIn(b" NIL\r\n", alice.send(b'c URLFETCH "' + match[1] + b'"\r\n'))
        conversation = self.begin()
        answer = conversation.send(b"BURL " + match[1] + b" LAST\r\n")
        self.assertRegex(answer, b"^250 2.0.0 OK: ")
        self.assertEqual(self.got(), [MESSAGE + b"P.S. x\r\n"])
