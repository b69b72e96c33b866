"""
CREATE-SPECIAL-USE (RFC 6154 §3): C{twisted_mailstack.imap.extensions.createspecialuse}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from twisted_mailstack.imap.registry import EXTENSIONS


class CreateSpecialUseTests(SynchronousTestCase):
    """
    CREATE with USE.
    """

    def setUp(self) -> None:
        """An account without Drafts and Sent."""
        self.server = Server()
        for name in ("Drafts", "Sent"):
            now(self.server.account.deleteMailbox(name))
        self.client = self.server.login()

    def test_example(self) -> None:
        r"""§5.3: several uses of one mailbox; C{\All} isn't supported."""
        self.client.check(
            r"""
            C: t2 CREATE MySpecial (USE (\Drafts \Sent))
            S: t2 OK [MAILBOXID (M1-7)] CREATE completed
            C: t3 CREATE Everything (USE (\All))
            S: t3 NO [USEATTR] \All is not supported
            C: t4 LIST (SPECIAL-USE) "" M%
            S: * LIST (\HasNoChildren \Drafts \Sent) "/" MySpecial
            S: t4 OK LIST completed
            C: t5 LIST "" Every%
            S: t5 OK LIST completed
            """
        )

    def test_important(self) -> None:
        r"""RFC 8457 §3.2.2: C{\Important}; a second mailbox for it is refused."""
        self.client.check(
            r"""
            C: t1 CREATE "Important Messages" (use (\IMPORTANT \important))
            S: t1 OK [MAILBOXID (M1-7)] CREATE completed
            C: t2 LIST "" "Imp*"
            S: * LIST (\HasNoChildren \Important) "/" "Important Messages"
            S: t2 OK LIST completed
            C: t3 CREATE More (USE (\Important))
            S: t3 NO [USEATTR] Another mailbox has that special use
            """
        )

    def test_refused(self) -> None:
        """§3: whatever can't be had, the mailbox isn't made, nor one above it."""
        for uses in (r"\Flagged", r"\Trash", r"\Drafts \Trash", r"\Drafts \Other", r"\Inbox"):
            answer = self.client.send(f"a CREATE a/b (USE ({uses}))\r\n".encode())
            self.assertRegex(answer, rb"^a NO \[USEATTR\] ")
        self.assertRegex(
            self.client.send(b"a CREATE Trash (USE (\\Drafts))\r\n"), rb"^a NO \[ALREADYEXISTS\] "
        )
        self.assertEqual(self.client.send(b'a LIST "" a*\r\n'), b"a OK LIST completed\r\n")
        self.assertEqual(
            self.client.send(b'a LIST (SPECIAL-USE) "" Trash\r\n'),
            b'* LIST (\\HasNoChildren \\Trash) "/" Trash\r\na OK LIST completed\r\n',
        )

    def test_none(self) -> None:
        """The list of uses may be empty."""
        self.client.check(
            r"""
            C: a CREATE plain (USE ())
            S: a OK [MAILBOXID (M1-7)] CREATE completed
            C: b LIST (SPECIAL-USE) "" plain
            S: b OK LIST completed
            """
        )

    def test_syntax(self) -> None:
        """§6, and RFC 4466 §2.2: each parameter once, and none that isn't known."""
        for parameters in (
            r"(USE \Drafts)", r"USE (\Drafts)", r"(USE (\Drafts)", r"(USE (Drafts))", "()", "(USE)",
            r"(USE (\Drafts) USE (\Sent))", r"(USE (\Drafts) )", r"( USE (\Drafts))", "(FOO (x))",
            r"(USE (\Drafts  \Sent))", r"(USE(\Drafts))", r"(USE (\Drafts)) x", r"(USE (\))", "",
            "(USE (\\Drafts)(\\Sent))",
        ):  # fmt: skip
            answer = self.client.send(f"a CREATE new {parameters}\r\n".encode())
            self.assertRegex(answer, rb"^a BAD ", parameters)
        self.assertEqual(self.client.send(b'a LIST "" new\r\n'), b"a OK LIST completed\r\n")

    def test_without(self) -> None:
        """Without the extension it is a syntax error, and nothing is made."""
        kept = [each for each in EXTENSIONS if each.capability != b"CREATE-SPECIAL-USE"]
        client = Server(extensions=kept).login()
        self.assertRegex(client.send(b"t2 CREATE My (USE (\\Drafts))\r\n"), rb"^t2 BAD ")
        self.assertEqual(client.send(b'a LIST "" My*\r\n'), b"a OK LIST completed\r\n")
