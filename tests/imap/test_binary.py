"""
BINARY: C{twisted_mailstack.imap.extensions.binary}.
"""

from __future__ import annotations

from base64 import b64encode, encodebytes
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from twisted_mailstack.model.records import SMALL_MESSAGE
from twisted_mailstack.testing.conversation import Conversation

OCTETS = b"GIF89a\0\1\2" + bytes(range(256))


def message(*parts: tuple[bytes, bytes, bytes]) -> bytes:
    """
    @param parts: type, transfer encoding and encoded content of each.
    """
    lines = [b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n']
    for kind, encoding, content in parts:
        lines.append(
            b"--b\r\nContent-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n"
            % (kind, encoding, content)
        )
    return b"".join(lines) + b"--b--\r\n"


MIXED = message(
    (b"text/plain; charset=utf-8", b"quoted-printable", b"caf=C3=A9=\r\n!"),
    (b"image/gif", b"base64", b64encode(OCTETS)),
    (b"text/plain", b"7bit", b"as it is"),
    (b"application/x-foo", b"x-strange", b"###"),
    (b"message/rfc822", b"7bit", b"Subject: inner\r\n\r\nbody"),
)


class FetchTests(SynchronousTestCase):
    """
    RFC 3516 §4.2, §4.3.
    """

    def setUp(self) -> None:
        """One message in the selected mailbox."""
        self.server = Server()
        self.server.deliver(MIXED)
        self.client: Conversation = self.server.select()

    def fetch(self, items: bytes) -> bytes:
        """
        @return: what is told.
        """
        return self.client.send(b"a FETCH 1 " + items + b"\r\n")

    def test_capability(self) -> None:
        """It is told."""
        self.assertRegex(self.client.send(b"a CAPABILITY\r\n"), rb" BINARY[ \r]")

    def test_string(self) -> None:
        """ "If the domain of the decoded data is "8bit" [...] the server SHOULD return [...] a
        <string>"."""
        self.assertEqual(
            self.fetch(b"BINARY.PEEK[1]"),
            b"* 1 FETCH (BINARY[1] {6}\r\ncaf\xc3\xa9!)\r\na OK FETCH completed\r\n",
        )

    def test_literal8(self) -> None:
        """What has NULs is a literal8."""
        self.assertEqual(
            self.fetch(b"binary.peek[2]"),
            b"* 1 FETCH (BINARY[2] ~{%d}\r\n%b)\r\na OK FETCH completed\r\n"
            % (len(OCTETS), OCTETS),
        )

    def test_seen(self) -> None:
        """BINARY sets \\Seen, BINARY.PEEK and BINARY.SIZE don't."""
        self.assertNotIn(b"FLAGS", self.fetch(b"(BINARY.PEEK[3] BINARY.SIZE[3])"))
        self.assertEqual(
            self.fetch(b"BINARY[3]"),
            b"* 1 FETCH (FLAGS (\\Recent \\Seen) BINARY[3] {8}\r\nas it is)\r\n"
            b"a OK FETCH completed\r\n",
        )

    def test_size(self) -> None:
        """ "The value returned MUST match the size of" what BINARY gives."""
        self.assertEqual(
            self.fetch(b"(UID BINARY.SIZE[1] BINARY.SIZE[2] BINARY.SIZE[3] BINARY.SIZE[9])"),
            b"* 1 FETCH (UID 1 BINARY.SIZE[1] 6 BINARY.SIZE[2] %d BINARY.SIZE[3] 8"
            b" BINARY.SIZE[9] 0)\r\na OK FETCH completed\r\n" % len(OCTETS),
        )

    def test_partial(self) -> None:
        """ "the <partial> arguments refer to the DECODED section data"."""
        for partial, shown in (
            (b"<0.3>", b"<0> {3}\r\nGIF"),
            (b"<3.5>", b"<3> ~{5}\r\n89a\0\1"),
            (b"<265.9>", b"<265> {0}\r\n"),
            (b"<263.9>", b"<263> {2}\r\n\xfe\xff"),
            (b"<9999999999999.1>", b"<9999999999999> {0}\r\n"),
        ):
            self.assertEqual(
                self.fetch(b"BINARY.PEEK[2]" + partial),
                b"* 1 FETCH (BINARY[2]%b)\r\na OK FETCH completed\r\n" % shown,
            )

    def test_unknownEncoding(self) -> None:
        """ "it MUST fail the request and issue a "NO" response": other messages are shown."""
        self.server.deliver(MIXED.replace(b"x-strange", b"8bit"))
        self.client.send(b"n NOOP\r\n")
        for item in (b"BINARY.PEEK[4]", b"BINARY.SIZE[4]", b"(FLAGS BINARY.SIZE[1] BINARY[4])"):
            answer = self.client.send(b"a FETCH 1:2 " + item + b"\r\n")
            self.assertRegex(answer, rb"a NO \[UNKNOWN-CTE\] [^\r]*\r\n$", item)
            self.assertNotIn(b"* 1 FETCH (BINARY", answer)
        answer = self.client.send(b"a FETCH 1:2 BINARY.SIZE[4]\r\n")
        self.assertEqual(
            answer,
            b"* 2 FETCH (BINARY.SIZE[4] 3)\r\n"
            b"a NO [UNKNOWN-CTE] A part's transfer encoding is not known\r\n",
        )

    def test_notLeaves(self) -> None:
        """A whole message and what holds other parts stand as they are."""
        self.assertIn(b"BINARY[] {%d}\r\n%b)" % (len(MIXED), MIXED), self.fetch(b"BINARY.PEEK[]"))
        self.assertIn(
            b"BINARY[5] {22}\r\nSubject: inner\r\n\r\nbody)", self.fetch(b"BINARY.PEEK[5]")
        )
        self.assertIn(b"BINARY[5.1] {4}\r\nbody)", self.fetch(b"BINARY.PEEK[5.1]"))

    def test_missing(self) -> None:
        """No such part: NIL, as for BODY."""
        self.assertIn(b"(BINARY[9] NIL BODY[9] NIL)", self.fetch(b"(BINARY.PEEK[9] BODY.PEEK[9])"))

    def test_malformed(self) -> None:
        """Only part numbers are in a section-binary; BINARY.SIZE has no partial."""
        for item in (
            b"BINARY", b"BINARY.PEEK", b"BINARY.SIZE", b"BINARY[HEADER]", b"BINARY[1.MIME]",
            b"BINARY[1", b"BINARY[0]", b"BINARY[1.]", b"BINARY.SIZE[1]<0.1>", b"BINARY[1]<0>",
            b"BINARY[1]<0.0>", b"BINARYX[1]", b"BINARY [1]", b"BINARY[" + b"1." * 300 + b"1]",
        ):  # fmt: skip
            self.assertRegex(self.fetch(item), b"^a BAD ", item)

    def test_repeated(self) -> None:
        """The same section twice is told once; BINARY and BODY are two."""
        answer = self.fetch(b"(BINARY.PEEK[3] BINARY.PEEK[3] BODY.PEEK[3])")
        self.assertIn(b"(BINARY[3] {8}\r\nas it is BODY[3] {8}\r\nas it is)", answer)

    def test_NULs(self) -> None:
        """
        A stored NUL is shown by BINARY as it is; in BODY[], where none may be (RFC 9051 §4.3.1),
        another octet stands for it, so that sizes agree.
        """
        self.server.deliver(message((b"application/x", b"binary", b"a\0b")))
        self.client.send(b"n NOOP\r\n")
        answer = self.client.send(b"a FETCH 2 (BODY.PEEK[1] BINARY.PEEK[1])\r\n")
        self.assertIn(b"(BODY[1] {3}\r\na\x80b BINARY[1] ~{3}\r\na\0b)", answer)


class LargeTests(SynchronousTestCase):
    """
    Parts of messages that aren't held in memory.
    """

    def test_large(self) -> None:
        """Decoded as it is sent; sizes, partials and NULs as ever."""
        data = Random(1).randbytes(2 * SMALL_MESSAGE)
        text = Random(2).randbytes(SMALL_MESSAGE).replace(b"\0", b"")
        escaped = b"".join(b"=%02X" % octet for octet in text)
        lines = b"=\r\n".join(escaped[at : at + 75] for at in range(0, len(escaped), 75))
        server = Server()
        server.deliver(
            message(
                (b"application/octet-stream", b"base64", encodebytes(data).replace(b"\n", b"\r\n")),
                (b"text/plain", b"quoted-printable", lines),
                (b"text/plain", b"x-strange", b"x"),
                (b"text/plain", b"binary", b"a\0b"),
            )
        )
        client = server.select()
        client.clock.advance(0)

        def fetch(items: bytes) -> bytes:
            answer = client.send(b"a FETCH 1 " + items + b"\r\n")
            while b"\r\na " not in answer and not answer.startswith(b"a "):
                client.settle()
                more = client.wire.take()
                answer += more
            return answer

        done = b"a OK FETCH completed\r\n"
        self.assertEqual(
            fetch(b"BINARY.PEEK[1]"),
            b"* 1 FETCH (BINARY[1] ~{%d}\r\n%b)\r\n" % (len(data), data) + done,
        )
        self.assertEqual(
            fetch(b"(BINARY.SIZE[1] BINARY.SIZE[2] BINARY.SIZE[] BINARY.SIZE[7])"),
            b"* 1 FETCH (BINARY.SIZE[1] %d BINARY.SIZE[2] %d BINARY.SIZE[] %d BINARY.SIZE[7] 0)\r\n"
            % (len(data), len(text), now(self.size(server)))
            + done,
        )
        self.assertEqual(
            fetch(b"BINARY.PEEK[2]"),
            b"* 1 FETCH (BINARY[2] {%d}\r\n%b)\r\n" % (len(text), text) + done,
        )
        for first, count in ((0, 10), (200_000, 100_000), (len(text) - 5, 10), (len(text), 1)):
            cut = text[first : first + count]
            self.assertEqual(
                fetch(b"BINARY.PEEK[2]<%d.%d>" % (first, count)),
                b"* 1 FETCH (BINARY[2]<%d> {%d}\r\n%b)\r\n" % (first, len(cut), cut) + done,
            )
        self.assertEqual(
            fetch(b"(BINARY.PEEK[7] BODY.PEEK[4] BINARY.PEEK[4])"),
            b"* 1 FETCH (BINARY[7] NIL BODY[4] {3}\r\na\x80b BINARY[4] ~{3}\r\na\0b)\r\n" + done,
        )
        self.assertRegex(fetch(b"BINARY[3]"), rb"a NO \[UNKNOWN-CTE\] [^\r]*\r\n$")

    async def size(self, server: Server) -> int:
        """
        @return: octets of the only message.
        """
        mailbox = await server.account.openMailbox("INBOX")
        return (await mailbox.openMessage(1)).size


class AppendTests(SynchronousTestCase):
    """
    RFC 3516 §4.4.
    """

    def setUp(self) -> None:
        """Nothing is there."""
        self.server = Server(maxMessageOctets=10_000)
        self.client = self.server.select()

    def append(self, data: bytes) -> bytes:
        """
        @return: the answer to a message in a literal8.
        """
        self.assertEqual(self.client.send(b"a APPEND INBOX ~{%d}\r\n" % len(data)), b"+ Ready\r\n")
        return self.client.send(data + b"\r\n")

    def test_binaryPart(self) -> None:
        """
        "The server MAY modify the CTE": a binary part with NULs becomes base64, and what BODY
        gives is as BODYSTRUCTURE says (§6); BINARY gives what was sent.
        """
        data = message((b"image/gif", b"binary", OCTETS), (b"text/plain", b"8bit", b"\xe9"))
        self.assertRegex(self.append(data), rb"a OK \[APPENDUID 1 1\] ")
        answer = self.client.send(
            b"f FETCH 1 (BODY BINARY.PEEK[1] BINARY.SIZE[1] BODY.PEEK[2])\r\n"
        )
        self.assertIn(b'"IMAGE" "GIF"', answer.upper())
        self.assertIn(b'"BASE64"', answer.upper())
        self.assertIn(b"BINARY[1] ~{%d}\r\n%b " % (len(OCTETS), OCTETS), answer)
        self.assertIn(b"BINARY.SIZE[1] %d " % len(OCTETS), answer)
        self.assertIn(b"BODY[2] {1}\r\n\xe9", answer)

    def test_withoutNUL(self) -> None:
        """ "this should only be done when it is absolutely necessary"."""
        data = message((b"text/plain", b"binary", b"a\nb\r"))
        self.assertRegex(self.append(data), rb"a OK ")
        self.assertIn(
            b"BODY[] {%d}\r\n%b)" % (len(data), data), self.client.send(b"f FETCH 1 BODY[]\r\n")
        )

    def test_NULElsewhere(self) -> None:
        """Where no part is binary there is nothing that could be encoded: UNKNOWN-CTE."""
        for data in (
            b"a\0b", b"Subject: \0\r\n\r\n", message((b"text/plain", b"8bit", b"\0")),
            message((b"text/plain", b"base64", b"\0")),
        ):  # fmt: skip
            self.assertRegex(self.append(data), rb"^a NO \[UNKNOWN-CTE\] ")
        self.assertNotIn(b"* 1 EXISTS", self.client.send(b"n NOOP\r\n"))

    def test_nonSynchronising(self) -> None:
        """RFC 7888 §6: literal8 with a plus; and with MULTIAPPEND."""
        self.assertRegex(
            self.client.send(
                b"a APPEND INBOX ~{1+}\r\nx (\\Seen) ~{1+}\r\ny {1+}\r\nz\r\nb NOOP\r\n"
            ),
            rb"a OK \[APPENDUID 1 1:3\] [^\r]*\r\nb OK",
        )

    def test_grown(self) -> None:
        """What is too large once it is encoded is TOOBIG; nothing is kept of it."""
        data = message((b"image/gif", b"binary", b"\0" * 9000))
        self.assertRegex(self.append(data), rb"^a NO \[TOOBIG\] ")

    def test_empty(self) -> None:
        """As of any literal."""
        self.assertRegex(self.client.send(b"a APPEND INBOX ~{0}\r\n"), b"^a NO An empty")

    def test_elsewhere(self) -> None:
        """No other argument may be a literal8."""
        for command in (
            b"APPEND ~{5+}\r\nINBOX {1+}\r\nx", b"APPEND INBOX CATENATE (TEXT ~{1+}\r\nx)",
            b"STATUS ~{5+}\r\nINBOX (MESSAGES)", b"APPEND INBOX ~ {1+}\r\nx",
            b"APPEND INBOX ~~{1+}\r\nx",
        ):  # fmt: skip
            answer = self.client.send(b"a " + command + b"\r\nb NOOP\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r]*\r\nb OK ", command)
