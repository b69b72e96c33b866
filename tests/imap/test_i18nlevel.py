"""
I18NLEVEL=2 (RFC 5255 §4): the comparator.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server

CURRENT = b"* COMPARATOR i;unicode-casemap\r\na OK COMPARATOR completed\r\n"


class ComparatorTests(SynchronousTestCase):
    """
    COMPARATOR.
    """

    def setUp(self) -> None:
        """A session that is logged in."""
        self.server = Server()
        self.session = self.server.login()

    def test_capability(self) -> None:
        """I18NLEVEL=2 is told once the session is authenticated, and I18NLEVEL=1 not beside it."""
        answer = self.session.send(b"a CAPABILITY\r\n").split(b"\r\n")[0].split(b" ")
        self.assertIn(b"I18NLEVEL=2", answer)
        self.assertNotIn(b"I18NLEVEL=1", answer)

    def test_current(self) -> None:
        """Without arguments the active comparator is told."""
        self.assertEqual(self.session.send(b"a COMPARATOR\r\n"), CURRENT)
        self.assertEqual(self.server.select().send(b"a comparator\r\n"), CURRENT)

    def test_chosen(self) -> None:
        """The one there is, by its name, by "default", by wild cards, among others."""
        for names in (
            *("default", "DEFAULT", "i;unicode-casemap", "I;Unicode-Casemap", '"*"', '"i;*"'),
            *('"cz;*" default', "i;basic i;unicode-casemap", '"*casemap"', '"i;uni*-case*"'),
            "+i;unicode-casemap",
        ):
            answer = self.session.send(f"a COMPARATOR {names}\r\n".encode())
            self.assertEqual(answer, CURRENT, names)

    def test_others(self) -> None:
        """One that isn't there is refused with BADCOMPARATOR, also one that is reversed."""
        for names in (
            *('"cz;*" i;basic', "i;octet", "i;ascii-casemap", "-i;unicode-casemap"),
            *("i;unicode-casemapx", "i;unicode", '"i;*x*"', '"i;unicode-casemap*p"'),
        ):
            answer = self.session.send(f"a COMPARATOR {names}\r\n".encode())
            self.assertTrue(answer.startswith(b"a NO [BADCOMPARATOR] "), (names, answer))

    def test_syntax(self) -> None:
        """What is no comparator's name is BAD (RFC 4790 §3.2: no two wild cards in a row)."""
        for names in ('""', '"**"', '"i_x"', '";x"', " ", "default (", "+", '"i;caf\xc3\xa9"'):
            answer = self.session.send(f"a COMPARATOR {names}\r\n".encode("latin-1"))
            self.assertTrue(answer.startswith(b"a BAD "), (names, answer))

    def test_notBeforeLogin(self) -> None:
        """It is a command of the authenticated state."""
        session = self.server.connect()
        session.wire.take()
        self.assertTrue(session.send(b"a COMPARATOR\r\n").startswith(b"a BAD "))
        answer = session.send(b"a CAPABILITY\r\n").split(b"\r\n")[0].split(b" ")
        self.assertNotIn(b"I18NLEVEL=2", answer)

    def test_compared(self) -> None:
        """SEARCH, SORT and THREAD compare with it: case and forms of letters don't count."""
        for subject in ("\u00c4rger", "arger", "a\u0308RGER"):
            self.server.deliver(f"Subject: {subject}\r\n\r\n".encode())
        session = self.server.select()
        for command, answer in (
            ('SEARCH CHARSET UTF-8 SUBJECT "\u00e4rger"', b"* SEARCH 1 3\r\n"),
            ("SORT (SUBJECT) UTF-8 ALL", b"* SORT 2 1 3\r\n"),
            ("THREAD ORDEREDSUBJECT UTF-8 ALL", b"* THREAD (1 3)(2)\r\n"),
        ):
            self.assertTrue(session.send(f"a {command}\r\n".encode()).startswith(answer), command)
