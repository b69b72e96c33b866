"""
Mail that comes back to an address (RFC 9228).
"""

from __future__ import annotations

from tests.delivery.steps.support import ALICE, BOB, StepTestCase
from twisted_mailstack.delivery.policy import MAX_HEADER
from twisted_mailstack.delivery.steps.deliveredto import STEP

LOOP = "554 5.4.6 Mail loop: alice@example.test has had this message"


class DeliveredToTests(StepTestCase):
    """
    C{delivered-to}.
    """

    def test_loop(self) -> None:
        """A message that was delivered to its recipient before is refused, however it says so."""
        step = self.make(STEP)
        for field in (
            b"Delivered-To: alice@example.test\r\n",
            b"DELIVERED-TO : <Alice@Example.TEST>\r\n",
            b"delivered-to:\r\n alice@example.test \r\n",
            b'Delivered-To: "alice"@example.test\r\n',
            b"Delivered-To: x@far.test\r\nSubject: x\r\nDelivered-To: alice@example.test\r\n",
        ):
            text = b"Received: x\r\n" + field + b"\r\n"
            self.assertEqual(self.data(step, text), LOOP, field)
            self.assertEqual(self.data(step, field), LOOP, field)

    def test_others(self) -> None:
        """Who else had it, and what only looks so, is nobody's concern."""
        step = self.make(STEP)
        for text in (
            b"",
            b"Subject: x\r\n\r\nDelivered-To: alice@example.test\r\n",
            b"Delivered-To: bob@example.test\r\n\r\n",
            b"Delivered-To: alice+tag@example.test\r\n\r\n",
            b"Delivered-To: alice@far.test\r\n\r\n",
            b"X-Delivered-To: alice@example.test\r\n\r\n",
            b"Subject: Delivered-To: alice@example.test\r\n Delivered-To: alice@example.test\r\n",
            b"Delivered-To:\r\nDelivered-To: mailing list x\r\nDelivered-To: \xff@\xfe\r\n\r\n",
        ):
            self.assertEqual(self.data(step, text), "", text)

    def test_oneOfSeveral(self) -> None:
        """If one of several recipients had it, nobody gets it again."""
        text = b"Delivered-To: alice@example.test\r\n\r\n"
        self.assertEqual(self.data(self.make(STEP), text, BOB, ALICE), LOOP)

    def test_international(self) -> None:
        """Addresses in UTF-8 and A-labels are compared as what they are."""
        step = self.make(STEP)
        text = "Delivered-To: JÖRG@bücher.example\r\n\r\n".encode()
        self.assertIn("5.4.6", self.data(step, text, "jörg@xn--bcher-kva.example"))

    def test_hugeHeader(self) -> None:
        """Of a header without end only the beginning is looked at."""
        late = b"X: " + b"x" * MAX_HEADER + b"\r\nDelivered-To: alice@example.test\r\n\r\n"
        self.assertEqual(self.data(self.make(STEP), late), "")
