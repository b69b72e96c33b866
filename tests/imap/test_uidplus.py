"""
UIDPLUS (RFC 4315): C{twisted_mailstack.imap.extensions.uidplus}, and what APPEND and COPY tell for
it.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server


class UidPlusTests(SynchronousTestCase):
    """
    UIDs that the client needn't look for.
    """

    def setUp(self) -> None:
        """Six messages, three of them deleted."""
        self.server = Server()
        for number in range(6):
            self.server.deliver(flags=["\\Deleted"] if number in (1, 3, 5) else [])

    def test_uidExpunge(self) -> None:
        """Only what is both deleted and named goes (§2.1)."""
        self.server.select().check(
            r"""
            C: A003 UID EXPUNGE 1:4
            S: * 4 EXPUNGE
            S: * 2 EXPUNGE
            S: A003 OK UID EXPUNGE completed
            C: b UID SEARCH ALL
            S: * SEARCH 1 3 5 6
            S: b OK UID SEARCH completed
            C: c UID EXPUNGE 3000:3002,1
            S: c OK UID EXPUNGE completed
            C: d UID EXPUNGE *
            S: * 4 EXPUNGE
            S: d OK UID EXPUNGE completed
            """
        )

    def test_others(self) -> None:
        """Other sessions are told."""
        other = self.server.select()
        self.server.select().send(b"a UID EXPUNGE 2,6\r\n")
        other.check(
            """
            C: a NOOP
            S: * 6 EXPUNGE
            S: * 2 EXPUNGE
            S: a OK NOOP completed
            """
        )

    def test_refused(self) -> None:
        """Read-only: NO. Without a set, or a mailbox: BAD."""
        client = self.server.select(command="EXAMINE")
        self.assertRegex(client.send(b"a UID EXPUNGE 1:*\r\n"), rb"^a NO ")
        client = self.server.select()
        for arguments in (b"", b" ", b" 0", b" 1 2", b" x", b" (1)", b" 1:"):
            self.assertRegex(client.send(b"a UID EXPUNGE" + arguments + b"\r\n"), rb"^a BAD ")
        self.assertRegex(self.server.login().send(b"a UID EXPUNGE 1\r\n"), rb"^a BAD ")

    def test_emptyMailbox(self) -> None:
        """In an empty mailbox there is nothing to expunge."""
        client = self.server.select("Sent")
        for numbers in (b"1:*", b"*", b"5"):
            self.assertEqual(
                client.send(b"a UID EXPUNGE " + numbers + b"\r\n"),
                b"a OK UID EXPUNGE completed\r\n",
            )

    def test_example(self) -> None:
        """§3's example: APPENDUID has one UID, COPYUID two sets; none where nothing is copied."""
        client = self.server.login()
        client.check(
            """
            C: a CREATE meeting
            S: a OK [MAILBOXID (M1-14)] CREATE completed
            C: A003 APPEND meeting (\\Seen) {3}
            S: + Ready
            C: abc
            S: A003 OK [APPENDUID 7 1] APPEND completed
            """
        )
        client.send(b"b SELECT INBOX\r\nc UID EXPUNGE 2\r\n")
        client.check(
            """
            C: A004 COPY 1:3 meeting
            S: A004 OK [COPYUID 7 1,3:4 2:4] COPY completed
            C: A005 UID COPY 305:310 meeting
            S: A005 OK nothing to copy
            """
        )

    def test_sticky(self) -> None:
        """UIDs persist, so nobody is told UIDNOTSTICKY (§3)."""
        self.assertNotIn(b"UIDNOTSTICKY", self.server.login().send(b"a SELECT INBOX\r\n"))
