"""
Parts in 7-bit transfer encodings (RFC 6152 §3), read by the standard library's decoders.
"""

from __future__ import annotations

import email
import gc
import re
from base64 import b64encode
from email.message import Message
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import MailError, StoreDamaged
from twisted_mailstack.smtp.clientsession import BytesContent, Readable
from twisted_mailstack.smtp.downgrade import toSevenBit


class _Short(BytesContent):
    """Gives fewer octets at once than it is asked for."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self._step = step

    async def read(self, offset: int, length: int) -> bytes:
        return await super().read(offset, min(length, self._step))


def _leaves(data: bytes) -> list[Any]:
    message: Message = email.message_from_bytes(data)
    return [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]


class DowngradeTestCase(SynchronousTestCase):
    """
    Conversions.
    """

    def content(self, content: Readable) -> Readable:
        """What it becomes."""
        return self.successResultOf(Deferred.fromCoroutine(toSevenBit(content)))

    def read(self, content: Readable, offset: int, length: int) -> bytes:
        """Octets of it."""

        async def read() -> bytes:
            return await content.read(offset, length)

        return self.successResultOf(Deferred.fromCoroutine(read()))

    def convert(self, data: bytes, step: int = 1 << 20) -> bytes:
        """What these octets become, read in chunks; it is ASCII and has its size."""
        content = self.content(_Short(data, step))
        text = b""
        while octets := self.read(content, len(text), content.size + 1):
            text += octets
        self.assertEqual(len(text), content.size)
        self.assertTrue(text.isascii())
        return text

    def refuse(self, data: bytes, status: str) -> None:
        """It can't be converted."""
        failure = self.failureResultOf(
            Deferred.fromCoroutine(toSevenBit(BytesContent(data))), MailError
        )
        self.assertEqual((failure.value.smtpCode, failure.value.enhancedStatus), (554, status))


class LeafTests(DowngradeTestCase):
    """
    Messages of one part.
    """

    def test_text(self) -> None:
        """Text becomes quoted-printable; all other fields stay (RFC 2045 §6.7)."""
        self.assertEqual(
            self.convert(
                b"Subject: x\r\nMIME-Version: 1.0\r\ncontent-transfer-encoding:\r\n 8bit\r\n"
                b"Content-Type: text/plain;\r\n charset=utf-8\r\nX-Last:  1\r\n\r\n"
                b"caf\xc3\xa9 = \r\n\r\n.\r\n"
            ),
            b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n"
            b"Content-Type: text/plain;\r\n charset=utf-8\r\nX-Last:  1\r\n\r\n"
            b"caf=C3=A9 =3D=20\r\n\r\n=2E\r\n",
        )

    def test_withoutMIME(self) -> None:
        """What says nothing of itself is text in an unknown charset (RFC 1428 §3)."""
        fields = (
            b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        )
        self.assertEqual(
            self.convert(b"Subject: x\r\n\r\n\xe9\r\n"), b"Subject: x\r\n" + fields + b"=E9\r\n"
        )
        self.assertEqual(self.convert(b"\r\n\xe9"), fields + b"=E9")

    def test_other(self) -> None:
        """What isn't text becomes base64 (RFC 2045 §6.8); several encodings become the one."""
        head = b"MIME-Version: 1.0\r\nContent-Type: image/png\r\n"
        self.assertEqual(
            self.convert(
                head + b"Content-Transfer-Encoding: binary\r\n"
                b"Content-Transfer-Encoding: 8bit\r\n\r\n\x89\r\n"
            ),
            head + b"Content-Transfer-Encoding: base64\r\n\r\niQ0K\r\n",
        )

    def test_long(self) -> None:
        """
        Lines of more than 998 octets are no 7-bit data (RFC 2045 §2.7); that their characters are
        ASCII needs no saying.
        """
        same = BytesContent(b"\r\n" + b"x" * 998 + b"\r\n" + b"y" * 998)
        self.assertIs(self.content(same), same)
        for end in (b"", b"\r\n"):
            for step in (1, 7, 1000):
                text = self.convert(b"\r\n" + b"x" * 999 + end, step)
                self.assertNotIn(b"Content-Type", text)
                self.assertEqual(_leaves(text), [b"x" * 999 + end])

    def test_same(self) -> None:
        """What is 7-bit stays, whatever it says of itself."""
        for data in (b"", b"\r\n", b"A: b", b"Content-Transfer-Encoding: 8bit\r\n\r\nx\r\n"):
            content = BytesContent(data)
            self.assertIs(self.content(content), content)

    def test_header(self) -> None:
        """Header fields can't be encoded, wherever they are (RFC 6531 §3.1)."""
        for data in (
            b"Subject: \xc3\xa9\r\n\r\nx\r\n",
            b"\xc3\xa9",
            b"Content-Type: message/rfc822\r\n\r\nSubject: \xff\r\n\r\n",
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: \xff\r\n\r\n--b--",
        ):
            self.refuse(data, "5.6.7")

    def test_encodedAlready(self) -> None:
        """
        In encoded parts wrong octets are encoded, or left out where decoders pass over them
        (RFC 2045 §6.7, §6.8). Other encodings are unknown: refused.
        """
        head = b"Content-Transfer-Encoding: %s\r\n\r\n"
        for encoding, body, result in (
            (b"quoted-printable", b"a\xff=\r\n=3D", b"a=FF=\r\n=3D"),
            (b"base64", b"aG\xffk=\r\n", b"aGk=\r\n"),
        ):
            self.assertEqual(self.convert(head % encoding + body), head % encoding + result)
        self.refuse(head % b"x-uuencode" + b"\xff", "5.6.3")

    def test_bareLineEnds(self) -> None:
        """CR and LF occur in 7-bit data as CRLF only (RFC 2045 §2.7), else they are encoded."""
        for body, encoded in (
            (b"a\nb", b"a=0Ab"),
            (b"a\rb\r\n", b"a=0Db\r\n"),
            (b"a\r", b"a=0D"),
            (b"a\0", b"a=00"),
        ):
            for step in (1, 100):
                text = self.convert(b"Content-Type: text/plain\r\n\r\n" + body, step)
                self.assertTrue(text.endswith(b"\r\n\r\n" + encoded), text)
        content = _Short(b"A: b\r\n\r\nc\r\n", 1)
        self.assertIs(self.content(content), content)

    def test_cut(self) -> None:
        """A message of which octets are missing is not sent as if it were whole."""
        for data in (b"A: b\r\n\r\nc", b"A: b\r\n\r\n\xff"):
            content = BytesContent(data)
            content.size += 1
            self.failureResultOf(Deferred.fromCoroutine(toSevenBit(content)), StoreDamaged)

    def test_partial(self) -> None:
        """Pieces of messages are always 7bit (RFC 2046 §5.2.2.1)."""
        self.refuse(b"Content-Type: message/partial\r\n\r\n\xff", "5.6.3")


