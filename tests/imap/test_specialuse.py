"""
SPECIAL-USE (RFC 6154): C{twisted_mailstack.imap.extensions.specialuse}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now


class SpecialUseTests(SynchronousTestCase):
    """
    Which mailbox is for what.
    """

    def setUp(self) -> None:
        """A session that is logged in."""
        self.server = Server()
        self.client = self.server.login()

    def test_list(self) -> None:
        """RFC 6154 §5.1: an ordinary LIST shows it, for the mailboxes every account has."""
        self.client.check(
            r"""
            C: t1 LIST "" "%"
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * LIST (\HasNoChildren \Archive) "/" Archive
            S: * LIST (\HasNoChildren \Drafts) "/" Drafts
            S: * LIST (\HasNoChildren \Junk) "/" Junk
            S: * LIST (\HasNoChildren \Sent) "/" Sent
            S: * LIST (\HasNoChildren \Trash) "/" Trash
            S: t1 OK LIST completed
            """
        )

    def test_return(self) -> None:
        """§5.2: a client may ask for it."""
        self.client.check(
            r"""
            C: t2 LIST "" "s%" RETURN (SPECIAL-USE)
            S: t2 OK LIST completed
            C: t3 list "" S% return (special-use)
            S: * LIST (\HasNoChildren \Sent) "/" Sent
            S: t3 OK LIST completed
            C: t4 LIST "" INBOX RETURN ()
            S: * LIST (\HasNoChildren) "/" INBOX
            S: t4 OK LIST completed
            """
        )

    def test_select(self) -> None:
        """§5.2: or for those alone that have one, wherever they are."""
        now(self.server.account.deleteMailbox("Junk"))
        now(self.server.account.renameMailbox("Trash", "Old/Bin"))
        self.client.check(
            r"""
            C: t3 LIST (SPECIAL-USE) "" "*"
            S: * LIST (\HasNoChildren \Archive) "/" Archive
            S: * LIST (\HasNoChildren \Drafts) "/" Drafts
            S: * LIST (\HasNoChildren \Trash) "/" Old/Bin
            S: * LIST (\HasNoChildren \Sent) "/" Sent
            S: t3 OK LIST completed
            C: t4 LIST (special-use) "" "%" RETURN (SPECIAL-USE)
            S: * LIST (\HasNoChildren \Archive) "/" Archive
            S: * LIST (\HasNoChildren \Drafts) "/" Drafts
            S: * LIST (\HasNoChildren \Sent) "/" Sent
            S: t4 OK LIST completed
            C: t5 LIST () "" INBOX
            S: * LIST (\HasNoChildren) "/" INBOX
            S: t5 OK LIST completed
            """
        )

    def test_emptyName(self) -> None:
        """With options, an empty name isn't the question for the delimiter (RFC 5258 §3)."""
        for command in ('LIST (SPECIAL-USE) "" ""', 'LIST "" "" RETURN (SPECIAL-USE)'):
            self.assertEqual(
                self.client.send(f"a {command}\r\n".encode()), b"a OK LIST completed\r\n"
            )

    def test_unknownOptions(self) -> None:
        """What isn't offered is BAD."""
        for arguments in (
            '(XUSE) "" *', '(SPECIAL-USE XUSE) "" *', '"" * RETURN (XUSE)',
            '(SPECIAL-USE)"" *', '(SPECIAL-USE ) "" *', '(SPECIAL-USE', '"" * RETURN(SPECIAL-USE)',
            '"" * (SPECIAL-USE)',
        ):  # fmt: skip
            self.assertRegex(self.client.send(f"a LIST {arguments}\r\n".encode()), rb"^a BAD ")
