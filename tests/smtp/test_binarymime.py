"""
BINARYMIME (RFC 3030 §3).
"""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.support import SMTPTestCase, exchange
from tests.smtp.test_chunking import ChunkingTestCase, bdat
from tests.smtp.test_data import BARE
from twisted_mailstack.errors import MailError
from twisted_mailstack.smtp.clientsession import BytesContent, Readable
from twisted_mailstack.smtp.extensions import binarymime, chunking
from twisted_mailstack.smtp.registry import EXTENSIONS
from twisted_mailstack.wire.binary import (
    MAX_DEPTH,
    MAX_HEADER,
    MAX_PARTS,
    BinaryEncoder,
)

#: Octets of which nearly all look like the end of a part.
NASTY = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"-", b"--", b"--b", b"--b--", b"\0", b"\xff", b"a" * 57]
    ),
    max_size=12,
).map(b"".join)


def encode(text: bytes, *cuts: int) -> bytes:
    """
    @return: what becomes of a message that comes cut at these places.
    """
    encoder = BinaryEncoder()
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return b"".join(encoder.feed(text[a:b]) for a, b in pairwise(edges)) + encoder.finish()


def part(content: bytes, encoding: str = "binary", kind: str = "application/octet-stream") -> bytes:
    """
    @return: a part with its header.
    """
    head = f"Content-Type: {kind}\r\n"
    if encoding:
        head += f"Content-Transfer-Encoding: {encoding}\r\n"
    return head.encode() + b"\r\n" + content


def multipart(
    *parts: bytes, boundary: str = "b", encoding: str = "binary", kind: str = "mixed"
) -> bytes:
    """
    @return: a multipart with its header.
    """
    head = part(b"", encoding, f'multipart/{kind}; boundary="{boundary}"')
    lines = b"".join(b"--" + boundary.encode() + b"\r\n" + each + b"\r\n" for each in parts)
    return head + lines + b"--" + boundary.encode() + b"--\r\n"


