"""
Transfer encodings: C{twisted_mailstack.model.transfer}.
"""

from __future__ import annotations

import quopri
from base64 import encodebytes
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.model import transfer
from twisted_mailstack.model.header import decodeBase64
from twisted_mailstack.model.transfer import transferDecoder


def decode(data: bytes, encoding: bytes, size: int = 0) -> bytes:
    """
    @param size: octets that are fed at a time; 0 for all.
    """
    decoder = transferDecoder(encoding)
    assert decoder is not None
    if not size:
        return decoder.feed(data) + decoder.finish()
    pieces = [decoder.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join(pieces) + decoder.finish()


class DecoderTests(SynchronousTestCase):
    """
    RFC 2045 §6.
    """

    def check(self, data: bytes, encoding: bytes, expected: bytes) -> None:
        """
        However it is cut.
        """
        for size in (0, 1, 2, 3, 5, 7):
            self.assertEqual(decode(data, encoding, size), expected, (data, size))

    def test_identities(self) -> None:
        """7bit, 8bit and binary change nothing, in any case of letters."""
        for name in (b"7bit", b"8BIT", b"Binary"):
            self.check(b"=41 QUJD\r\n\0\xff\r\n", name, b"=41 QUJD\r\n\0\xff\r\n")

    def test_unknown(self) -> None:
        """What isn't known is said so."""
        for name in (b"", b"x-uuencode", b"base65", b"quoted printable"):
            self.assertIdentical(transferDecoder(name), None)

    def test_base64(self) -> None:
        """§6.8: "All line breaks or other characters not found in Table 1 must be ignored"."""
        for data, expected in (
            (b"QUJD\r\nREVG\r\n", b"ABCDEF"), (b"QQ==", b"A"), (b"QUI=", b"AB"), (b"", b""),
            (b"Q U-J*D\0\xff", b"ABC"), (b"QUI", b"AB"), (b"QQ", b"A"), (b"QUJDQ", b"ABC"),
            (b"QQ==QUI=QUJD", b"AABABC"), (b"====", b""), (b"=QQ", b"A"), (b"Q=Q=", b""),
            (b"QUI=\r\n\r\ntrailing", b"AB" + decodeBase64(b"trailing")),
        ):  # fmt: skip
            self.check(data, b"BASE64", expected)
        data = Random(1).randbytes(5000)
        self.check(encodebytes(data).replace(b"\n", b"\r\n"), b"base64", data)

    def test_base64Damaged(self) -> None:
        """As SEARCH reads it, whatever is wrong."""
        random = Random(2)
        for _ in range(300):
            data = bytes(random.choices(b"AQz/+=\r\n -\xff", k=random.randrange(40)))
            self.check(data, b"base64", decodeBase64(data))

    def test_quotedPrintable(self) -> None:
        """§6.7, its five rules, and what §6.7's notes say about damage."""
        for data, expected in (
            (b"a=3D=3db=00=FF\r\n", b"a==b\0\xff\r\n"),
            (b"one=\r\n two=\nthree", b"one twothree"),
            (b"soft = \t \r\nx", b"soft x"),
            (b"trailing \t \r\nx \ny ", b"trailing\r\nx\ny"),
            (b"in  the\tmiddle", b"in  the\tmiddle"),
            (b"end=", b"end"), (b"end= ", b"end"), (b"end=4", b"end=4"), (b"=", b""),
            (b"=3", b"=3"),
            (b"=XY=4G=-", b"=XY=4G=-"), (b"a==41", b"a=A"), (b"=\rb\r\n=41", b"=\rb\r\nA"),
            (b"==\r\n=41", b"=A"), (b"\0\xff\r\n", b"\0\xff\r\n"), (b"a\rb \r", b"a\rb \r"),
        ):  # fmt: skip
            self.check(data, b"Quoted-Printable", expected)
        data = Random(3).randbytes(3000)
        self.check(quopri.encodestring(data).replace(b"\n", b"\r\n"), b"quoted-printable",
                   data.replace(b"\n", b"\r\n"))  # fmt: skip

    def test_quotedPrintableDamaged(self) -> None:
        """Whatever comes gives the same in pieces and in one."""
        random = Random(4)
        for _ in range(500):
            data = bytes(random.choices(b"=4aG \t\r\n\xff", k=random.randrange(30)))
            self.check(data, b"quoted-printable", decode(data, b"quoted-printable"))

    def test_bounded(self) -> None:
        """However much white space comes, it isn't kept."""
        self.patch(transfer, "MAX_SPACE", 100)
        decoder = transferDecoder(b"quoted-printable")
        assert decoder is not None
        out = b"".join(decoder.feed(b" " * 50) for _ in range(100))
        self.assertTrue(len(out) > 4000)
