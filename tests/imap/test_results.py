"""
Tests of what SEARCH, SORT and ESEARCH have in common.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.imap.results import renderInOrder


class RenderTests(SynchronousTestCase):
    """
    Sequence-sets in an order.
    """

    def test_order(self) -> None:
        """
        The order stays; only what ascends by ones is a range: C{12:10} would mean C{10:12}
        (RFC 5267 §3.2).
        """
        for numbers, written in (
            ([], b""),
            ([7], b"7"),
            ([1, 2], b"1:2"),
            ([1, 3], b"1,3"),
            ([2, 10, 11, 12, 20], b"2,10:12,20"),
            ([12, 11, 10], b"12,11,10"),
            ([5, 3, 4, 1], b"5,3:4,1"),
            ([4294967294, 4294967295, 1], b"4294967294:4294967295,1"),
        ):
            self.assertEqual(renderInOrder(numbers), written, numbers)
