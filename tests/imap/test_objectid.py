"""
OBJECTID (RFC 8474): C{twisted_mailstack.imap.extensions.objectid}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server


class MailboxIdTests(SynchronousTestCase):
    """
    §4.
    """

    def test_example(self) -> None:
        """§4.1 and §4.3: a mailbox has one from CREATE on, and keeps it through RENAME."""
        Server().login().check(
            """
            C: 3 create foo
            S: 3 OK [MAILBOXID (M1-7)] CREATE completed
            C: 4 create bar
            S: 4 OK [MAILBOXID (M1-8)] CREATE completed
            C: 5 create foo
            S: 5 NO [ALREADYEXISTS] That mailbox exists already
            C: 6 status foo (mailboxid)
            S: * STATUS foo (MAILBOXID (M1-7))
            S: 6 OK STATUS completed
            C: 7 status bar (mailboxid)
            S: * STATUS bar (MAILBOXID (M1-8))
            S: 7 OK STATUS completed
            C: 8 rename foo renamed
            S: 8 OK RENAME completed
            C: 9 status renamed (mailboxid)
            S: * STATUS renamed (MAILBOXID (M1-7))
            S: 9 OK STATUS completed
            C: 10 delete renamed
            S: 10 OK DELETE completed
            C: 11 create foo
            S: 11 OK [MAILBOXID (M1-9)] CREATE completed
            """
        )

    def test_list(self) -> None:
        """§4.3: with LIST-STATUS."""
        Server().login().check(
            r"""
            C: 11 list "" (INBOX Sent) return (status (mailboxid))
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * STATUS INBOX (MAILBOXID (M1-1))
            S: * LIST (\HasNoChildren \Sent) "/" Sent
            S: * STATUS Sent (MAILBOXID (M1-3))
            S: 11 OK LIST completed
            """
        )

    def test_select(self) -> None:
        """§4.2: an untagged OK in answer to SELECT and EXAMINE, whenever they succeed."""
        client = Server().login()
        for command, number in (("SELECT inbox", 1), ("EXAMINE Sent", 3), ("SELECT Sent", 3)):
            answer = client.send(f"27 {command}\r\n".encode())
            self.assertEqual(answer.count(b"MAILBOXID"), 1)
            self.assertIn(b"\r\n* OK [MAILBOXID (M1-%d)] Ok\r\n" % number, answer)
            self.assertLess(answer.index(b"MAILBOXID"), answer.index(b"\r\n27 OK "))
        self.assertNotIn(b"MAILBOXID", client.send(b"28 SELECT Missing\r\n"))

    def test_renameInbox(self) -> None:
        """§4: renaming INBOX makes a new mailbox, and INBOX is the one it was."""
        Server().login().check(
            """
            C: a RENAME INBOX old
            S: a OK RENAME completed
            C: b STATUS INBOX (MAILBOXID)
            S: * STATUS INBOX (MAILBOXID (M1-1))
            S: b OK STATUS completed
            C: c STATUS old (MAILBOXID)
            S: * STATUS old (MAILBOXID (M1-7))
            S: c OK STATUS completed
            """
        )
