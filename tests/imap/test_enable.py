"""
ENABLE (RFC 5161): C{twisted_mailstack.imap.extensions.enable}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.registry import EXTENSIONS

MINE = Extension(b"X-GOOD-IDEA", 5161, enables=(b"X-GOOD-IDEA", b"X-BETTER"))


class EnableTests(SynchronousTestCase):
    """
    Extensions that have to be turned on.
    """

    def setUp(self) -> None:
        """A session that is logged in."""
        self.server = Server(extensions=(*EXTENSIONS, MINE))
        self.client = self.server.login()

    def test_example(self) -> None:
        """
        §3.1's example: what isn't known is ignored, and the capabilities stay the same.
        """
        before = self.client.send(b"t1 CAPABILITY\r\n")
        self.assertIn(b" ENABLE ", before)
        self.assertIn(b" X-GOOD-IDEA\r\n", before)
        self.client.check(
            """
            C: t2 ENABLE X-NOBODYS X-GOOD-IDEA
            S: * ENABLED X-GOOD-IDEA
            S: t2 OK ENABLE completed
            """
        )
        self.assertEqual(self.client.send(b"t1 CAPABILITY\r\n"), before)

    def test_additive(self) -> None:
        """Each response names what that command enabled."""
        self.client.check(
            """
            C: a enable x-good-idea X-GOOD-IDEA
            S: * ENABLED X-GOOD-IDEA
            S: a OK ENABLE completed
            C: b ENABLE X-BETTER X-GOOD-IDEA
            S: * ENABLED X-BETTER
            S: b OK ENABLE completed
            C: c ENABLE X-BETTER
            S: * ENABLED
            S: c OK ENABLE completed
            """
        )

    def test_notToBeEnabled(self) -> None:
        """Extensions that are there without it are ignored."""
        self.client.check(
            """
            C: a ENABLE MOVE IMAP4rev1 AUTH=PLAIN LITERAL+
            S: * ENABLED
            S: a OK ENABLE completed
            """
        )

    def test_malformed(self) -> None:
        """Without arguments, or with a syntax error in one."""
        for arguments in (b"", b" ", b" X-BETTER ", b"  X-BETTER", b' "X-BETTER"', b" (X-BETTER)"):
            answer = self.client.send(b"a ENABLE" + arguments + b"\r\n")
            self.assertRegex(answer, rb"^a BAD ", arguments)

    def test_states(self) -> None:
        """Valid in the authenticated state only, "before any mailbox is selected"."""
        client = self.server.connect()
        client.wire.take()
        self.assertRegex(client.send(b"a ENABLE X-BETTER\r\n"), rb"^a BAD ")
        self.assertRegex(self.server.select().send(b"a ENABLE X-BETTER\r\n"), rb"^a BAD ")

    def test_pipelined(self) -> None:
        """Behind LOGIN and before SELECT, in one go; it stays enabled."""
        client = self.server.connect()
        client.wire.take()
        answer = client.send(
            b"a LOGIN alice@example.test secret\r\nb ENABLE X-BETTER\r\nc SELECT INBOX\r\n"
            b"d CLOSE\r\ne ENABLE X-BETTER\r\n"
        )
        self.assertIn(b"* ENABLED X-BETTER\r\nb OK ENABLE completed\r\n", answer)
        self.assertTrue(answer.endswith(b"* ENABLED\r\ne OK ENABLE completed\r\n"))