class CompositeTests(DowngradeTestCase):
    """
    Messages of several parts.
    """

    def test_multipart(self) -> None:
        """Only the parts in question change, and what says 8bit of what is 7bit now."""
        before = b"""MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b
Content-Transfer-Encoding: 8bit

preamble\x20
--b

ascii\x20
--b\x20
Content-Type: application/x

\xff
--b
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Subject: in

\xe9
--b--
epilogue"""
        after = b"""MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b
Content-Transfer-Encoding: 7bit

preamble\x20
--b

ascii\x20
--b\x20
Content-Type: application/x
Content-Transfer-Encoding: base64

/w==

--b
Content-Type: message/rfc822
Content-Transfer-Encoding: 7bit

Subject: in
MIME-Version: 1.0
Content-Type: text/plain; charset=unknown-8bit
Content-Transfer-Encoding: quoted-printable

=E9
--b--
epilogue"""
        before, after = (text.replace(b"\n", b"\r\n") for text in (before, after))
        self.assertEqual(self.convert(before), after)

    def test_signed(self) -> None:
        """What is signed isn't changed (RFC 1847 §2.1): it stays, or the message is refused."""
        signed = (
            b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n%s\r\n--s--\r\n"
        )
        self.refuse(signed % b"\xff", "5.6.3")
        kept = signed % b"ascii"
        around = (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n%s\r\n--b\r\n\r\n%s\r\n--b--"
        )
        self.assertIn(kept, self.convert(around % (kept, b"\xff")))
        self.refuse(around % (signed % b"\xff", b""), "5.6.3")

    def test_between(self) -> None:
        """What isn't in a part can't be encoded, and a multipart can't be (RFC 2045 §6.4)."""
        head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        self.refuse(head + b"\xff\r\n--b\r\n\r\nx\r\n--b--\r\n", "5.6.3")
        self.refuse(head + b"--b\r\n\r\nx\r\n--b--\r\n\xff", "5.6.3")
        self.refuse(head + b"\xff", "5.6.3")
        self.refuse(b"Content-Type: multipart/mixed\r\n\r\n\xff", "5.6.3")

    def test_tooDeep(self) -> None:
        """A message too deep to be looked into is refused and not encoded."""
        self.refuse(b"Content-Type: message/rfc822\r\n\r\n" * 101 + b"\r\n\xff", "5.6.3")

    def test_newBoundary(self) -> None:
        """No line that encoding makes is a boundary."""
        data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\r\n%s\r\n--b--\r\n"
        for width in range(60, 80):
            body = b"\xff" + b"x" * width + b"--b"
            self.assertEqual(_leaves(self.convert(data % body)), [b"\r\n" + body])

    def test_large(self) -> None:
        """A message that isn't held in memory is read in any order; its file goes with it."""
        body = bytes(range(256)) * 4096
        content = self.content(BytesContent(b"Content-Type: image/x\r\n\r\n" + body))
        text = self.read(content, 0, content.size)
        self.assertEqual(_leaves(text), [body])
        self.assertEqual(self.read(content, 99_999, 100), text[99_999:100_099])
        self.assertEqual(self.read(content, content.size, 1), b"")
        file = content._file  # type: ignore[attr-defined]
        del content
        gc.collect()
        self.assertTrue(file.closed)


