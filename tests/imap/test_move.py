"""
MOVE and UID MOVE (RFC 6851).
"""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface

from tests.imap.client import splitResponses
from tests.imap.stepped import SteppedServer
from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.errors import OverQuota, TemporaryFailure
from twisted_mailstack.imap.extensions import move
from twisted_mailstack.imap.registry import EXTENSIONS
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.testing.faulty import FaultyStore


class INobody(Interface):
    """What nothing provides."""


class MoveTestCase(SynchronousTestCase):
    """
    A server and its mailboxes.
    """

    def setUp(self) -> None:
        """Start it."""
        self.server = Server()

    def stored(self, mailbox: str) -> list[int]:
        """
        @return: UIDs.
        """
        opened = now(self.server.account.openMailbox(mailbox))
        return [uid for (uid,) in now(opened.fetch(NumberSet([(1, 99)]), ()))]

    def select(self, count: int = 4, command: str = "SELECT") -> Conversation:
        """
        @return: a session with so many messages in INBOX.
        """
        for _ in range(count):
            self.server.deliver()
        now(now(self.server.account.openMailbox("INBOX")).claimRecent())
        return self.server.select(command=command)


class MoveTests(MoveTestCase):
    """
    What MOVE does and says.
    """

    def test_capability(self) -> None:
        """
        MOVE is announced (RFC 6851 §2).
        """
        answer = self.server.login().send(b"a CAPABILITY\r\n")
        self.assertIn(b"MOVE", answer.partition(b"\r\n")[0].split())

    def test_uidMove(self) -> None:
        """
        As the RFC's example (RFC 6851 §3.3): COPYUID in an untagged OK, before the EXPUNGEs (§4.3),
        then the tagged OK.
        """
        self.server.deliver(mailbox="Archive")
        session = self.select(5)
        session.check("""
            C: a UID MOVE 2:4,9 Archive
            S: * OK [COPYUID 6 2:4 2:4] moved
            S: * 4 EXPUNGE
            S: * 3 EXPUNGE
            S: * 2 EXPUNGE
            S: a OK MOVE completed
            C: b FETCH 1:* UID
            S: * 1 FETCH (UID 1)
            S: * 2 FETCH (UID 5)
            S: b OK FETCH completed
        """)
        self.assertEqual((self.stored("INBOX"), self.stored("Archive")), ([1, 5], [1, 2, 3, 4]))

    def test_move(self) -> None:
        """
        MOVE takes sequence numbers.
        """
        session = self.select(3)
        session.send(b"a UID MOVE 1 Trash\r\n")
        session.check("""
            C: b move 2,1 "Trash"
            S: * OK [COPYUID 5 2:3 2:3] moved
            S: * 2 EXPUNGE
            S: * 1 EXPUNGE
            S: b OK MOVE completed
        """)
        self.assertEqual((self.stored("INBOX"), self.stored("Trash")), ([], [1, 2, 3]))

    def test_whatGoesAlong(self) -> None:
        """
        Flags, keywords, internal date and octets go along; C{\\Deleted} isn't set on the way (RFC
        6851 §3.3).
        """
        data = MESSAGE + b"\xff no end"
        self.server.deliver(data, flags=["\\Seen", "work"], date=1000, zone=-60)
        session = self.server.select()
        session.send(b"a MOVE 1 Archive\r\n")
        session.send(b"b EXAMINE Archive\r\n")
        self.assertEqual(
            splitResponses(session.send(b"c FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])\r\n"))[0],
            b"* 1 FETCH (FLAGS (\\Recent \\Seen work)"
            b' INTERNALDATE "31-Dec-1969 23:16:40 -0100" BODY[] {%d}\r\n%b)' % (len(data), data),
        )

    def test_intoTheSameMailbox(self) -> None:
        """
        Moving into the selected mailbox is allowed (RFC 6851 §3.3): the messages get new UIDs, at
        the end.
        """
        session = self.select(3)
        session.check("""
            C: a MOVE 1:2 INBOX
            S: * OK [COPYUID 1 1:2 4:5] moved
            S: * 2 EXPUNGE
            S: * 1 EXPUNGE
            S: * 3 EXISTS
            S: * 2 RECENT
            S: a OK MOVE completed
            C: b FETCH 1:* UID
            S: * 1 FETCH (UID 3)
            S: * 2 FETCH (UID 4)
            S: * 3 FETCH (UID 5)
            S: b OK FETCH completed
        """)

    def test_destinationMissing(self) -> None:
        """
        TRYCREATE, as COPY (RFC 6851 §3.3), and nothing is moved.
        """
        session = self.select(1)
        session.check("""
            C: a MOVE 1 Nowhere
            S: a NO [TRYCREATE] No such mailbox
            C: b UID MOVE 1 Nowhere
            S: b NO [TRYCREATE] No such mailbox
        """)
        self.assertEqual(self.stored("INBOX"), [1])

    def test_readOnly(self) -> None:
        """
        From a mailbox opened by EXAMINE nothing is moved.
        """
        session = self.select(1, "EXAMINE")
        session.check("""
            C: a MOVE 1 Trash
            S: a NO [READ-ONLY] The mailbox is selected read-only
            C: b UID MOVE 1 Trash
            S: b NO [READ-ONLY] The mailbox is selected read-only
        """)
        self.assertEqual((self.stored("INBOX"), self.stored("Trash")), ([1], []))

    def test_nothing(self) -> None:
        """
        UIDs that nobody has are ignored.
        """
        session = self.select(1)
        answer = session.send(b"a UID MOVE 7:9 Trash\r\n")
        self.assertTrue(answer.startswith(b"a OK "), answer)
        self.assertNotIn(b"COPYUID", answer)

    def test_malformed(self) -> None:
        """
        What isn't in the grammar, or names no message, is BAD and moves nothing.
        """
        session = self.select(1)
        for text in ("MOVE", "MOVE 1", "MOVE 1 ", "MOVE Trash", "MOVE 2 Trash", "MOVE 1:2 Trash"):
            answer = session.send(f"a {text}\r\n".encode())
            self.assertTrue(answer.startswith(b"a BAD "), (text, answer))
        answer = session.send(b"a UID MOVE 1 Trash Sent\r\n")
        self.assertTrue(answer.startswith(b"a BAD "), answer)
        self.assertEqual(self.stored("INBOX"), [1])

    def test_told(self) -> None:
        """
        Sessions on both mailboxes are told.
        """
        session = self.select(2)
        source = self.server.select()
        destination = self.server.select("Trash")
        session.send(b"a MOVE 1 Trash\r\n")
        source.check("""
            C: a NOOP
            S: * 1 EXPUNGE
            S: a OK NOOP completed
        """)
        destination.check("""
            C: a NOOP
            S: * 1 EXISTS
            S: * 1 RECENT
            S: a OK NOOP completed
        """)

    def test_expunged(self) -> None:
        """
        Of messages that another session expunged, those that are left are moved, and which are gone
        is told; if none is left, MOVE fails.
        """
        session = self.select(4)
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.expunge(NumberSet.parse(b"2"), onlyDeleted=False))
        session.check("""
            C: a MOVE 1:3 Trash
            S: * OK [COPYUID 5 1,3 1:2] moved
            S: * 3 EXPUNGE
            S: * 2 EXPUNGE
            S: * 1 EXPUNGE
            S: a OK MOVE completed
        """)
        now(inbox.expunge(NumberSet.parse(b"4"), onlyDeleted=False))
        session.check("""
            C: b MOVE 1 Trash
            S: * 1 EXPUNGE
            S: b NO [EXPUNGEISSUED] Some of the messages were expunged
        """)

    def test_quota(self) -> None:
        """
        Moving needs no room: an account that is full can still move to Trash.
        """
        session = self.select(2)
        now(self.server.store.directory.setQuota(self.server.account.address, 1, 1))
        answer = session.send(b"a MOVE 1 Trash\r\n")
        self.assertIn(b"\r\na OK ", answer)

    def test_unselectable(self) -> None:
        """
        A name that only holds children takes no messages.
        """
        session = self.select(1)
        session.send(b"a CREATE up/down\r\n")
        session.send(b"b DELETE up\r\n")
        answer = session.send(b"c MOVE 1 up\r\n")
        self.assertTrue(answer.startswith(b"c NO "), answer)
        self.assertEqual(self.stored("INBOX"), [1])

    def test_without(self) -> None:
        """
        Without the extension there is no such command.
        """
        self.server = Server(extensions=[e for e in EXTENSIONS if e.capability != b"MOVE"])
        session = self.select(1)
        session.check("""
            C: a MOVE 1 Trash
            S: a BAD Unknown command
            C: b UID MOVE 1 Trash
            S: b BAD Unknown command
        """)