class EncoderTests(SynchronousTestCase):
    """
    What becomes of a message.
    """

    def leaves(self, text: bytes) -> list[bytes]:
        """
        @return: the contents of a message's parts, by another reader of MIME.
        """
        message = message_from_bytes(text)
        found: list[Message] = [each for each in message.walk() if not each.is_multipart()]
        return [bytes(each.get_payload(decode=True)) for each in found]  # type: ignore[arg-type]

    def test_single(self) -> None:
        """A binary message becomes base64 in lines of 76 characters; its header stays."""
        content = bytes(range(256))
        text = encode(b"Subject: x\r\nMIME-Version: 1.0\r\n" + part(content))
        head, _, body = text.partition(b"\r\n\r\n")
        self.assertEqual(
            head,
            b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
            b"Content-Transfer-Encoding: base64",
        )
        lines = body.split(b"\r\n")
        self.assertEqual([len(line) for line in lines], [76, 76, 76, 76, 40, 0])
        self.assertEqual(self.leaves(text), [content])

    def test_parts(self) -> None:
        """Of several parts the binary ones are encoded, the others stay octet for octet."""
        text = multipart(
            part("text ä\r\n".encode(), "8bit", "text/plain; charset=utf-8"),
            part(b"\0\r\n\r"),
            part(b"QUJD\r\n", "base64"),
            part(b"plain\r\n", ""),
        )
        encoded = encode(text)
        self.assertEqual(
            encoded,
            multipart(
                part("text ä\r\n".encode(), "8bit", "text/plain; charset=utf-8"),
                part(b"AA0KDQ==", "base64"),
                part(b"QUJD\r\n", "base64"),
                part(b"plain\r\n", ""),
                encoding="8bit",
            ).replace(b"Content-Transfer-Encoding: binary", b"Content-Transfer-Encoding: 8bit"),
        )

    def test_nested(self) -> None:
        """
        Multiparts and messages in it are never encoded as a whole (RFC 3030 §3: "MUST NOT result in
        nested" encodings), but what is binary in them is.
        """
        inner = multipart(part(b"\0a\n"), part(b"b\r"), boundary="inner")
        message = part(b"Subject: inside\r\n" + inner, "binary", "message/rfc822")
        text = multipart(message, part(b"\0c"), boundary="outer")
        encoded = encode(text)
        self.assertEqual(self.leaves(encoded), [b"\0a\n", b"b\r", b"\0c"])
        self.assertEqual(encoded.count(b"Transfer-Encoding: 8bit"), 3)
        self.assertEqual(encoded.count(b"Transfer-Encoding: base64"), 3)
        self.assertNotIn(b"binary", encoded)

    def test_digest(self) -> None:
        """In a digest a part without a type is a message (RFC 2046 §5.1.5)."""
        text = multipart(b"\r\nSubject: x\r\n" + part(b"\0"), kind="digest", encoding="8bit")
        self.assertEqual(self.leaves(encode(text)), [b"\0"])

    def test_empty(self) -> None:
        """Binary parts of nothing, and parts that end before their header does."""
        for text, expected in (
            (part(b""), part(b"", "base64")),
            (multipart(part(b""), encoding=""), multipart(part(b"", "base64"), encoding="")),
            (b"", b""),
            (b"\r\n", b"\r\n"),
            (b"Subject: x\r\n", b"Subject: x\r\n"),
        ):
            self.assertEqual(encode(text), expected)
        # Its header has no blank line: the boundary ends it.
        text = (
            part(b"", "8bit", "multipart/mixed; boundary=b")
            + b"--b\r\nA: b\r\n--b\r\n\r\nc\r\n--b--\r\n"
        )
        self.assertEqual(encode(text), text)

    def test_withoutEnd(self) -> None:
        """A multipart that isn't closed, and text behind one that is."""
        text = multipart(part(b"\0"))
        for end in (b"", b"epilogue \0\r\n", b"--b\r\n" + part(b"\0")):
            encoded = encode(text + end)
            self.assertTrue(encoded.endswith(end), end)
        unclosed = text.removesuffix(b"\r\n--b--\r\n")
        self.assertTrue(encode(unclosed).endswith(b"\r\nAA==\r\n"))
        self.assertTrue(encode(unclosed + b"\r\n--b--").endswith(b"\r\nAA==\r\n--b--"))

    def test_outerBoundary(self) -> None:
        """A boundary further out ends what is inside."""
        inner = multipart(part(b"\0"), boundary="inner").removesuffix(b"--inner--\r\n")
        text = multipart(inner + b"--inner\r\n" + part(b"\1"), part(b"\2"), boundary="outer")
        self.assertEqual(self.leaves(encode(text)), [b"\0", b"\1", b"\2"])

    def test_noBoundary(self) -> None:
        """What only looks like a boundary is content: not at a line's start, longer, another."""
        for content in (
            b"x--b\r\n",
            b"\n--b\n\0",
            b"\r--b\r\n",
            b"\r\n--bb\r\n",
            b"\r\n--c\r\n",
            b"\r\n--",
        ):
            encoded = encode(multipart(part(content)))
            self.assertEqual(self.leaves(encoded), [content])

    def test_paddedBoundary(self) -> None:
        """White space behind a boundary belongs to it (RFC 2046 §5.1.1)."""
        text = part(b"", "8bit", "multipart/mixed; boundary=b") + b"--b \t\r\n" + part(b"\0")
        encoded = encode(text + b"\r\n--b-- \r\n")
        self.assertTrue(encoded.endswith(b"base64\r\n\r\nAA==\r\n--b-- \r\n"))

    @given(st.lists(NASTY, min_size=1, max_size=3), st.lists(st.integers(0, 600), max_size=8))
    @settings(max_examples=300, deadline=None)
    def test_anyContentAnyChunks(self, contents: list[bytes], cuts: list[int]) -> None:
        """However a message is cut, it becomes the same; and its parts decode to what they were."""
        text = multipart(*map(part, contents))
        whole = encode(text)
        self.assertEqual(encode(text, *cuts), whole)
        self.assertEqual(encode(text, *range(len(text))), whole)
        # No content has the boundary at the beginning of a line.
        if not any(b"\r\n--b" in b"\r\n" + content for content in contents):
            self.assertEqual(self.leaves(whole), contents)
            self.assertNotIn(b"\0", whole)
            self.assertEqual(whole.count(b"\n"), whole.count(b"\r\n"))

    def test_large(self) -> None:
        """Megabytes in many chunks, little of it held back."""
        content = Random(1).randbytes(2_000_000)
        encoder = BinaryEncoder()
        text = multipart(part(content))
        pieces = [encoder.feed(text[at : at + 65536]) for at in range(0, len(text), 65536)]
        self.assertTrue(all(len(piece) > 80_000 for piece in pieces[1:-1]))
        self.assertEqual(self.leaves(b"".join(pieces) + encoder.finish()), [content])

    def test_limits(self) -> None:
        """What can't be followed is refused: endless headers, nesting and parts."""
        many = part(b"", "8bit", "multipart/mixed; boundary=b") + b"--b\r\n" * (MAX_PARTS + 1)
        self.assertRaises(MailError, encode, many)
        self.assertRaises(MailError, encode, b"X: " + b"y" * MAX_HEADER + b"\r\n")
        text = b""
        for number in range(MAX_DEPTH + 1):
            text += (
                part(b"", "8bit", f"multipart/mixed; boundary=b{number}") + b"--b%d\r\n" % number
            )
        self.assertRaises(MailError, encode, text)

    def test_anything(self) -> None:
        """Damaged messages never raise anything else, and give the same however they are cut."""
        original = multipart(
            multipart(part(b"\0" * 100), part(b"x\r\n", "8bit"), boundary="i"),
            part(b"Subject: y\r\n" + part(b"\1"), "binary", "message/rfc822"),
        )
        for seed in range(300):
            random = Random(seed)
            text = bytearray(original)
            for _ in range(random.randint(1, 5)):
                at = random.randint(0, len(text))
                text[at : at + random.randint(0, 9)] = random.choice(
                    (
                        b"",
                        b"\r\n",
                        b"\r",
                        b"--",
                        b"--b",
                        b"--i--\r\n",
                        b"\r\n\r\n",
                        random.randbytes(4),
                    )
                )
            damaged = bytes(text)
            cuts = [random.randint(0, len(damaged)) for _ in range(9)]
            self.assertEqual(encode(damaged), encode(damaged, *cuts), damaged)


