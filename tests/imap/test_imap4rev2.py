"""
IMAP4rev2 (RFC 9051) beside IMAP4rev1: what it folded in, and what ENABLE changes.
"""

from __future__ import annotations

import unicodedata

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.conversation import Conversation


class Rev2Tests(SynchronousTestCase):
    """
    A session that has enabled it.
    """

    def setUp(self) -> None:
        """A server with three messages."""
        self.server = Server()
        for _ in range(3):
            self.server.deliver()

    def rev2(self) -> Conversation:
        """
        @return: a session that is logged in and has enabled IMAP4rev2.
        """
        client = self.server.login()
        answer = client.send(b"e ENABLE IMAP4rev2\r\n")
        self.assertEqual(answer, b"* ENABLED IMAP4rev2\r\ne OK ENABLE completed\r\n")
        return client

    def test_capability(self) -> None:
        """Both are announced, and what IMAP4rev2 folded in, for clients that know no other."""
        for client in (self.server.connect(), self.server.login()):
            client.wire.take()
            words = client.send(b"a CAPABILITY\r\n").partition(b"\r\n")[0].split()
            self.assertEqual(words[2:4], [b"IMAP4rev1", b"IMAP4rev2"])
        for name in (
            *(b"NAMESPACE", b"UNSELECT", b"UIDPLUS", b"ESEARCH", b"SEARCHRES", b"ENABLE", b"IDLE"),
            *(b"SASL-IR", b"LIST-EXTENDED", b"LIST-STATUS", b"MOVE", b"STATUS=SIZE"),
            *(b"SPECIAL-USE", b"CHILDREN", b"BINARY"),
        ):
            self.assertIn(name, words)

    def test_select(self) -> None:
        """
        SELECT tells the mailbox's name, and nothing of what is recent or unseen (§6.3.2, the RFC's
        example).
        """
        flags = b"\\Answered \\Flagged \\Deleted \\Seen \\Draft"
        answer = self.rev2().send(b"a1 SELECT INBOX\r\n")
        self.assertEqual(
            answer.split(b"\r\n")[:6],
            [
                b"* FLAGS (%b)" % flags,
                b"* OK [PERMANENTFLAGS (%b \\*)] Flags that are kept" % flags,
                b"* 3 EXISTS",
                b"* OK [UIDVALIDITY 1] UIDs valid",
                b"* OK [UIDNEXT 4] Predicted next UID",
                b'* LIST () "/" INBOX',
            ],
        )
        self.assertNotIn(b"UNSEEN", answer)
        self.assertTrue(answer.endswith(b"\r\na1 OK [READ-WRITE] selected\r\n"))

    def test_selectOther(self) -> None:
        """Selecting another mailbox closes the first, which is told (§6.3.2)."""
        client = self.rev2()
        client.send(b"a SELECT INBOX\r\n")
        answer = client.send(b"b EXAMINE Sent\r\n")
        self.assertTrue(answer.startswith(b"* OK [CLOSED] "), answer)
        self.assertIn(b'* LIST () "/" Sent\r\n', answer)

    def test_denormalised(self) -> None:
        """A name that is another when normalised is told with the one that was given (§6.3.2)."""
        client = self.rev2()
        name = "Caf\u00e9"
        client.send(b'a CREATE "%b"\r\n' % name.encode())
        given = unicodedata.normalize("NFD", name)
        answer = client.send(b'b SELECT "%b"\r\n' % given.encode())
        expected = f'* LIST () "/" "{name}" ("OLDNAME" ("{given}"))\r\n'.encode()
        self.assertIn(expected, answer)

    def test_noRecent(self) -> None:
        """Nothing is recent, not even what is new; it stays so for others (RFC 9051, E.12)."""
        client = self.rev2()
        client.send(b"a SELECT INBOX\r\n")
        self.assertNotIn(b"Recent", client.send(b"b FETCH 1:* (FLAGS)\r\n"))
        self.server.deliver()
        self.assertEqual(client.send(b"c NOOP\r\n"), b"* 4 EXISTS\r\nc OK NOOP completed\r\n")
        old = self.server.login()
        self.assertIn(b"* 4 RECENT\r\n", old.send(b"d SELECT INBOX\r\n"))

    def test_unsolicited(self) -> None:
        """What is told of flags unasked has the UID (§7.5.2)."""
        client = self.rev2()
        client.send(b"a SELECT INBOX\r\n")
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.storeFlags(NumberSet.of([2]), FlagOperation.ADD, frozenset(("\\Seen",))))
        self.assertIn(b"* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n", client.send(b"b NOOP\r\n"))

    def test_search(self) -> None:
        """SEARCH is answered by ESEARCH, ALL if nothing else was asked for (§6.4.4)."""
        client = self.rev2()
        client.send(b"a SELECT INBOX\r\n")
        client.check(
            """
            C: A282 SEARCH UNDELETED
            S: * ESEARCH (TAG "A282") ALL 1:3
            S: A282 OK SEARCH completed
            C: A283 UID SEARCH DELETED
            S: * ESEARCH (TAG "A283") UID
            S: A283 OK UID SEARCH completed
            C: A284 SEARCH CHARSET UTF-8 SUBJECT Besprechung
            S: * ESEARCH (TAG "A284")
            S: A284 OK SEARCH completed
            """
        )

    def test_names(self) -> None:
        """Names are UTF-8, in both directions (§5.1); others have them in modified UTF-7."""
        client = self.rev2()
        name = "Entw\u00fcrfe \u53f0\u5317".encode()
        client.send(b'a CREATE "%b"\r\n' % name)
        self.assertIn(b'"%b"' % name, client.send(b'b LIST "" Entw*\r\n'))
        self.assertIn(b"&APw-rfe", self.server.login().send(b'c LIST "" Entw*\r\n'))
        self.assertIn(b'* STATUS "%b" (' % name, client.send(b'd STATUS "%b" (SIZE)\r\n' % name))
        # An ampersand is one.
        client.send(b'e CREATE "a&b"\r\n')
        self.assertIn(b'"/" a&b\r\n', client.send(b'f LIST "" a*\r\n'))

    def test_status(self) -> None:
        """SIZE and DELETED (§6.3.11)."""
        self.server.deliver(flags=["\\Deleted"])
        size = 4 * len(MESSAGE)
        self.assertIn(
            b"* STATUS INBOX (MESSAGES 4 DELETED 1 SIZE %d)\r\n" % size,
            self.rev2().send(b"a STATUS INBOX (MESSAGES DELETED SIZE)\r\n"),
        )

    def test_oldCommands(self) -> None:
        """What RFC 9051 has no more goes on working, for clients of both (RFC 9051, A)."""
        client = self.rev2()
        client.send(b"a SELECT INBOX\r\n")
        for command in (b"CHECK", b'LSUB "" *', b"FETCH 1 (RFC822.HEADER)", b"SEARCH NEW"):
            self.assertIn(b"b OK ", client.send(b"b %b\r\n" % command), command)

    def test_tryCreate(self) -> None:
        """COPY and MOVE make no mailbox, and say that it could be made (E.8)."""
        client = self.rev2()
        client.send(b"a SELECT INBOX\r\n")
        for command in (b"COPY 1 absent", b"UID MOVE 1 absent"):
            self.assertTrue(client.send(b"b %b\r\n" % command).startswith(b"b NO [TRYCREATE] "))

    def test_notEnabled(self) -> None:
        """A session that hasn't enabled it has IMAP4rev1 (RFC 9051, A)."""
        answer = self.server.login().send(b"a SELECT INBOX\r\n")
        self.assertIn(b"* 3 RECENT\r\n", answer)
        self.assertIn(b"[UNSEEN 1]", answer)
        self.assertNotIn(b"* LIST", answer)
