"""
SELECT, EXAMINE, CLOSE, CHECK: C{twisted_mailstack.imap.commands.selection}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from twisted_mailstack.errors import NoSuchMailbox

FLAGS = r"""
S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] Flags that are kept
"""
READ_ONLY_FLAGS = r"""
S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
S: * OK [PERMANENTFLAGS ()] Flags that are kept
"""


class SelectionTestCase(SynchronousTestCase):
    """
    A session that is logged in.
    """

    def setUp(self) -> None:
        """Nothing is selected."""
        self.server = Server()
        self.client = self.server.login()

    def check(self, script: str, flags: str = FLAGS) -> None:
        """
        See L{Conversation.check}; C{FLAGS} stands for its two responses.
        """
        lines = [line.strip() for line in script.splitlines()]
        self.client.check("\n".join(flags if line == "FLAGS" else line for line in lines))


class SelectTests(SelectionTestCase):
    """
    RFC 3501 §6.3.1.
    """

    def test_responses(self) -> None:
        """All REQUIRED responses: what is there, what is recent, the first unseen one."""
        self.server.deliver(flags=["\\Seen"])
        self.server.deliver()
        self.server.deliver()
        self.check(
            """
            C: A142 SELECT INBOX
            FLAGS
            S: * 3 EXISTS
            S: * 3 RECENT
            S: * OK [UNSEEN 2] First unseen
            S: * OK [UIDVALIDITY 1] UIDs valid
            S: * OK [UIDNEXT 4] Predicted next UID
            S: * OK [MAILBOXID (M1-1)] Ok
            S: * OK [ANNOTATIONS 16384] Annotations of messages
            S: * OK [HIGHESTMODSEQ 10] Highest mailbox mod-sequence
            S: A142 OK [READ-WRITE] selected
            """
        )

    def test_empty(self) -> None:
        """There is no first unseen message in an empty mailbox."""
        self.check(
            """
            C: a SELECT Sent
            FLAGS
            S: * 0 EXISTS
            S: * 0 RECENT
            S: * OK [UIDVALIDITY 3] UIDs valid
            S: * OK [UIDNEXT 1] Predicted next UID
            S: * OK [MAILBOXID (M1-3)] Ok
            S: * OK [ANNOTATIONS 16384] Annotations of messages
            S: * OK [HIGHESTMODSEQ 4] Highest mailbox mod-sequence
            S: a OK [READ-WRITE] selected
            """
        )

    def test_keywords(self) -> None:
        """The keywords of the mailbox are among its flags."""
        self.server.deliver(flags=["$Forwarded", "\\Seen"])
        answer = self.client.send(b"a SELECT INBOX\r\n")
        self.assertIn(
            rb"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded)" b"\r\n", answer
        )
        self.assertIn(
            rb"[PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded \*)]", answer
        )

    def test_uidNext(self) -> None:
        """UIDNEXT stays above UIDs that are gone."""
        self.server.deliver()
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.expunge(None, False))
        answer = self.client.send(b"a SELECT INBOX\r\n")
        self.assertIn(b"* 0 EXISTS\r\n", answer)
        self.assertIn(b"* OK [UIDNEXT 2] ", answer)

    def test_names(self) -> None:
        """Any form of the name."""
        now(self.server.account.createMailbox("Entwürfe/a b"))
        for name in (b"inbox", b'"InBox"', b"{5+}\r\nINBOX", b'"Entw&APw-rfe/a b"', b"sent"):
            answer = self.client.send(b"a SELECT " + name + b"\r\n")
            self.assertEqual(b"a OK [READ-WRITE] " in answer, name != b"sent", name)

    def test_recentOnce(self) -> None:
        r"""C{\Recent} goes to the first session that selects, and to no other."""
        self.server.deliver()
        self.assertIn(b"* 1 RECENT\r\n", self.client.send(b"a SELECT INBOX\r\n"))
        self.check(
            r"""
            C: b FETCH 1 FLAGS
            S: * 1 FETCH (FLAGS (\Recent))
            S: b OK FETCH completed
            """
        )
        for client in (self.client, self.server.login()):
            self.assertIn(b"* 0 RECENT\r\n", client.send(b"c SELECT INBOX\r\n"))

    def test_missing(self) -> None:
        """
        "If a mailbox is selected and a SELECT command that fails is attempted, no mailbox is
        selected."
        """
        self.client.send(b"a SELECT INBOX\r\n")
        for command in (b"SELECT", b"EXAMINE"):
            self.client.send(b"a SELECT INBOX\r\n")
            self.assertEqual(
                self.client.send(b"b " + command + b" missing\r\n"),
                b"* OK [CLOSED] Previous mailbox closed\r\nb NO [NONEXISTENT] No such mailbox\r\n",
            )
            self.assertEqual(self.client.send(b"c CHECK\r\n"), b"c BAD Not when authenticated\r\n")

    def test_malformed(self) -> None:
        """One that is BAD "never changes the state of the connection" (§6)."""
        self.client.send(b"a SELECT INBOX\r\n")
        for command in (b"SELECT", b"SELECT missing x", b"SELECT INBOX (CONDSTORE"):
            self.assertRegex(self.client.send(b"b " + command + b"\r\n"), rb"^b BAD ")
        self.assertEqual(self.client.send(b"c CHECK\r\n"), b"c OK CHECK completed\r\n")

    def test_notSelectable(self) -> None:
        """A name that only holds others can't be selected."""
        now(self.server.account.createMailbox("a/b"))
        now(self.server.account.deleteMailbox("a"))
        self.check(
            """
            C: a SELECT a
            S: a NO That mailbox cannot be selected
            C: b CHECK
            S: b BAD Not when authenticated
            """
        )

    def test_again(self) -> None:
        """Selecting another, or the same, closes the first without expunging."""
        self.server.deliver(flags=["\\Deleted"])
        self.client.send(b"a SELECT INBOX\r\n")
        answer = self.client.send(b"b SELECT Sent\r\n")
        self.assertIn(b"* 0 EXISTS\r\n", answer)
        self.server.deliver()
        self.assertEqual(self.client.send(b"c NOOP\r\n"), b"c OK NOOP completed\r\n")
        answer = self.client.send(b"d SELECT INBOX\r\ne SELECT INBOX\r\n")
        self.assertEqual(answer.count(b"* 2 EXISTS\r\n"), 2)

    def test_afterExamine(self) -> None:
        """Read-only is a matter of the last selection."""
        self.server.deliver()
        self.client.send(b"a EXAMINE INBOX\r\nb SELECT INBOX\r\n")
        self.check(
            r"""
            C: c STORE 1 FLAGS (\Seen)
            S: * 1 FETCH (FLAGS (\Recent \Seen))
            S: c OK STORE completed
            """
        )

    def test_deletedMeanwhile(self) -> None:
        """A mailbox that vanishes while it is being selected isn't selected."""

        async def openMailbox(name: str) -> object:
            mailbox = await original(name)
            await account.deleteMailbox(name)
            return mailbox

        account = self.server.account
        original = account.openMailbox
        self.patch(account, "openMailbox", openMailbox)
        self.check(
            """
            C: a SELECT Sent
            S: a NO [NONEXISTENT] No such mailbox
            C: b CHECK
            S: b BAD Not when authenticated
            """
        )
        with self.assertRaises(NoSuchMailbox):
            now(original("Sent"))


