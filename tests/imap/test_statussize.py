"""
STATUS=SIZE (RFC 8438): C{twisted_mailstack.imap.extensions.statussize}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, now


class StatusSizeTests(SynchronousTestCase):
    """
    §3.
    """

    def test_size(self) -> None:
        """It is the sum of RFC822.SIZE, also after an expunge, and beyond 32 bits no less."""
        server = Server()
        server.deliver(b"x" * 70_000)
        server.deliver(MESSAGE, flags=["\\Deleted"])
        client = server.login()
        client.check(
            f"""
            C: A01 STATUS INBOX (MESSAGES SIZE UIDNEXT)
            S: * STATUS INBOX (MESSAGES 2 SIZE {70_000 + len(MESSAGE)} UIDNEXT 3)
            S: A01 OK STATUS completed
            C: A02 STATUS Drafts (size)
            S: * STATUS Drafts (SIZE 0)
            S: A02 OK STATUS completed
            """
        )
        now(now(server.account.openMailbox("INBOX")).expunge(None))
        client.check(
            """
            C: A03 STATUS INBOX (SIZE DELETED)
            S: * STATUS INBOX (SIZE 70000 DELETED 0)
            S: A03 OK STATUS completed
            """
        )

    def test_large(self) -> None:
        """A number of 63 bits is told whole."""
        server = Server()
        mailbox = type(now(server.account.openMailbox("INBOX")))
        status = now(now(server.account.openMailbox("INBOX")).status())

        async def huge(self: object) -> object:
            return status._replace(octets=2**63 - 1)

        self.patch(mailbox, "status", huge)
        server.login().check(
            """
            C: a STATUS INBOX (SIZE)
            S: * STATUS INBOX (SIZE 9223372036854775807)
            S: a OK STATUS completed
            """
        )