_BODIES = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\r\n", b"\r", b"\n", b" ", b"\t", b".", b"=", b"--b", b"From ", b"\0", b"\xff"]
        ),
        st.binary(max_size=4),
        st.integers(1, 1100).map(lambda count: b"x" * count),
    ),
    max_size=20,
).map(b"".join)
_TREES: st.SearchStrategy[Any] = st.recursive(
    st.lists(
        st.sampled_from([b"\r\n", b"\xff", b"\xc3\xa9", b" ", b"--", b"--b", b"a", b"="]),
        max_size=9,
    ).map(b"".join),
    lambda inner: st.lists(inner, min_size=1, max_size=4),
    max_leaves=8,
)


def _render(tree: Any, mark: bytes) -> bytes:
    # In each leaf is something to encode. A list of one is a message in a message.
    encoding = b"Content-Transfer-Encoding: 8bit\r\n"
    if isinstance(tree, bytes):
        return encoding + b"Content-Type: text/plain; charset=x\r\n\r\n\xff" + tree
    inner = [_render(child, mark + b"%d" % number) for number, child in enumerate(tree)]
    if len(inner) == 1:
        return encoding + b"Content-Type: message/rfc822\r\n\r\nMIME-Version: 1.0\r\n" + inner[0]
    head = encoding + b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n" % mark
    parts = b"".join(b"--%s\r\n%s\r\n" % (mark, part) for part in inner)
    return head + parts + b"--%s--\r\n" % mark


class PropertyTests(DowngradeTestCase):
    """
    What is decoded is what was there, with another decoder than ours.
    """

    @settings(deadline=None, max_examples=100)
    @given(body=_BODIES, step=st.integers(1, 90), kind=st.sampled_from([b"text/x", b"image/x"]))
    @example(b"\xff" + b"x" * 70_000 + b" \r\n", 70_000, b"text/x")
    def test_leaf(self, body: bytes, step: int, kind: bytes) -> None:
        """Any body, in chunks of any size; its lines are short (RFC 2045 §6.7 (5))."""
        data = b"MIME-Version: 1.0\r\nContent-Type: " + kind + b"\r\n\r\n" + b"\xff" + body
        text = self.convert(data, step)
        self.assertEqual(_leaves(text), [b"\xff" + body])
        for line in text.split(b"\r\n\r\n", 1)[1].split(b"\r\n"):
            self.assertLessEqual(len(line), 76)
            self.assertFalse(line.endswith((b" ", b"\t")))
            self.assertFalse(line.startswith((b".", b"--", b"From ")))
            self.assertFalse(set(line) & set(b"\r\n\0"))

    @settings(deadline=None, max_examples=100)
    @given(body=_BODIES, step=st.integers(1, 90))
    @example(b"=3D" * 30_000 + b"=\r\n", 70_000)
    @example(b"=\0", 1)
    def test_wrongQuotedPrintable(self, body: bytes, step: int) -> None:
        """Octets and line lengths that quoted-printable has not are made right in it."""
        # Decoders don't agree on what "==" is.
        body = re.sub(rb"=+", b"=", body)
        data = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n\xff" + body
        text = self.convert(data, step)
        self.assertEqual(_leaves(text), _leaves(data))
        for line in text.split(b"\r\n"):
            self.assertLessEqual(len(line), 76)

    @settings(deadline=None, max_examples=50)
    @given(body=st.binary(max_size=900), at=st.integers(0, 900), step=st.integers(1, 90))
    def test_wrongBase64(self, body: bytes, at: int, step: int) -> None:
        """Octets that base64 has not go, which decoders ignore; lines become short."""
        encoded = b64encode(body)
        encoded = encoded[:at] + b"\xff\0\x80" + encoded[at:]
        text = self.convert(b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded, step)
        self.assertEqual(_leaves(text), [body])
        for line in text.split(b"\r\n"):
            self.assertLessEqual(len(line), 76)

    @settings(deadline=None, max_examples=100)
    @given(tree=_TREES, step=st.integers(1, 90))
    def test_nested(self, tree: Any, step: int) -> None:
        """Parts and messages inside one another have the same contents in the same order."""
        data = b"MIME-Version: 1.0\r\n" + _render(tree, b"n")
        text = self.convert(data, step)
        self.assertEqual(_leaves(text), _leaves(data))
        before, after = (email.message_from_bytes(each) for each in (data, text))
        self.assertEqual(
            [part.get_content_type() for part in after.walk()],
            [part.get_content_type() for part in before.walk()],
        )
        self.assertNotIn("8bit", [part["content-transfer-encoding"] for part in after.walk()])