class ServerTests(ChunkingTestCase):
    """
    The server's side.
    """

    def begin(self, server: Any, *recipients: str) -> Any:
        """See L{ChunkingTestCase}."""
        conversation = server.greeted("EHLO ymir.claremont.edu")
        conversation.check("C: MAIL FROM:<ned@ymir.claremont.edu> BODY=BINARYMIME\nS: 250 2.1.0 OK")
        for recipient in recipients or ("alice@example.test",):
            conversation.check(f"C: RCPT TO:<{recipient}>\nS: 250 2.1.5 OK")
        return conversation

    def test_example(self) -> None:
        """RFC 3030 §4.2: a binary object to two recipients, pipelined."""
        server = self.serve()
        conversation = server.connect()
        conversation.wire.take()
        offered = conversation.send(b"EHLO ymir.claremont.edu\r\n")
        self.assertIn(b"\r\n250-BINARYMIME\r\n", offered)
        self.assertIn(b"\r\n250-CHUNKING\r\n", offered)
        content = Random(3030).randbytes(100_000)
        text = b"MIME-Version: 1.0\r\n" + part(content)
        answer = conversation.send(
            b"MAIL FROM:<ned@ymir.claremont.edu> BODY=BINARYMIME\r\n"
            b"RCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\n"
            + bdat(text[:100_000])
            + bdat(text[100_000:])
            + bdat(b"", True)
            + b"QUIT\r\n"
        )
        self.assertEqual(
            [line[:3] for line in answer.split(b"\r\n")],
            [b"250", b"250", b"250", b"250", b"250", b"250", b"221", b""],
        )
        for who in ("alice", "bob"):
            (stored,) = self.texts(server, who)
            self.assertEqual(message_from_bytes(stored).get_payload(decode=True), content)

    def test_DATA(self) -> None:
        """DATA is 503 (§3: MUST)."""
        conversation = self.begin(self.serve())
        conversation.check("C: DATA\nS: 503 5.5.1 BINARYMIME needs BDAT")
        self.assertTrue(conversation.send(bdat(b"\r\n", True)).startswith(b"250 "))

    def test_text(self) -> None:
        """What isn't declared as binary in the message is held to the rules of text."""
        for text in (b"\r\na\nb\r\n", part(b"\0", "8bit"), part(b"a\rb", "")):
            server = self.serve()
            self.assertEqual(self.begin(server).send(bdat(text, True)), BARE)
            self.assertEqual(server.inbox(), [])

    def test_refused(self) -> None:
        """A message that can't be followed is refused, and its octets are no commands."""
        conversation = self.begin(self.serve())
        answer = conversation.send(bdat(b"x" * (MAX_HEADER + 1)) + bdat(b"QUIT\r\n", True))
        self.assertEqual(answer, b"550 5.6.0 A header is too long\r\n" * 2)
        conversation.check("C: NOOP\nS: 250 2.0.0 OK")

    def test_size(self) -> None:
        """The limit is of what is sent (RFC 1870 §5), not of what becomes of it."""
        server = self.serve(maxMessageOctets=65536)
        head = part(b"")
        conversation = self.begin(server)
        answer = conversation.send(bdat(head + b"\0" * (65536 - len(head)), True))
        self.assertTrue(answer.startswith(b"250 "), answer)
        conversation = self.begin(server)
        answer = conversation.send(bdat(head + b"\0" * (65537 - len(head)), True))
        self.assertTrue(answer.startswith(b"552 5.3.4 "), answer)

    def test_spooled(self) -> None:
        """From here on it is a message of 8BITMIME or less, so that any server can get it."""
        server = self.serve(queue=True)
        conversation = server.authenticated()
        conversation.send(b"MAIL FROM:<a@far.test> BODY=binarymime\r\nRCPT TO:<b@far.test>\r\n")
        self.assertTrue(conversation.send(bdat(part(b"\0\xff"), True)).startswith(b"250 "))
        ((message, text),) = server.queued()
        self.assertEqual(message.parameters, {"BODY": "7BIT"})
        self.assertTrue(text.endswith(b"base64\r\n\r\nAP8=\r\n"))

    def test_withoutCHUNKING(self) -> None:
        """Where there is no BDAT it isn't offered (§3 3)), and BODY knows the other values only."""
        extensions = [each for each in EXTENSIONS if each is not chunking.EXTENSION]
        conversation = self.serve(extensions=extensions).connect()
        self.assertNotIn(b"BINARYMIME", conversation.send(b"EHLO client.test\r\n"))
        conversation.check("""
            C: MAIL FROM:<> BODY=BINARYMIME
            S: 501 5.5.4 BODY is 7BIT or 8BITMIME
            C: MAIL FROM:<> BODY=8BITMIME
            S: 250 2.1.0 OK
        """)