class AtomicTests(MoveTestCase):
    """
    No message is lost, and none is in two places (RFC 6851 §3.3).
    """

    def start(self, movable: bool = True) -> tuple[Conversation, FaultyStore]:
        """
        @return: a session with three messages on a store that may fail, and maybe can't move.
        """
        if not movable:
            self.patch(move, "IMovableMailbox", INobody)
        store = FaultyStore(MemoryMailStore())
        self.server = Server(store=cast(IMailStore, store))
        session = self.select(3)
        self.server.account = cast(Any, self.server.account).wrapped
        store.calls.clear()
        return session, store

    def changes(self, store: FaultyStore) -> list[str]:
        """
        @return: the calls that were no questions.
        """
        questions = ("IAccount.openMailbox", "IMailbox.changesSince")
        return [name for name in store.calls if name not in questions]

    def test_oneStep(self) -> None:
        """
        Where the storage can move, that is one step: no copy, no expunge of its own.
        """
        session, store = self.start()
        session.send(b"a MOVE 1:2 Trash\r\n")
        self.assertEqual(self.changes(store), ["IMailbox.moveMessages"])

    def test_oneStepFails(self) -> None:
        """
        If it fails, nothing has moved.
        """
        session, store = self.start()
        store.failAt(2, TemporaryFailure)
        session.check("""
            C: a MOVE 1:2 Trash
            S: a NO [UNAVAILABLE] Temporary failure, try again later
        """)
        self.assertEqual((self.stored("INBOX"), self.stored("Trash")), ([1, 2, 3], []))

    def test_copyAndExpunge(self) -> None:
        """
        Where it can't, messages are copied, and those that were are expunged; the client sees no
        difference.
        """
        session, store = self.start(movable=False)
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.expunge(NumberSet.parse(b"2"), onlyDeleted=False))
        answer = splitResponses(session.send(b"a MOVE 1:3 Trash\r\n"))
        self.assertRegex(answer[0], rb"\A\* OK \[COPYUID \d+ 1,3 1:2\] ")
        self.assertEqual(
            answer[1:], [b"* 3 EXPUNGE", b"* 2 EXPUNGE", b"* 1 EXPUNGE", b"a OK MOVE completed"]
        )
        self.assertEqual(self.changes(store), ["IMailbox.copyMessages", "IMailbox.expunge"])

    def test_copyFails(self) -> None:
        """
        If the copy fails, nothing is expunged.
        """
        session, store = self.start(movable=False)
        store.failAt(2, OverQuota)
        session.check("""
            C: a MOVE 1:2 Trash
            S: a NO [OVERQUOTA] The account is over its quota
        """)
        self.assertEqual((self.stored("INBOX"), self.stored("Trash")), ([1, 2, 3], []))

    def test_expungeFails(self) -> None:
        """
        If the expunge behind the copy fails, the messages are in both mailboxes rather than in
        none, and the client is told NO.
        """
        session, store = self.start(movable=False)
        store.failAt(3, TemporaryFailure)
        session.check("""
            C: a MOVE 1:2 Trash
            S: a NO [UNAVAILABLE] Temporary failure, try again later
        """)
        self.assertEqual((self.stored("INBOX"), self.stored("Trash")), ([1, 2, 3], [1, 2]))

    def test_sqlStore(self) -> None:
        """
        On the SQL store the EXPUNGEs come with the command, before its OK, whatever the threads do.
        """
        self.server = server = SteppedServer(self.mktemp())
        session = self.select(3)
        server.store.atOnce = False
        answer = splitResponses(session.send(b"a UID MOVE 1,3 Trash\r\n"))
        self.assertRegex(answer[0], rb"\A\* OK \[COPYUID \d+ 1,3 1:2\] moved\Z")
        self.assertEqual(answer[1:], [b"* 3 EXPUNGE", b"* 1 EXPUNGE", b"a OK MOVE completed"])
        server.store.atOnce = True
        self.assertEqual((self.stored("INBOX"), self.stored("Trash")), ([2], [1, 2]))

    def test_savedIsNew(self) -> None:
        """
        The moved message is in its mailbox since the move: its save date is new (RFC 8514 §2), its
        internal date isn't.
        """
        self.server.deliver(date=5)
        self.server.clock.advance(1000)
        self.server.select().send(b"a MOVE 1 Trash\r\n")
        trash = now(self.server.account.openMailbox("Trash"))
        rows = now(trash.fetch(NumberSet([(1, 1)]), (Attribute.INTERNAL_DATE, Attribute.SAVE_DATE)))
        self.assertEqual(list(rows), [(1, 5, 1000)])
