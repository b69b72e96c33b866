"""
SAVEDATE: C{twisted_mailstack.imap.extensions.savedate}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server

#: 1-Jan-2015 17:50:53 +0000, and a day.
NEW_YEAR = 1420134653
DAY = 86400


class SaveDateTests(SynchronousTestCase):
    """
    RFC 8514: three messages, saved on 31 December, 1 January and 2 January; what their internal
    dates say doesn't matter.
    """

    def setUp(self) -> None:
        """They are in INBOX, which is selected."""
        self.server = Server()
        self.server.clock.advance(NEW_YEAR - DAY)
        for _ in range(3):
            self.server.deliver(date=DAY)
            self.server.clock.advance(DAY)
        self.client = self.server.select()

    def test_capability(self) -> None:
        """It is told."""
        self.assertRegex(self.client.send(b"a CAPABILITY\r\n"), rb" SAVEDATE[ \r]")

    def test_fetch(self) -> None:
        """§4.2."""
        self.client.check(
            """
            C: A101 FETCH 2 (SAVEDATE)
            S: * 2 FETCH (SAVEDATE "01-Jan-2015 17:50:53 +0000")
            S: A101 OK FETCH completed
            C: A102 UID FETCH 1 (savedate INTERNALDATE)
            S: * 1 FETCH (UID 1 SAVEDATE "31-Dec-2014 17:50:53 +0000" INTERNALDATE " 2-Jan-1970 00:00:00 +0000")
            S: A102 OK UID FETCH completed
            """.replace('"01-Jan', '" 1-Jan')  # noqa: E501
        )

    def test_search(self) -> None:
        """§4.3."""
        self.client.check(
            """
            C: A103 SEARCH SAVEDON 1-Jan-2015
            S: * SEARCH 2
            S: A103 OK SEARCH completed
            C: A104 SEARCH SAVEDSINCE 1-Jan-2015
            S: * SEARCH 2 3
            S: A104 OK SEARCH completed
            C: A105 SEARCH savedbefore "1-Jan-2015"
            S: * SEARCH 1
            S: A105 OK SEARCH completed
            C: A106 SEARCH NOT SAVEDON 1-Jan-2015 SAVEDATESUPPORTED
            S: * SEARCH 1 3
            S: A106 OK SEARCH completed
            C: A107 SEARCH SAVEDON
            S: A107 BAD Space expected
            """
        )

    def test_copyAndMove(self) -> None:
        """§3: "the save date attribute is not copied from the source message"."""
        self.client.send(b"a COPY 1 Archive\r\nb MOVE 2 Archive\r\nc STORE 1 +FLAGS (\\Seen)\r\n")
        self.assertIn(b'"31-Dec-2014 17:50:53 +0000"', self.client.send(b"d FETCH 1 SAVEDATE\r\n"))
        archive = self.server.select("Archive")
        answer = archive.send(b"e FETCH 1:2 SAVEDATE\r\n")
        self.assertEqual(answer.count(b'" 3-Jan-2015 17:50:53 +0000"'), 2)
