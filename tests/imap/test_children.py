"""
CHILDREN (RFC 3348): C{twisted_mailstack.imap.extensions.children}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now


class ChildrenTests(SynchronousTestCase):
    """
    Which mailboxes have children.
    """

    def setUp(self) -> None:
        """RFC 3348 §3's hierarchy."""
        self.server = Server()
        for name in ("Drafts", "Sent", "Junk", "Trash", "Archive"):
            now(self.server.account.deleteMailbox(name))
        for name in ("ITEM_1/ITEM_1A", "ITEM_2/TOP"):
            now(self.server.account.createMailbox(name))
        self.client = self.server.login()

    def test_example(self) -> None:
        """Each name has one of the two attributes, whether its children are listed or not."""
        self.client.check(
            r"""
            C: A001 LIST "" *
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * LIST (\HasChildren) "/" ITEM_1
            S: * LIST (\HasNoChildren) "/" ITEM_1/ITEM_1A
            S: * LIST (\HasChildren) "/" ITEM_2
            S: * LIST (\HasNoChildren) "/" ITEM_2/TOP
            S: A001 OK LIST completed
            C: A002 LIST "" %
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * LIST (\HasChildren) "/" ITEM_1
            S: * LIST (\HasChildren) "/" ITEM_2
            S: A002 OK LIST completed
            """
        )

    def test_grandchildren(self) -> None:
        """Those of INBOX too, and a child's child is none without the child."""
        now(self.server.account.createMailbox("INBOX/a/b"))
        now(self.server.account.createMailbox("ITEM_10"))
        self.client.check(
            r"""
            C: a LIST "" INBOX*
            S: * LIST (\HasChildren) "/" INBOX
            S: * LIST (\HasChildren) "/" INBOX/a
            S: * LIST (\HasNoChildren) "/" INBOX/a/b
            S: a OK LIST completed
            C: b DELETE INBOX/a/b
            S: b OK DELETE completed
            C: c LIST "" INBOX*
            S: * LIST (\HasChildren) "/" INBOX
            S: * LIST (\HasNoChildren) "/" INBOX/a
            S: c OK LIST completed
            C: d DELETE ITEM_1/ITEM_1A
            S: d OK DELETE completed
            C: e LIST "" ITEM_1
            S: * LIST (\HasNoChildren) "/" ITEM_1
            S: e OK LIST completed
            """
        )

    def test_noselect(self) -> None:
        r"""With C{\Noselect}; a name that was only subscribed is nobody's child."""
        self.client.check(
            r"""
            C: a DELETE ITEM_1
            S: a OK DELETE completed
            C: b SUBSCRIBE ITEM_2/TOP/secret
            S: b OK SUBSCRIBE completed
            C: c LIST "" ITEM_*
            S: * LIST (\Noselect \HasChildren) "/" ITEM_1
            S: * LIST (\HasNoChildren) "/" ITEM_1/ITEM_1A
            S: * LIST (\HasChildren) "/" ITEM_2
            S: * LIST (\HasNoChildren) "/" ITEM_2/TOP
            S: c OK LIST completed
            """
        )
