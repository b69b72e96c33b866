"""
Parts in 7-bit transfer encodings (RFC 6152 §3), read by the standard library's decoders.
"""

from __future__ import annotations

import email
import gc
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import MailError, StoreDamaged
from twisted_mailstack.smtp.clientsession import BytesContent, Readable
from twisted_mailstack.smtp.downgrade import toASCIIHeaders, toSevenBit

Convert = Callable[[Readable], Coroutine[Any, Any, Readable]]


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

    def content(self, content: Readable, convert: Convert = toSevenBit) -> Readable:
        """What it becomes."""
        return self.successResultOf(Deferred.fromCoroutine(convert(content)))

    def read(self, content: Readable, offset: int, length: int) -> bytes:
        """Octets of it."""

        async def read() -> bytes:
            return await content.read(offset, length)

        return self.successResultOf(Deferred.fromCoroutine(read()))

    def convert(self, data: bytes, step: int = 1 << 20) -> bytes:
        """What these octets become, read in chunks; it is 7-bit data and has its size."""
        content = self.content(_Short(data, step))
        text = self.whole(content)
        self.assertEqual(len(text), content.size)
        self.assertTrue(text.isascii())
        self.assertLessEqual(max(map(len, text.split(b"\r\n"))), 998)
        return text

    def whole(self, content: Readable) -> bytes:
        """All of it."""
        text = b""
        while octets := self.read(content, len(text), content.size + 1):
            text += octets
        return text

    def refuse(self, data: bytes, status: str, convert: Convert = toSevenBit) -> None:
        """It can't be converted."""
        failure = self.failureResultOf(
            Deferred.fromCoroutine(convert(BytesContent(data))), MailError
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
        """Header fields can't be encoded, wherever they are (RFC 6531 §3.5: X.6.9)."""
        for data in (
            b"Subject: \xc3\xa9\r\n\r\nx\r\n",
            b"\xc3\xa9",
            b"Content-Type: message/rfc822\r\n\r\nSubject: \xff\r\n\r\n",
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: \xff\r\n\r\n--b--",
        ):
            self.refuse(data, "5.6.9")
            self.refuse(data, "5.6.9", toASCIIHeaders)

    def test_encodedAlready(self) -> None:
        """
        In encoded parts wrong octets are encoded, or left out where decoders pass over them
        (RFC 2045 §6.7, §6.8). Their headers stay.
        """
        head = b"Content-Transfer-Encoding: %s\r\n\r\n"
        for encoding, body, result in (
            (b"quoted-printable", b"a\xff=\r\n=3D", b"a=FF=\r\n=3D"),
            (b"base64", b"aG\xffk=\r\n", b"aGk=\r\n"),
        ):
            self.assertEqual(self.convert(head % encoding + body), head % encoding + result)

    def test_slips(self) -> None:
        """
        What says an encoding that nobody knows meant none: it is encoded as if it had said 8bit,
        and says so.
        """
        fields = b"MIME-Version: 1.0\r\nContent-Type: %s; charset=x\r\n"
        for name in (b"8-bit", b"8 bit", b"utf-8", b"", b"none", b"x-uuencode", b"8BITS;", b'""'):
            for kind, encoding, body in (
                (b"text/x", b"quoted-printable", b"a=FF"),
                (b"image/x", b"base64", b"Yf8=\r\n"),
            ):
                head = fields % kind
                field = b"Content-Transfer-Encoding: " + name
                self.assertEqual(
                    self.convert(head + field + b"\r\n\r\na\xff"),
                    head + b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body,
                )
        inner = b"Content-Type: text/x; charset=x\r\n%b\r\n%b"
        text = self.convert(
            b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8-bit\r\n\r\n"
            + inner % (b"", b"\xff")
        )
        self.assertEqual(
            text,
            b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n"
            b"MIME-Version: 1.0\r\n\r\n"
            + inner
            % (b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n", b"=FF"),
        )

    def test_charset(self) -> None:
        """
        Text of which nobody said what its characters are is UTF-8 if it can be, else unknown
        (RFC 1428 §3). What was said stays, and what isn't text has none.
        """
        for field, body, changed in (
            (b"text/html", "\xe9".encode(), b"text/html; charset=utf-8"),
            (b"text/html;", b"\xe9", b"text/html; charset=unknown-8bit"),
            (b"text/html;\r\n x=y ; ", b"\xe9", b"text/html;\r\n x=y; charset=unknown-8bit"),
            (b"text/html; charset=", b"\xc3", b"text/html; charset="),
            (b"text/html; CharSet=us-ascii", b"\xc3", b"text/html; CharSet=us-ascii"),
            (b"text/html; charset*=''a", b"\xc3", b"text/html; charset*=''a"),
            (b"text/html", "\u20ac".encode()[:2], b"text/html; charset=unknown-8bit"),
            (b"text/html", "\u20ac".encode() + b"\0", b"text/html; charset=utf-8"),
            (b"text/html", b"x" * 999, b"text/html"),
            (b"image/x", "\xe9".encode(), b"image/x"),
            (b"application/x", "\xe9".encode(), b"application/x"),
        ):
            for step in (1, 1000):
                text = self.convert(b"Content-Type: " + field + b"\r\n\r\n" + body, step)
                start = b"Content-Type: " + changed + b"\r\n"
                self.assertEqual(text[: len(start)], start)
                self.assertEqual(_leaves(text), [body])

    def test_longHeader(self) -> None:
        """A header's lines are folded where there is white space, which changes none of it."""
        for field in (
            b"To:" + b" a@example.org," * 100,
            b"To: " + b"x" * 997 + b" \t y " + b"z" * 997,
            b"A: b\r\nTo: x" + b" " * 90 + b"y" * 900 + b"\r\nC: d",
        ):
            text = self.convert(field + b"\r\n\r\nascii\r\n")
            self.assertEqual(re.sub(rb"\r\n(?=[ \t])", b"", text), field + b"\r\n\r\nascii\r\n")
            self.assertNotRegex(text.split(b"\r\n\r\n")[0], rb"\n[ \t]*(\r|\Z)")
        content = BytesContent(b"To:" + b"x" * 1000 + b"\r\n\r\n")
        self.assertIs(self.content(content), content)

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

    def test_signature(self) -> None:
        """The signature isn't signed, nor is what stands around (RFC 1847 §2.1)."""
        kept = (
            b"Content-Type: multipart/signed; boundary=s\r\n%s\r\n%s\r\n--s\r\n"
            b"Content-Type: multipart/mixed; boundary=i\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            + b"long "
            * 300
            + b"\r\n--i\r\nContent-Transfer-Encoding: 8bit\r\n\r\nascii\r\n--i--\r\n"
            b"--s\r\nContent-Type: application/x\r\n%s\r\n%s\r\n--s--\r\n"
        )
        version = b"MIME-Version: 1.0\r\n"
        content = BytesContent(kept % (version, b"\xff", b"", b"\xff"))
        self.assertEqual(
            self.whole(self.content(content)),
            kept % (version, b"?", b"Content-Transfer-Encoding: base64\r\n", b"/w==\r\n"),
        )
        signed = b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n"
        inside = b"Content-Type: multipart/mixed; boundary=i\r\n\r\n%b\r\n--i\r\n\r\n--i--%b\r\n"
        for before, behind in ((b"\xff", b""), (b"", b"\r\n\xff")):
            self.refuse(signed + inside % (before, behind) + b"--s\r\n\r\n--s--", "5.6.3")

    def test_between(self) -> None:
        """
        What is in no part is nobody's content (RFC 2046 §5.1.1). It doesn't keep a message from
        being delivered, and its changes make no boundary.
        """
        head = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=?\r\n\r\n"
        parts = b"\r\n--?\r\n\r\nx\r\n-- \r\n\r\n--?\r\n\r\n--\ty\t\r\n--?--\r\n"
        for text, changed in (
            (b"caf\xc3\xa9", b"caf??"),
            (b"a\r\n\0\r\nb", b"a\r\n?\r\nb"),
            (b"--\xff\r\n--\0--\r\n-- \xe9", b"?-?\r\n?-?--\r\n?- ?"),
            (b"\xff\r\n" + b"long " * 300, b"?\r\n" + (b"long " * 300)[:998]),
            (b"long " * 30_000 + b"\xe9", (b"long " * 300)[:998]),
            (b"a\rb\nc\r\r", b"a?b\r\nc"),
        ):
            for step in (1, 1000):
                if step == 1 and len(text) > 5000:
                    continue
                self.assertEqual(
                    self.convert(head + text + parts + b"ascii \r\n", step),
                    head + changed + parts + b"ascii \r\n",
                )
                self.assertEqual(
                    self.convert(head + b"ascii \r\n" + parts + text + b"\r\n", step),
                    head + b"ascii \r\n" + parts + changed + b"\r\n",
                )

    def test_withoutBoundary(self) -> None:
        """What is called a multipart and has no parts is text, as it looks like."""
        fields = b"Content-Type: text/plain; charset=utf-8\r\nMIME-Version: 1.0\r\n"
        encoding = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        for kind in (b"multipart/mixed", b"multipart/mixed;\r\n boundary=b"):
            self.assertEqual(
                self.convert(b"Content-Type: " + kind + b"\r\n\r\n\xc3\xa9 --b"),
                fields + encoding + b"=C3=A9 --b",
            )
        text = self.convert(b"Content-Type: multipart/mixed\r\n\r\n" + b"x" * 999)
        self.assertIn(fields.replace(b"utf-8", b"us-ascii") + encoding, text)

    def test_global(self) -> None:
        """
        A message/global part may be encoded, and is where its headers aren't ASCII (RFC 6532
        §3.7); the innermost that will do.
        """
        head = b"MIME-Version: 1.0\r\nContent-Type: message/global\r\n"
        inner = b"Subject: \xc3\xa9\r\n\r\n\xe9 \r\n"
        encoded = b"Content-Transfer-Encoding: base64\r\n\r\n" + b64encode(inner) + b"\r\n"
        for data, changed in (
            (head + b"\r\n" + inner, head + encoded),
            (head + b"Subject: x\r\n\r\n" + head + b"\r\n" + inner,) * 2,
            (head + b"\r\n" + head + b"\r\n" + inner, head + b"\r\n" + head + encoded),
        ):
            changed = changed.replace(b"\r\n\r\n" + inner, b"\r\n" + encoded)
            for convert in (toSevenBit, toASCIIHeaders):
                self.assertEqual(self.whole(self.content(BytesContent(data), convert)), changed)
        outer = head + b"\r\nSubject: \xc3\xa9\r\n" + head + b"\r\n" + inner
        payload = b64decode(self.convert(outer).split(b"\r\n\r\n", 1)[1])
        self.assertEqual(payload, outer[len(head) + 2 :])
        self.refuse(head + b"Subject: \xc3\xa9\r\n\r\n" + inner, "5.6.9")
        self.refuse(
            b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n"
            + head
            + b"\r\n"
            + inner
            + b"\r\n--b--",
            "5.6.9",
        )

    def test_bodiesOnly(self) -> None:
        """For a server that has SMTPUTF8, headers stay as they are, also inside."""
        data = "Subject: \u00fc\r\nMIME-Version: 1.0\r\nContent-Type: %s\r\n%s\r\n".encode()
        inner = data % (b"image/x", b"") + b"\xff"
        content = self.content(
            BytesContent(data % (b"message/global", b"") + inner),
            lambda content: toSevenBit(content, True),
        )
        encoded = data % (b"image/x", b"Content-Transfer-Encoding: base64\r\n") + b"/w==\r\n"
        self.assertEqual(self.whole(content), data % (b"message/global", b"") + encoded)

    def test_headersOnly(self) -> None:
        """For a server that lacks nothing but SMTPUTF8, bodies stay as they are."""
        data = (
            b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n\xff\r\n--b\r\n\r\n\xff\r\n--b\r\n"
            b"Content-Type: message/global\r\nContent-Transfer-Encoding: %b\r\n\r\n%b"
            b"\r\n--b--\r\n"
        )
        inner = b"Subject: \xff\r\n\r\n\xff"
        content = self.content(BytesContent(data % (b"8bit", inner)), toASCIIHeaders)
        self.assertEqual(self.whole(content), data % (b"base64", b64encode(inner) + b"\r\n"))
        same = BytesContent(data % (b"8bit", b"Subject: x\r\n\r\n\xff"))
        self.assertIs(self.content(same, toASCIIHeaders), same)

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
    # In each leaf that doesn't begin with an "a" is something to encode, and around parts there is
    # something that goes. A list of one is a message in a message.
    encoding = b"Content-Transfer-Encoding: 8bit\r\n"
    if isinstance(tree, bytes):
        return (
            encoding
            + b"Content-Type: text/plain; charset=x\r\n\r\n"
            + (tree if tree.startswith(b"a") else b"\xff" + tree)
        )
    inner = [_render(child, mark + b"%d" % number) for number, child in enumerate(tree)]
    if len(inner) == 1:
        return encoding + b"Content-Type: message/rfc822\r\n\r\nMIME-Version: 1.0\r\n" + inner[0]
    head = encoding + b"Content-Type: multipart/mixed; boundary=%s\r\n\r\n" % mark
    head += b"\xff\r\n--%b\xff\r\n" % mark
    parts = b"".join(b"--%s\r\n%s\r\n" % (mark, part) for part in inner)
    return head + parts + b"--%s--\r\n\0\xff" % mark


#: Of which messages are made, mostly broken ones.
_FRAGMENTS = st.lists(
    st.sampled_from(
        [
            b"Content-Type: multipart/mixed; boundary=b\r\n",
            b"Content-Type: multipart/signed; boundary=c\r\n",
            b"Content-Type: multipart/digest; boundary=b\r\n",
            b"Content-Type: multipart/mixed\r\n",
            b"Content-Type: message/rfc822\r\n",
            b"Content-Type: message/global\r\n",
            b"Content-Type: image/x\r\n",
            *(
                b"Content-Transfer-Encoding: %b\r\n" % each
                for each in (b"base64", b"8bit", b"8-bit")
            ),
            *(
                b"Subject: x\r\n",
                b"\r\n",
                b"\r\n",
                b"\r\n--b\r\n",
                b"\r\n--b--\r\n",
                b"\r\n--c \r\n",
            ),
            *(
                b"\n--c--\n",
                b"--b\r\n",
                b"\xff",
                b"\xc3\xa9",
                b"text\r\n",
                b"x" * 1200,
                b"a b " * 400,
            ),
            *(b"\n", b"\r", b"\0", b"=", b"--"),
        ]
    ),
    max_size=20,
).map(b"".join)


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
    @example(b"=\r" + b"x" * 70, 1)
    @example(b"\r", 1)
    def test_wrongQuotedPrintable(self, body: bytes, step: int) -> None:
        """Octets and line lengths that quoted-printable has not are made right in it."""
        # Decoders don't agree on what "==" is, and a "=" before a bare CR.
        body = re.sub(rb"=+(\r(?!\n))?", lambda match: match[1] or b"=", body)
        data = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n\xff" + body
        text = self.convert(data, step)
        self.assertEqual(_leaves(text), _leaves(data))
        for line in text.split(b"\r\n"):
            self.assertLessEqual(len(line), 76)
            self.assertNotIn(b"\r", line)

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

    @settings(deadline=None, max_examples=200)
    @given(data=_FRAGMENTS)
    def test_broken(self, data: bytes) -> None:
        """
        Whatever a message looks like, it is refused or becomes ASCII of which nothing is left to
        be changed.
        """
        converting = Deferred.fromCoroutine(toSevenBit(BytesContent(data)))
        results: list[Any] = []
        converting.addBoth(results.append)
        if isinstance(results[0], Failure):
            results[0].trap(MailError)
            return
        text = self.whole(results[0])
        self.assertTrue(text.isascii())
        self.assertEqual(self.whole(self.content(BytesContent(text))), text)

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
        for part in after.walk():
            if part["content-transfer-encoding"] == "8bit":
                # All of it was 7-bit data.
                self.assertIn(part.as_bytes().replace(b"\n", b"\r\n"), data)