class ExamineTests(SelectionTestCase):
    """
    RFC 3501 §6.3.2.
    """

    def test_responses(self) -> None:
        """As SELECT, with no permanent flags and [READ-ONLY]; recent messages stay recent."""
        self.server.deliver(flags=["\\Seen"])
        self.server.deliver()
        for _ in range(2):
            self.check(
                """
                C: A932 EXAMINE inbox
                FLAGS
                S: * 2 EXISTS
                S: * 2 RECENT
                S: * OK [UNSEEN 2] First unseen
                S: * OK [UIDVALIDITY 1] UIDs valid
                S: * OK [UIDNEXT 3] Predicted next UID
                S: * OK [MAILBOXID (M1-1)] Ok
                S: * OK [ANNOTATIONS READ-ONLY] Annotations of messages
                S: * OK [HIGHESTMODSEQ 9] Highest mailbox mod-sequence
                S: A932 OK [READ-ONLY] examined
                """,
                READ_ONLY_FLAGS,
            )
            self.client.send(b"x UNSELECT\r\n")
        self.assertIn(b"* 2 RECENT\r\n", self.client.send(b"a SELECT INBOX\r\n"))

    def test_changesNothing(self) -> None:
        r"""No command changes the mailbox: no flags, not C{\Seen} by reading, no expunging."""
        self.server.deliver(flags=["\\Deleted"])
        self.client.send(b"a EXAMINE INBOX\r\n")
        for command in (
            rb"STORE 1 +FLAGS (\Seen)", rb"UID STORE 1 FLAGS ()", b"EXPUNGE", b"UID EXPUNGE 1",
            b"MOVE 1 Sent", b"UID MOVE 1 Sent",
        ):  # fmt: skip
            self.assertRegex(self.client.send(b"b " + command + b"\r\n"), rb"^b NO ", command)
        self.assertIn(b"c OK", self.client.send(b"c FETCH 1 BODY[TEXT]\r\nd CLOSE\r\n"))
        answer = self.client.send(b"e SELECT INBOX\r\nf FETCH 1 FLAGS\r\n")
        self.assertIn(rb"* 1 FETCH (FLAGS (\Recent \Deleted))", answer)

    def test_copy(self) -> None:
        """What changes another mailbox is allowed."""
        self.server.deliver()
        self.client.send(b"a EXAMINE INBOX\r\n")
        self.check(
            """
            C: b COPY 1 Sent
            S: b OK [COPYUID 3 1 1] COPY completed
            """
        )


