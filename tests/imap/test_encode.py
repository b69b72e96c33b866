"""
Writing responses: C{twisted_mailstack.imap.encode}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import InvalidMailboxName
from twisted_mailstack.imap.encode import astring, flagList, mailbox, string
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.model.flags import SYSTEM_FLAGS, internFlags
from twisted_mailstack.model.mailboxname import normaliseName

OCTETS = st.binary(max_size=60).map(lambda value: value.replace(b"\0", b""))


class EncodeTests(SynchronousTestCase):
    """
    What is written is what a client reads (RFC 3501 §9).
    """

    def test_string(self) -> None:
        """Quoted where it can be, a synchronising literal where it can't, NIL for none."""
        for value, written in (
            (None, b"NIL"),
            (b"", b'""'),
            (b"NIL", b'"NIL"'),
            (b'a "b" \\', rb'"a \"b\" \\"'),
            (b"a\r\nb", b"{4}\r\na\r\nb"),
            (b"a\nb", b"{3}\r\na\nb"),
            ("ä".encode(), b"{2}\r\n\xc3\xa4"),
        ):
            self.assertEqual(string(value), written)

    def test_astring(self) -> None:
        """An atom only where nobody can take it for anything else."""
        for value, written in (
            (b"INBOX", b"INBOX"),
            (b"a/b.c-d_e", b"a/b.c-d_e"),
            (b"", b'""'),
            (b"nil", b'"nil"'),
            (b"a b", b'"a b"'),
            (b"a]", b'"a]"'),
            (b"a*", b'"a*"'),
            (b"a{3}", b'"a{3}"'),
            (b"a\n", b"{2}\r\na\n"),
        ):
            self.assertEqual(astring(value), written)

    @given(OCTETS)
    def test_octets(self, value: bytes) -> None:
        """Any octets but NUL are read as they were written."""
        self.assertEqual(Cursor(string(value)).string(), value)
        self.assertEqual(Cursor(astring(value)).astring(), value)

    def test_mailbox(self) -> None:
        """Names are told in modified UTF-7, or in UTF-8 to a session that speaks it."""
        for name, written, inUTF8 in (
            ("INBOX", b"INBOX", b"INBOX"),
            ("Sent Mail", b'"Sent Mail"', b'"Sent Mail"'),
            ("R&D", b"R&-D", b"R&D"),
            ("台北日本語", b"&U,BTF2XlZyyKng-", '"台北日本語"'.encode()),
            ('"My"\\', rb'"\"My\"\\"', rb'"\"My\"\\"'),
        ):
            self.assertEqual(mailbox(name), written)
            self.assertEqual(mailbox(name, True), inUTF8)

    @given(st.text(min_size=1, max_size=30))
    def test_anyMailbox(self, name: str) -> None:
        """A name that a mailbox can have is understood when the client sends it back."""
        try:
            name = normaliseName(name)
        except InvalidMailboxName:
            return
        self.assertEqual(Cursor(mailbox(name)).mailbox(), name)
        cursor = Cursor(mailbox(name, True))
        cursor.utf8 = True
        self.assertEqual(cursor.mailbox(), name)

    def test_flagList(self) -> None:
        r"""System flags first, as the RFC lists them; C{\Recent} where the session has it."""
        flags = internFlags({*SYSTEM_FLAGS, "$B", "a"})
        self.assertEqual(flagList(flags), rb"(\Answered \Flagged \Deleted \Seen \Draft $B a)")
        self.assertEqual(flagList(internFlags(())), b"()")
        self.assertEqual(flagList(internFlags({"\\Seen"}), True), rb"(\Recent \Seen)")
        self.assertEqual(flagList(internFlags(()), True), rb"(\Recent)")
        self.assertEqual(Cursor(flagList(flags)).flagList(), flags)