class ClientTests(SMTPTestCase):
    """
    The client's side.
    """

    BINARY = part(b"\0\n\xff")

    def setUp(self) -> None:
        """Encoding is somebody else's work: here it gives a fixed text."""
        super().setUp()

        self.utf8: list[bool] = []

        async def toSevenBit(content: Readable, utf8: bool) -> Readable:
            self.utf8.append(utf8)
            return BytesContent(b"encoded\r\n")

        self.patch(binarymime, "toSevenBit", toSevenBit)

    def test_offered(self) -> None:
        """Binary goes as it is to a server that has both extensions."""
        sent = exchange(
            "CHUNKING\nBINARYMIME\n8BITMIME",
            parameters={"BODY": "BINARYMIME"},
            text=self.BINARY,
        )
        self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test> BODY=BINARYMIME")
        self.assertEqual(sent.text, self.BINARY)

    def test_notOffered(self) -> None:
        """Else it is encoded (§3: MUST NOT, under any circumstances, send binary data)."""
        for offered in ("CHUNKING\n8BITMIME", "BINARYMIME\n8BITMIME", "8BITMIME", ""):
            sent = exchange(offered, parameters={"BODY": "BINARYMIME"}, text=self.BINARY)
            self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test>", offered)
            self.assertEqual(sent.text, b"encoded\r\n")
        self.assertNotIn(True, self.utf8)

    def test_UTF8(self) -> None:
        """
        A header in UTF-8 needs no encoding where SMTPUTF8 is offered; what else there is has one
        (RFC 6531 §3.6).
        """
        sent = exchange(
            "CHUNKING\n8BITMIME\nSMTPUTF8",
            parameters={"BODY": "BINARYMIME", "SMTPUTF8": None},
            text="Subject: \u00fc\r\n".encode() + self.BINARY,
        )
        self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test> SMTPUTF8 BODY=8BITMIME")
        self.assertEqual((sent.text, self.utf8), (b"encoded\r\n", [True]))
