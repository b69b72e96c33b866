"""
UIDONLY (RFC 9586).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from twisted_mailstack.imap.registry import COMMANDS, EXTENSIONS
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.conversation import Conversation

#: Arguments for every command that takes or gives sequence numbers, as long as the server has it.
ARGUMENTS = {
    b"FETCH": b"1 FLAGS",
    b"STORE": b"1 +FLAGS (\\Seen)",
    b"SEARCH": b"ALL",
    b"COPY": b"1 Sent",
    b"MOVE": b"1 Sent",
    b"SORT": b"(DATE) UTF-8 ALL",
    b"THREAD": b"REFERENCES UTF-8 ALL",
    b"REPLACE": b"1 Sent {3+}\r\nx\r\n",
}


class UidOnlyTests(SynchronousTestCase):
    """
    Messages are named by their UIDs alone.
    """

    def setUp(self) -> None:
        """INBOX has UIDs 2 to 4, none recent."""
        self.server = Server()
        for _ in range(4):
            self.server.deliver()
        self.inbox = now(self.server.account.openMailbox("INBOX"))
        now(self.inbox.expunge(NumberSet([(1, 1)]), False))
        now(self.inbox.claimRecent())

    def open(self, names: str = "UIDONLY") -> Conversation:
        """
        @return: a session that has enabled these, with INBOX selected.
        """
        client = self.server.login()
        client.send(f"e ENABLE {names}\r\ns SELECT INBOX\r\n".encode())
        return client

    def test_enable(self) -> None:
        """It is announced and can be enabled; it enables nothing else."""
        client = self.server.login()
        self.assertIn(b" UIDONLY ", client.send(b"a CAPABILITY\r\n"))
        self.assertEqual(
            client.send(b"b ENABLE UIDONLY\r\n"), b"* ENABLED UIDONLY\r\nb OK ENABLE completed\r\n"
        )
        self.assertEqual(self.server.sessions[-1].enabled, {b"UIDONLY"})

    def test_select(self) -> None:
        """SELECT has no UNSEEN response code, which is a sequence number."""
        client = self.server.login()
        self.assertIn(b"[UNSEEN 1]", client.send(b"a SELECT INBOX\r\nb UNSELECT\r\n"))
        client.send(b"e ENABLE UIDONLY\r\n")
        answer = client.send(b"c SELECT INBOX\r\n")
        self.assertIn(b"\r\n* 3 EXISTS\r\n", answer)
        self.assertNotIn(b"UNSEEN", answer)

    def test_refused(self) -> None:
        """Commands that take or give sequence numbers: BAD with UIDREQUIRED, whatever they say."""
        client = self.open()
        commands = [*COMMANDS, *(command for each in EXTENSIONS for command in each.commands)]
        refused = {command.name for command in commands if command.usesSequenceNumbers}
        self.assertLessEqual(
            {b"FETCH", b"STORE", b"SEARCH", b"COPY", b"MOVE", b"SORT", b"THREAD"}, refused
        )
        # Whatever has a form with UID has another that takes or gives sequence numbers.
        withUID = {command.name[4:] for command in commands if command.name.startswith(b"UID ")}
        self.assertEqual(refused, withUID - {b"EXPUNGE"})
        for name in sorted(refused):
            self.assertEqual(
                client.send(b"a " + name + b" " + ARGUMENTS[name] + b"\r\n"),
                b"a BAD [UIDREQUIRED] UIDONLY is enabled\r\n",
                name,
            )
        self.assertEqual(
            client.send(b"b UID SEARCH UNSEEN\r\n"),
            b"* SEARCH 2 3 4\r\nb OK UID SEARCH completed\r\n",
        )

    def test_searchKeys(self) -> None:
        """So are sequence numbers within search criteria, however deep."""
        client = self.open()
        for criteria in (b"1", b"1:*", b"*", b"SEEN 1", b"NOT 1", b"OR SEEN (UID 1 2:3)"):
            self.assertEqual(
                client.send(b"a UID SEARCH " + criteria + b"\r\n"),
                b"a BAD [UIDREQUIRED] UIDONLY is enabled\r\n",
                criteria,
            )
        self.assertIn(b"* SEARCH 3\r\n", client.send(b"a UID SEARCH UID 3\r\n"))

    def test_matchData(self) -> None:
        """And those of QRESYNC's parameter."""
        client = self.open("UIDONLY QRESYNC")
        self.assertEqual(
            client.send(b"a SELECT INBOX (QRESYNC (1 1 1:9 (1 1)))\r\n"),
            b"a BAD [UIDREQUIRED] UIDONLY is enabled\r\n",
        )
        answer = client.send(b"a SELECT INBOX (QRESYNC (1 10 1:9))\r\n")
        self.assertIn(
            b"* VANISHED (EARLIER) 1\r\n* 4 UIDFETCH (FLAGS () MODSEQ (11))\r\na OK ", answer
        )

    def test_responses(self) -> None:
        """
        UIDFETCH in the place of FETCH: its number is the UID, so that it has a UID item only where
        that was asked for.
        """
        self.open().check(
            r"""
            C: a UID FETCH 2:3 FLAGS
            S: * 2 UIDFETCH (FLAGS ())
            S: * 3 UIDFETCH (FLAGS ())
            S: a OK UID FETCH completed
            C: b UID FETCH 3 (UID RFC822.SIZE)
            S: * 3 UIDFETCH (UID 3 RFC822.SIZE 326)
            S: b OK UID FETCH completed
            C: c UID STORE 2:4 +FLAGS (\Answered)
            S: * 2 UIDFETCH (FLAGS (\Answered))
            S: * 3 UIDFETCH (FLAGS (\Answered))
            S: * 4 UIDFETCH (FLAGS (\Answered))
            S: c OK UID STORE completed
            C: d UID FETCH 4 BODY[HEADER.FIELDS (TO)]
            S: * 4 UIDFETCH (FLAGS (\Answered \Seen) BODY[HEADER.FIELDS (TO)] {38}
            S: To: mooch@owatagu.siam.edu.example
            S:
            S: )
            S: d OK UID FETCH completed
            C: e UID FETCH 4 BODY[3]
            S: * 4 UIDFETCH (BODY[3] NIL)
            S: e OK UID FETCH completed
            C: f UID COPY 3 Sent
            S: f OK [COPYUID 3 3 1] COPY completed
            """
        )

    def test_news(self) -> None:
        """What others do comes as UIDFETCH and VANISHED; new messages as EXISTS."""
        client = self.open()
        self.server.select().send(b"a STORE 2 +FLAGS (\\Seen)\r\n")
        now(self.inbox.expunge(NumberSet([(2, 2)]), False))
        self.server.deliver()
        client.check(
            r"""
            C: a NOOP
            S: * 3 UIDFETCH (FLAGS (\Seen))
            S: * VANISHED 2
            S: * 3 EXISTS
            S: * 1 RECENT
            S: a OK NOOP completed
            """
        )

    def test_expunge(self) -> None:
        """EXPUNGE, UID EXPUNGE and UID MOVE go on, and tell VANISHED."""
        client = self.open()
        client.send(b"a UID STORE 2:3 +FLAGS.SILENT (\\Deleted)\r\n")
        client.check(
            """
            C: b UID EXPUNGE 2
            S: * VANISHED 2
            S: b OK UID EXPUNGE completed
            C: c EXPUNGE
            S: * VANISHED 3
            S: c OK EXPUNGE completed
            C: d UID MOVE 4 Sent
            S: * OK [COPYUID 3 4 1] moved
            S: * VANISHED 4
            S: d OK MOVE completed
            """
        )

    def test_condstore(self) -> None:
        """With CONDSTORE: MODSEQ, and no UID, which RFC 7162 §3.2.4 wants for its FETCH."""
        self.open("CONDSTORE UIDONLY").check(
            r"""
            C: a UID STORE 3 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\Seen)
            S: * 3 UIDFETCH (FLAGS () MODSEQ (10))
            S: a OK [MODIFIED 3] Conditional STORE failed
            C: b UID STORE 3 (UNCHANGEDSINCE 10) +FLAGS.SILENT (\Seen)
            S: * 3 UIDFETCH (MODSEQ (13))
            S: b OK UID STORE completed
            C: c UID FETCH 4 (BODY[2])
            S: * 4 UIDFETCH (MODSEQ (14) FLAGS (\Seen) BODY[2] NIL)
            S: c OK UID FETCH completed
            """
        )
