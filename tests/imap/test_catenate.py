"""
CATENATE: C{twisted_mailstack.imap.extensions.catenate}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.stepped import SteppedServer
from tests.imap.support import now
from tests.imap.test_append import DATE, AppendTestCase
from twisted_mailstack.errors import MessageExpunged, StoreDamaged
from twisted_mailstack.imap.extensions import catenate
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import SMALL_MESSAGE
from twisted_mailstack.storage.memory import MemoryContent

#: A message that no store holds in memory.
LARGE = b"Subject: large\r\n\r\n" + b"".join(b"%08d\r\n" % n for n in range(SMALL_MESSAGE // 8))

HEADER = (
    b"Subject: holiday\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="--030308"\r\n\r\n'
)
TEXT = b"Content-Type: text/plain\r\n\r\nOur travel agent\r\n"
ZIP = b"Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n"
DRAFT = HEADER + b"----030308\r\n" + TEXT + b"\r\n----030308\r\n" + ZIP + b"\r\n----030308--\r\n"


def literal(data: bytes) -> bytes:
    """
    @return: a literal that is sent without being asked for.
    """
    return b"{%d+}\r\n%b" % (len(data), data)


class CatenateTestCase(AppendTestCase):
    """
    A draft with UID 1, in Drafts, whose UIDVALIDITY is 2.
    """

    def setUp(self) -> None:
        """Nothing is selected."""
        super().setUp()
        self.server.deliver(DRAFT, "Drafts")

    def compose(self, *parts: bytes, mailbox: bytes = b"INBOX") -> bytes:
        """
        @return: the answer to APPEND of what is made of these parts.
        """
        return self.client.send(
            b"A003 APPEND " + mailbox + b" CATENATE (" + b" ".join(parts) + b")\r\n"
        )

    def only(self) -> bytes:
        """
        @return: the octets of the only message in INBOX.
        """
        [(data, *_)] = self.stored()
        return data


class CatenateTests(CatenateTestCase):
    """
    RFC 4469.
    """

    def test_capability(self) -> None:
        """It is told."""
        self.assertRegex(self.client.send(b"a CAPABILITY\r\n"), rb" CATENATE[ \r]")

    def test_example1(self) -> None:
        """Appendix A: an attachment is replaced without being downloaded."""
        answer = self.client.send(
            b"A003 APPEND INBOX (\\Seen \\Draft $MDNSent) CATENATE"
            b' (URL "/Drafts;UIDVALIDITY=2/;UID=1/;section=HEADER" TEXT {12}\r\n'
        )
        self.assertEqual(answer, b"+ Ready\r\n")
        answer = self.client.send(
            b'----030308\r\n URL "/Drafts;UIDVALIDITY=2/;UID=1/;section=1.MIME"'
            b' URL "/Drafts;UIDVALIDITY=2/;UID=1/;section=1" TEXT {18}\r\n'
        )
        self.assertEqual(answer, b"+ Ready\r\n")
        answer = self.client.send(b"\r\n----030308--\r\n\r\n)\r\n")
        self.assertEqual(answer, b"A003 OK [APPENDUID 1 1] APPEND completed\r\n")
        seen = frozenset({"\\Seen", "\\Draft", "$MDNSent"})
        data = HEADER + b"----030308\r\n" + TEXT + b"\r\n----030308--\r\n\r\n"
        self.assertEqual(self.stored(), [(data, seen, DATE, 0)])

    def test_wholeMessages(self) -> None:
        """A URL without a section is the message; CATENATE sets no \\Seen in what it reads."""
        answer = self.compose(
            b"URL /Drafts/;UID=1", b"text " + literal(b"more"), b"URL Drafts/;UID=1"
        )
        self.assertIn(b" OK ", answer)
        self.assertEqual(self.only(), DRAFT + b"more" + DRAFT)
        self.assertEqual(self.stored("Drafts")[0][1], frozenset())

    def test_onlyURLs(self) -> None:
        """Without a literal at all; also as a quoted string, or a literal."""
        for url in (b"/Drafts/;UID=1", b'"/Drafts/;UID=1"', literal(b"/Drafts/;UID=1")):
            self.setUp()
            self.assertIn(b" OK ", self.compose(b"URL " + url))
            self.assertEqual(self.only(), DRAFT)

    def test_partial(self) -> None:
        """A part of a part (RFC 5092 §6.1, RFC 5550 §2.7.1), and fields of a header."""
        for url, expected in (
            (b"/Drafts/;UID=1/;SECTION=1/;PARTIAL=4.6", b"travel"),
            (b"/Drafts/;UID=1/;SECTION=1/;PARTIAL=11", b"agent\r\n"),
            (b"/Drafts/;UID=1/;SECTION=HEADER.FIELDS%20(SUBJECT)", b"Subject: holiday\r\n\r\n"),
            (
                b"/Drafts/;UID=1/;SECTION=HEADER.FIELDS%20(SUBJECT)/;PARTIAL=9.7",
                b"holiday",
            ),
        ):
            self.setUp()
            self.assertIn(b" OK ", self.compose(b'URL "' + url + b'"'), url)
            self.assertEqual(self.only(), expected)

    def test_relativeToSelected(self) -> None:
        """In the selected state the base is that mailbox; which doesn't change."""
        self.client.send(b"s SELECT Drafts\r\n")
        self.assertIn(b"A003 OK ", self.compose(b"URL ;UID=1/;SECTION=1"))
        self.assertEqual(self.only(), b"Our travel agent\r\n")
        self.assertIn(b"* 1 FETCH (UID 1)", self.client.send(b"f FETCH 1 UID\r\n"))

    def test_badURLs(self) -> None:
        """
        BADURL with the first URL that fails: syntax, scheme, mailbox, UIDVALIDITY, UID, section;
        absolute ones too. Nothing is stored, and the session goes on in step.
        """
        for url in (
            b"/Drafts;UIDVALIDITY=3/;UID=1", b"/Drafts/;UID=2", b"/missing/;UID=1",
            b"/Drafts/;UID=1/;SECTION=3", b"/Drafts/;UID=1/;SECTION=1.HEADER", b";UID=1",
            b"/Drafts", b"http://example.com/", b"imap://imap.example.test/Drafts/;UID=1",
            b"imap://alice%40example.test@imap.example.test/Drafts/;UID=1",
            b"/Drafts/;UID=1;URLAUTH=anonymous", b"nonsense",
        ):  # fmt: skip
            given = b'URL "' + url + b'"'
            for parts in (
                (given,),
                (b"TEXT " + literal(b"a"), given, b"TEXT " + literal(b"b")),
                (b"URL /Drafts/;UID=1", given, b"URL /missing/;UID=1"),
            ):
                answer = self.compose(*parts)
                self.assertTrue(answer.startswith(b"A003 NO [BADURL " + url + b"] "), answer)
                self.assertEqual(answer.count(b"\r\n"), 1)
        self.assertEqual(self.stored(), [])

    def test_badURLBeforeLiteral(self) -> None:
        """A bad URL is told in place of a request for the literal behind it."""
        answer = self.client.send(b"a APPEND INBOX CATENATE (URL /Drafts/;UID=2 TEXT {5}\r\n")
        self.assertEqual(
            answer, b"a NO [BADURL /Drafts/;UID=2] Some of the messages were expunged\r\n"
        )

    def test_strangeURL(self) -> None:
        """What can't stand in a response code is escaped."""
        answer = self.compose(b"URL " + literal(b"a]\r\nb \xff"))
        self.assertEqual(answer, b"A003 NO [BADURL a%5D??b ?] Not a URL\r\n")

    def test_tooBig(self) -> None:
        """TOOBIG (§4.2): however the octets come together; before they are sent, where it can."""
        self.server.deliver(b"x" * 60_000, "Drafts")
        big = b"URL /Drafts/;UID=2"
        self.assertRegex(self.compose(big, big), rb"^A003 NO \[TOOBIG\] ")
        self.assertRegex(
            self.client.send(b"a APPEND INBOX CATENATE (" + big + b" TEXT {40001}\r\n"),
            rb"^a NO \[TOOBIG\] ",
        )
        many = [big, *([b"TEXT " + literal(b"y" * 20_000)] * 3)]
        self.assertRegex(self.compose(*many), rb"^A003 NO \[TOOBIG\] ")
        self.assertRegex(self.compose(big, b"TEXT " + literal(b"y" * 40_000)), b"^A003 OK ")

    def test_missing(self) -> None:
        """TRYCREATE as ever."""
        self.assertRegex(
            self.compose(b"URL /Drafts/;UID=1", mailbox=b"missing"), rb"^A003 NO \[TRYCREATE\] "
        )
        self.assertRegex(
            self.compose(b"TEXT " + literal(b"a"), mailbox=b"missing"), rb"^A003 NO \[TRYCREATE\] "
        )

    def test_overQuota(self) -> None:
        """The sum of what is put together counts."""
        alice = Address("alice", "example.test")
        now(self.server.store.directory.setQuota(alice, 2 * len(DRAFT) - 1, None))
        self.assertRegex(self.compose(b"URL /Drafts/;UID=1"), rb"^A003 NO \[OVERQUOTA\] ")
        self.assertRegex(
            self.compose(b"URL /Drafts/;UID=1", b"TEXT " + literal(b"")),
            rb"^A003 NO \[OVERQUOTA\] ",
        )

    def test_empty(self) -> None:
        """Nothing and nothing is nothing; an empty part beside others is fine."""
        self.assertRegex(self.compose(b"TEXT " + literal(b"")), b"^A003 NO An empty message")
        self.assertRegex(
            self.compose(b"TEXT " + literal(b""), b"TEXT " + literal(b"x")), b"^A003 OK "
        )
        self.assertEqual(self.only(), b"x")

    def test_several(self) -> None:
        """With MULTIAPPEND, of either form (RFC 4466 §6)."""
        answer = self.client.send(
            b"a APPEND INBOX {1+}\r\nx (\\Seen) CATENATE (URL /Drafts/;UID=1/;SECTION=1) "
            b"CATENATE (TEXT {1+}\r\ny URL /Drafts/;UID=1/;SECTION=2 TEXT {1+}\r\nz) {1+}\r\nw\r\n"
        )
        self.assertEqual(answer, b"a OK [APPENDUID 1 1:4] APPEND completed\r\n")
        self.assertEqual(
            [each[0] for each in self.stored()],
            [b"x", b"Our travel agent\r\n", b"yAAAA\r\nz", b"w"],
        )

    def test_malformed(self) -> None:
        """BAD, whatever is wrong, and nothing is stored."""
        for parts in (
            b"CATENATE", b"CATENATE ", b"CATENATE ()", b"CATENATE (",
            b"CATENATE URL /Drafts/;UID=1",
            b"CATENATE (URL)", b"CATENATE (URL /Drafts/;UID=1", b"CATENATE (URL /Drafts/;UID=1))",
            b"CATENATE (URL /Drafts/;UID=1 )", b"CATENATE ( URL /Drafts/;UID=1)",
            b'CATENATE (TEXT "x")', b"CATENATE (TEXT ~{1+}\r\nx)", b"CATENATE (FOO {1+}\r\nx)",
            b"CATENATE (TEXT {1+}\r\nxTEXT {1+}\r\ny)", b"CATENATE (TEXT {1+}\r\nx URL)",
            b"CATENATE {1+}\r\nx", b"CATENATEX (URL /Drafts/;UID=1)", b"FOO (TEXT {1+}\r\nx)",
        ):  # fmt: skip
            answer = self.client.send(b"a APPEND INBOX " + parts + b"\r\nb NOOP\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r]*\r\nb OK NOOP completed\r\n$", parts)
        self.assertEqual(self.stored(), [])

    def test_tooManyParts(self) -> None:
        """LIMIT."""
        self.patch(catenate, "MAX_PARTS", 2)
        self.assertRegex(self.compose(*[b"URL /Drafts/;UID=1"] * 3), rb"^A003 NO \[LIMIT\] ")

    def test_chunks(self) -> None:
        """However it comes."""
        command = (
            b"a APPEND INBOX CATENATE (TEXT {2+}\r\n12 URL {14+}\r\n/Drafts/;UID=1"
            b" TEXT {3}\r\n)\r\n)\r\nb NOOP\r\n"
        )
        for size in (1, 3, len(command)):
            self.setUp()
            said = b""
            for at in range(0, len(command), size):
                said += self.client.send(command[at : at + size])
            self.assertEqual(
                said, b"+ Ready\r\na OK [APPENDUID 1 1] APPEND completed\r\nb OK NOOP completed\r\n"
            )
            self.assertEqual(self.only(), b"12" + DRAFT + b")\r\n")

    def test_expungedMeanwhile(self) -> None:
        """A message that goes while it is read makes the URL bad; nothing is stored."""

        async def gone(*_: object) -> bytes:
            raise MessageExpunged()

        patch = self.patch(MemoryContent, "read", gone)
        answer = self.compose(b"TEXT " + literal(b"a"), b"URL /Drafts/;UID=1")
        patch.restore()
        self.assertRegex(answer, rb"^A003 NO \[BADURL /Drafts/;UID=1\] ")
        self.assertEqual(self.stored(), [])

    def test_damagedSource(self) -> None:
        """A message that can't be read is no fault of the URL's."""

        async def damaged(*_: object) -> bytes:
            raise StoreDamaged()

        patch = self.patch(MemoryContent, "read", damaged)
        answer = self.compose(b"URL /Drafts/;UID=1")
        patch.restore()
        self.assertRegex(answer, rb"^A003 NO \[CORRUPTION\] ")
        self.assertEqual(self.stored(), [])

    def test_othersMailbox(self) -> None:
        """URLs name the mailboxes of who is logged in, of nobody else."""
        bob = self.server.addAccount("bob")
        now(bob.createMailbox("secrets"))
        self.server.deliver(b"secret", "secrets", account=bob)
        for url in (
            b"/secrets/;UID=1",
            b"imap://bob%40example.test@imap.example.test/secrets/;UID=1",
        ):
            self.assertRegex(self.compose(b'URL "' + url + b'"'), rb"^A003 NO \[BADURL ")


