"""
UNSELECT (RFC 3691): C{twisted_mailstack.imap.extensions.unselect}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server


class UnselectTests(SynchronousTestCase):
    """
    CLOSE that expunges nothing.
    """

    def test_example(self) -> None:
        """§2: the session is in the authenticated state again, and all messages are there."""
        for command in ("SELECT", "EXAMINE"):
            server = Server()
            server.deliver(flags=["\\Deleted"])
            server.select(command=command).check(
                """
                C: A341 UNSELECT
                S: A341 OK UNSELECT completed
                C: A342 CHECK
                S: A342 BAD Not when authenticated
                C: A343 STATUS INBOX (MESSAGES)
                S: * STATUS INBOX (MESSAGES 1)
                S: A343 OK STATUS completed
                """
            )

    def test_refused(self) -> None:
        """BAD without a selected mailbox, and with an argument."""
        server = Server()
        server.login().check(
            """
            C: a UNSELECT
            S: a BAD Not when authenticated
            """
        )
        server.select().check(
            """
            C: a UNSELECT INBOX
            S: a BAD Unexpected text at the end of the command
            C: b CHECK
            S: b OK CHECK completed
            """
        )

    def test_nothingMoreIsTold(self) -> None:
        """News of the mailbox isn't told any more."""
        server = Server()
        client = server.select()
        client.send(b"a UNSELECT\r\n")
        server.deliver()
        self.assertEqual(client.send(b"b NOOP\r\n"), b"b OK NOOP completed\r\n")
