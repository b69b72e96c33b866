"""
Headers that break RFC 5322.
"""

from __future__ import annotations

from tests.delivery.steps.support import StepTestCase
from twisted_mailstack.delivery.step import StepProblem
from twisted_mailstack.delivery.steps.headers import CHECKS, STEP

GOOD = (
    b"Received: by mx\r\n\tx\r\nFrom: A <a@far.test>\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    b"Subject : x\r\n y\r\n\r\n\xff body\r\nFrom: x\r\n"
)


class HeaderChecksTests(StepTestCase):
    """
    C{header-checks}.
    """

    def check(self, name: str, header: bytes, **given: str | None) -> str:
        """
        @return: what a check says.
        """
        return self.data(self.make(STEP, checks=(name,)), header, **given)

    def test_good(self) -> None:
        """Ordinary mail passes all of them."""
        self.assertEqual(self.data(self.make(STEP, checks=tuple(CHECKS)), GOOD), "")

    def test_from(self) -> None:
        """There is an address in From (RFC 5322 §3.6.2)."""
        told = "550 5.6.0 The message has no address in From"
        for header in (b"", b"Subject: x\r\n", b"From:\r\n", b"From: me\r\n", b"From: <>\r\n"):
            self.assertEqual(self.check("from", header + b"\r\nFrom: a@far.test\r\n"), told)
        self.assertEqual(self.check("from", b"From: g: a@far.test;\r\n\r\n"), "")

    def test_date(self) -> None:
        """There is a date that is one (RFC 5322 §3.6.1)."""
        told = "550 5.6.0 The message has no valid Date"
        for header in (b"", b"Date:\r\n", b"Date: yesterday\r\n"):
            self.assertEqual(self.check("date", header + b"\r\n"), told)
        self.assertEqual(self.check("date", b"Date: 1 Jan 2024 00:00 GMT\r\n\r\n"), "")

    def test_once(self) -> None:
        """No field comes twice that may be there once (RFC 5322 §3.6)."""
        self.assertEqual(
            self.check("once", b"Subject: x\r\nTo: a@far.test\r\nSUBJECT: y\r\n\r\n"),
            "550 5.6.0 The message has several Subject fields",
        )
        self.assertEqual(
            self.check("once", b"Received: x\r\nReceived: y\r\nComments: z\r\n\r\n"), ""
        )

    def test_syntax(self) -> None:
        """Every line belongs to a field."""
        told = "550 5.6.0 The header has a line that is no field"
        for header in (b"Hello,\r\n", b"A: 1\r\nno field\r\nB: 2\r\n", b": x\r\n", b"A B: 1\r\n"):
            self.assertEqual(self.check("syntax", header + b"\r\n"), told, header)
        for header in (b"A: 1\r\n \r\nB:\r\n", b"A:1\r\n", b"", b"\r\nHello\r\n", b"A: 1"):
            self.assertEqual(self.check("syntax", header), "", header)

    def test_ascii(self) -> None:
        """Other characters need SMTPUTF8 (RFC 6532 §3)."""
        header = "Subject: Grüße\r\n\r\n".encode()
        self.assertEqual(
            self.check("ascii", header), "550 5.6.0 The header has characters that need SMTPUTF8"
        )
        self.assertEqual(self.check("ascii", header, SMTPUTF8=None), "")
        self.assertEqual(self.check("ascii", b"Subject: x\r\n\r\n\xff"), "")

    def test_off(self) -> None:
        """Nothing is checked that isn't named; what isn't known is told."""
        self.assertIsNone(STEP.make(STEP.settings(), self.services))
        self.assertRaises(StepProblem, STEP.settings, checks=("form",))
