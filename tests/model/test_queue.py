"""
The values of the spool.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.model.queue import AttemptResult, QueuedMessage


class AttemptResultTests(SynchronousTestCase):
    """
    L{AttemptResult}.
    """

    def test_classes(self) -> None:
        """2yz: it is the next hop's business now; 4yz: trying again may help."""
        for code, delivered, temporary in (
            *((250, True, False), (251, True, False), (421, False, True), (451, False, True)),
            *((550, False, False), (354, False, False)),
        ):
            result = AttemptResult(code, "4.0.0", "")
            self.assertEqual((result.delivered, result.temporary), (delivered, temporary))

    def test_line(self) -> None:
        """For people: who said what. It can be read again."""
        for result, line in (
            (AttemptResult(550, "5.1.1", "No"), "550 5.1.1 No"),
            (
                AttemptResult(451, "4.7.1", "", "mx.test [192.0.2.1]"),
                "mx.test [192.0.2.1] said: 451 4.7.1 ",
            ),
            (
                AttemptResult(451, "4.7.1", "he said: 550 5.0.0 no", "mx"),
                "mx said: 451 4.7.1 he said: 550 5.0.0 no",
            ),
        ):
            self.assertEqual(result.line, line)
            self.assertEqual(AttemptResult.parse(line), result)

    def test_noLine(self) -> None:
        """Other text is no result."""
        for text in ("", "no", "999 5.1.1 x", "mx said: nothing", "550 No"):
            self.assertIsNone(AttemptResult.parse(text), text)


class QueuedMessageTests(SynchronousTestCase):
    """
    L{QueuedMessage}.
    """

    def test_mustNotBeLate(self) -> None:
        """RFC 2852 §4: by-mode R, in any case, with or without a trace."""
        for value, expected in (
            *(("120;R", True), ("1;rT", True), ("120;N", False), ("-5;nt", False)),
            *((None, False), ("", False)),
        ):
            message = QueuedMessage("Q", None, {"BY": value}, b"", 0, 0, ())
            self.assertEqual(message.mustNotBeLate, expected, value)
        self.assertFalse(QueuedMessage("Q", None, {}, b"", 0, 0, ()).mustNotBeLate)

    def test_relayIsTold(self) -> None:
        """
        RFC 2852 §4.1.4: with a trace each time; without one where a host doesn't know of it, and
        so won't tell of a delay. What must not be late doesn't go there.
        """
        for value, knows, doesnt in (
            *(("120;NT", True, True), ("1;rt", True, True), ("120;N", False, True)),
            *(("-5;n", False, True), ("120;R", False, False), (None, False, False)),
        ):
            message = QueuedMessage("Q", None, {"BY": value}, b"", 0, 0, ())
            self.assertEqual(
                (message.relayIsTold(True), message.relayIsTold(False)), (knows, doesnt), value
            )