class CloseTests(SelectionTestCase):
    """
    RFC 3501 §6.4.2, §6.4.1.
    """

    def test_close(self) -> None:
        """Deleted messages go without a word; then no mailbox is selected."""
        self.server.deliver(flags=["\\Deleted"])
        self.server.deliver()
        self.client.send(b"a SELECT INBOX\r\n")
        self.check(
            """
            C: A341 CLOSE
            S: A341 OK CLOSE completed
            C: b CHECK
            S: b BAD Not when authenticated
            C: c STATUS INBOX (MESSAGES)
            S: * STATUS INBOX (MESSAGES 1)
            S: c OK STATUS completed
            """
        )

    def test_readOnly(self) -> None:
        """After EXAMINE "no messages are removed, and no error is given"."""
        self.server.deliver(flags=["\\Deleted"])
        self.client.send(b"a EXAMINE INBOX\r\n")
        self.check(
            """
            C: A341 CLOSE
            S: A341 OK CLOSE completed
            C: c STATUS INBOX (MESSAGES)
            S: * STATUS INBOX (MESSAGES 1)
            S: c OK STATUS completed
            """
        )

    def test_failure(self) -> None:
        """If nothing can be expunged, the mailbox stays selected."""
        self.client.send(b"a SELECT INBOX\r\n")

        def broken(*_: object) -> None:
            raise OSError("disk")

        mailbox = type(now(self.server.account.openMailbox("INBOX")))
        self.patch(mailbox, "expunge", broken)
        self.check(
            """
            C: b CLOSE
            S: b NO [SERVERBUG] internal error, try later
            C: c CHECK
            S: c OK CHECK completed
            """
        )
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_check(self) -> None:
        """CHECK succeeds, and tells what is new as any command does."""
        self.client.send(b"a SELECT INBOX\r\n")
        self.check(
            """
            C: FXXZ CHECK
            S: FXXZ OK CHECK completed
            """
        )
        self.server.deliver()
        self.check(
            """
            C: FXXY CHECK
            S: * 1 EXISTS
            S: * 1 RECENT
            S: FXXY OK CHECK completed
            """
        )
