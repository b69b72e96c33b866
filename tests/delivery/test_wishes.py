"""
What MAIL's parameters say about when and how urgently a message is delivered.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.support import TODAY
from twisted_mailstack.delivery.wishes import DeliveryWishes, deliveryWishes


class WishesTests(SynchronousTestCase):
    """
    L{deliveryWishes}; today is 2023-11-14, 22:13:20 UTC.
    """

    def check(self, parameters: dict[str, str | None], **expected: int) -> None:
        """
        These parameters mean that.
        """
        self.assertEqual(deliveryWishes(parameters, TODAY), DeliveryWishes(**expected), parameters)

    def test_none(self) -> None:
        """Nothing said, nothing wished."""
        self.check({})
        self.check({"SIZE": "100", "BODY": "8BITMIME", "SMTPUTF8": None})

    def test_hold(self) -> None:
        """RFC 4865: for some seconds, or until a time, in any zone and with fractions."""
        self.check({"HOLDFOR": "90"}, notBefore=TODAY + 90)
        for text in (
            "2023-11-14T22:14:20Z",
            "2023-11-14t22:14:20z",
            "2023-11-14T23:14:20+01:00",
            "2023-11-14T17:14:20-05:00",
            "2023-11-14T22:14:20.999Z",
            "2023-11-14T22:14:20.5+00:00",
        ):
            self.check({"HOLDUNTIL": text}, notBefore=TODAY + 60)
        self.check({"HOLDUNTIL": "1999-01-01T00:00:00Z"}, notBefore=915148800)

    def test_by(self) -> None:
        """RFC 2852: returned (R) or notified (N) when so many seconds are over; N may be past."""
        self.check({"BY": "120;R"}, expires=TODAY + 120)
        self.check({"BY": "+120;rT"}, expires=TODAY + 120)
        self.check({"BY": "120;N"}, warnAt=TODAY + 120)
        self.check({"BY": "0;n"}, warnAt=TODAY)
        self.check({"BY": "-30;NT"}, warnAt=TODAY - 30)

    def test_byHeld(self) -> None:
        """With both, the time runs from when it is released (RFC 4865 §4)."""
        self.check({"BY": "60;R", "HOLDFOR": "90"}, notBefore=TODAY + 90, expires=TODAY + 150)

    def test_priority(self) -> None:
        """RFC 6710."""
        for priority in (-9, 0, 9):
            self.check({"MT-PRIORITY": str(priority)}, priority=priority)
