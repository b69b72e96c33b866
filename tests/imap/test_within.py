"""
WITHIN (RFC 5032).
"""

from __future__ import annotations

from tests.imap.test_esearch import SearchingTestCase


class WithinTests(SearchingTestCase):
    """
    OLDER and YOUNGER.
    """

    def test_capability(self) -> None:
        """It is announced."""
        self.assertIn(b" WITHIN ", self.server.login().send(b"a CAPABILITY\r\n"))

    def test_seconds(self) -> None:
        """
        "Messages match if the INTERNALDATE is less recent than or equal to the target time" (OLDER)
        or "more recent than or equal to" it (YOUNGER): exact to the second, whatever the zone.
        """
        for date, zone in ((1000, 0), (1001, 60), (1002, -720), (5000, 0)):
            self.server.deliver(date=date, zone=zone)
        self.server.clock.advance(1101)
        client = self.server.select()
        for keys, found in (
            (b"OLDER 100", b" 1 2"),
            (b"YOUNGER 100", b" 2 3 4"),
            (b"OLDER 100 YOUNGER 100", b" 2"),
            (b"NOT OLDER 100", b" 3 4"),
            (b"OLDER 1", b" 1 2 3"),
            (b"YOUNGER 1", b" 4"),
            (b"YOUNGER 4294967295", b" 1 2 3 4"),
            (b"OLDER 4294967295", b""),
            (b"older 101 UNSEEN", b" 1"),
        ):
            answer = client.send(b"a SEARCH %b\r\n" % keys)
            self.assertEqual(answer, b"* SEARCH%b\r\na OK SEARCH completed\r\n" % found, keys)

    def test_timeGoesBy(self) -> None:
        """It is the server's time at each search."""
        self.server.deliver(date=1000)
        self.server.clock.advance(1050)
        client = self.server.select()
        self.assertTrue(client.send(b"a SEARCH YOUNGER 100\r\n").startswith(b"* SEARCH 1\r\n"))
        self.server.clock.advance(51)
        self.assertTrue(client.send(b"b SEARCH YOUNGER 100\r\n").startswith(b"* SEARCH\r\n"))

    def test_syntaxErrors(self) -> None:
        """Not zero, and not without a number."""
        client = self.server.select()
        for keys in ("OLDER", "OLDER 0", "YOUNGER 0", "YOUNGER -1", "OLDER 1d", "OLDER 4294967296"):
            self.assertBad(client, f"SEARCH {keys}")
