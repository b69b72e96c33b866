"""
XLIST: C{twisted_mailstack.imap.extensions.xlist}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now


class XListTests(SynchronousTestCase):
    """
    LIST for clients from before RFC 6154.
    """

    def setUp(self) -> None:
        """A session that is logged in."""
        self.server = Server()
        self.client = self.server.login()

    def test_attributes(self) -> None:
        """INBOX and the special uses are told by the names that such clients know."""
        now(self.server.account.createMailbox("All Mail", "\\All"))
        now(self.server.account.createMailbox("Starred", "\\Flagged \\Important"))
        self.client.check(
            r"""
            C: a XLIST "" "%"
            S: * XLIST (\HasNoChildren \Inbox) "/" INBOX
            S: * XLIST (\HasNoChildren \AllMail) "/" "All Mail"
            S: * XLIST (\HasNoChildren \Archive) "/" Archive
            S: * XLIST (\HasNoChildren \Drafts) "/" Drafts
            S: * XLIST (\HasNoChildren \Spam) "/" Junk
            S: * XLIST (\HasNoChildren \Sent) "/" Sent
            S: * XLIST (\HasNoChildren \Starred \Important) "/" Starred
            S: * XLIST (\HasNoChildren \Trash) "/" Trash
            S: a OK XLIST completed
            """
        )

    def test_arguments(self) -> None:
        """They are those of LIST, without options."""
        self.client.check(
            r"""
            C: a XLIST "" ""
            S: * XLIST (\Noselect) "/" ""
            S: a OK XLIST completed
            C: b XLIST "" "S*"
            S: * XLIST (\HasNoChildren \Sent) "/" Sent
            S: b OK XLIST completed
            C: c LIST "" Junk
            S: * LIST (\HasNoChildren \Junk) "/" Junk
            S: c OK LIST completed
            """
        )
        for arguments in ('(SUBSCRIBED) "" *', '"" (a b)', '"" * RETURN ()', '""', '"" * x'):
            answer = self.client.send(f"a XLIST {arguments}\r\n".encode())
            self.assertRegex(answer, rb"^a BAD ")
