"""
APPENDLIMIT: C{twisted_mailstack.imap.extensions.appendlimit}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server


class AppendLimitTests(SynchronousTestCase):
    """
    RFC 7889.
    """

    def test_capability(self) -> None:
        """§2 (a): one limit for all mailboxes, told with its value, before login too."""
        server = Server(maxMessageOctets=257890)
        client = server.connect()
        self.assertRegex(client.wire.take(), rb" APPENDLIMIT=257890[ \]]")
        self.assertRegex(server.login().send(b"t1 CAPABILITY\r\n"), rb" APPENDLIMIT=257890[ \r]")

    def test_status(self) -> None:
        """§3.1; a mailbox must be there."""
        Server(maxMessageOctets=257890).login().check(
            """
            C: t1 STATUS INBOX (APPENDLIMIT)
            S: * STATUS INBOX (APPENDLIMIT 257890)
            S: t1 OK STATUS completed
            C: t2 status INBOX (messages appendlimit)
            S: * STATUS INBOX (MESSAGES 0 APPENDLIMIT 257890)
            S: t2 OK STATUS completed
            C: t3 STATUS missing (APPENDLIMIT)
            S: t3 NO [NONEXISTENT] No such mailbox
            """
        )

    def test_refused(self) -> None:
        """§4: "reject the APPEND command with a tagged TOOBIG response code"."""
        Server(maxMessageOctets=5).login().check(
            """
            C: a APPEND INBOX {6}
            S: a NO [TOOBIG] Message exceeds the size limit
            C: b APPEND INBOX {5}
            S: + Ready
            C: 12345
            S: b OK [APPENDUID 1 1] APPEND completed
            """
        )