class SQLTests(SynchronousTestCase):
    """
    The same on disk, with messages that are too large for memory.
    """

    def test_large(self) -> None:
        """Put together of large messages and literals, several at once, and in place of another."""
        server = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(server.store.stop()))
        server.deliver(LARGE, "Drafts")
        client = server.select("Drafts")
        url = b"URL /Drafts/;UID=1"
        big = literal(LARGE)
        answer = client.send(
            b"a APPEND INBOX (\\Seen) CATENATE (%b TEXT %b %b) %b"
            b" CATENATE (%b/;PARTIAL=5.300000)\r\n" % (url, big, url, big, url)
        )
        self.assertRegex(answer, rb"a OK \[APPENDUID \d+ 1:3\] ")
        answer = client.send(b"b UID REPLACE 1 INBOX CATENATE (TEXT {1+}\r\nx %b)\r\n" % url)
        self.assertRegex(answer, rb"\* OK \[APPENDUID \d+ 4\] .*\r\n\* 1 EXPUNGE\r\nb OK ")
        inbox = now(server.account.openMailbox("INBOX"))
        found = []
        for uid in (1, 2, 3, 4):
            content = now(inbox.openMessage(uid))
            found.append(now(content.read(0, content.size)))
        self.assertEqual(found[0], LARGE * 3)
        self.assertEqual(found[1:], [LARGE, LARGE[5:300_005], b"x" + LARGE])
        self.assertEqual(now(now(server.account.openMailbox("Drafts")).status()).messages, 0)
        self.assertEqual(now(server.store.check()), [])
