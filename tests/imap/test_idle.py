"""
IDLE (RFC 2177, RFC 9051 §6.3.13).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.client import splitResponses
from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from twisted_mailstack.errors import SessionEnded
from twisted_mailstack.imap.extensions import idle
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.conversation import Conversation


class IdleTestCase(SynchronousTestCase):
    """
    A server with three messages, none of them recent.
    """

    def setUp(self) -> None:
        """Start it."""
        self.start(Server())

    def start(self, server: Server) -> None:
        """
        Use that server.
        """
        self.server = server
        for _ in range(3):
            server.deliver()
        now(now(server.account.openMailbox("INBOX")).claimRecent())

    def idling(self) -> Conversation:
        """
        @return: a session in IDLE, nothing left to be taken.
        """
        session = self.server.select()
        self.assertEqual(session.send(b"i IDLE\r\n"), b"+ idling\r\n")
        return session

    def store(self, uids: str, *flags: str) -> None:
        """
        Add flags from outside.
        """
        inbox = now(self.server.account.openMailbox("INBOX"))
        numbers = NumberSet.parse(uids.encode())
        now(inbox.storeFlags(numbers, FlagOperation.ADD, frozenset(flags)))

    def expunge(self, uids: str) -> None:
        """
        Expunge from outside.
        """
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.expunge(NumberSet.parse(uids.encode()), onlyDeleted=False))


class IdleTests(IdleTestCase):
    """
    What IDLE tells, and how it ends.
    """

    def test_capability(self) -> None:
        """
        IDLE is announced (RFC 2177 §3).
        """
        answer = self.server.login().send(b"a CAPABILITY\r\n")
        self.assertIn(b"IDLE", answer.partition(b"\r\n")[0].split())

    def test_news(self) -> None:
        """
        New mail, flags and expunges are told at once, without a word of the client; then DONE ends
        it (the RFC's example).
        """
        session = self.idling()
        self.server.deliver()
        self.assertEqual(session.wire.take(), b"* 4 EXISTS\r\n* 1 RECENT\r\n")
        self.store("2", "\\Seen")
        self.assertEqual(session.wire.take(), b"* 2 FETCH (FLAGS (\\Seen))\r\n")
        self.expunge("2")
        self.assertEqual(session.wire.take(), b"* 2 EXPUNGE\r\n")
        self.store("4", "\\Flagged", "new")
        self.assertEqual(
            splitResponses(session.wire.take())[-1], rb"* 3 FETCH (FLAGS (\Recent \Flagged new))"
        )
        session.check("""
            C: DONE
            S: i OK IDLE terminated
            C: a NOOP
            S: a OK NOOP completed
        """)

    def test_newsBefore(self) -> None:
        """
        What happened before IDLE is told when it begins.
        """
        session = self.server.select()
        self.expunge("1,3")
        self.server.deliver()
        session.check("""
            C: i IDLE
            S: + idling
            S: * 3 EXPUNGE
            S: * 1 EXPUNGE
            S: * 2 EXISTS
            S: * 1 RECENT
            C: DONE
            S: i OK IDLE terminated
        """)

    def test_expungesHeldBack(self) -> None:
        """
        An EXPUNGE that a FETCH had to hold back is told by IDLE.
        """
        session = self.server.select()
        self.expunge("1")
        session.send(b"a FETCH 2 UID\r\n")
        session.check("""
            C: i IDLE
            S: + idling
            S: * 1 EXPUNGE
        """)

    def test_ownMailboxUntouched(self) -> None:
        """
        Changes of other mailboxes, and of other accounts, are no news.
        """
        session = self.idling()
        self.server.deliver(mailbox="Sent")
        self.server.deliver(account=self.server.addAccount("bob"))
        self.assertEqual(session.wire.take(), b"")

    def test_doneInAnyCase(self) -> None:
        """
        DONE in any case, and with a bare line feed, ends it.
        """
        for done in (b"DONE\r\n", b"done\r\n", b"DoNe\r\n", b"Done\n"):
            self.assertEqual(self.idling().send(done), b"i OK IDLE terminated\r\n")

    def test_inPieces(self) -> None:
        """
        DONE may come in pieces, with news between them.
        """
        session = self.idling()
        self.assertEqual(session.send(b"D"), b"")
        self.assertEqual(session.send(b"ON"), b"")
        self.server.deliver()
        self.assertEqual(session.wire.take(), b"* 4 EXISTS\r\n* 1 RECENT\r\n")
        self.assertEqual(session.send(b"E\r"), b"")
        self.assertEqual(session.send(b"\n"), b"i OK IDLE terminated\r\n")

    def test_pipelined(self) -> None:
        """
        Commands that come behind DONE, or DONE behind IDLE, in one piece run in order.
        """
        session = self.idling()
        self.assertEqual(
            session.send(b"DONE\r\na NOOP\r\nb IDLE\r\nDONE\r\nc NOOP\r\n"),
            b"i OK IDLE terminated\r\na OK NOOP completed\r\n+ idling\r\n"
            b"b OK IDLE terminated\r\nc OK NOOP completed\r\n",
        )

    def test_anyChunking(self) -> None:
        """
        It makes no difference how the octets come.
        """
        octets = b"a IDLE\r\nDONE\r\nb NOOP\r\nc IDLE\r\nDONE\r\n"
        whole = self.server.select().send(octets)
        session = self.server.select()
        single = b"".join(session.send(octets[at : at + 1]) for at in range(len(octets)))
        self.assertEqual(single, whole)

    def test_somethingElse(self) -> None:
        """
        Anything but DONE is BAD, and ends IDLE; it isn't taken for a command (RFC 2177 §3: the
        client must not send one).
        """
        for line in (b"a NOOP", b"", b" DONE", b"DONE ", b"DONE 1", b"b DONE", b"\xff\x00", b"("):
            session = self.idling()
            answer = session.send(line + b"\r\n")
            self.assertTrue(answer.startswith(b"i BAD "), (line, answer))
            self.assertEqual(answer.count(b"\r\n"), 1, answer)
            self.assertEqual(session.send(b"c NOOP\r\n"), b"c OK NOOP completed\r\n")

    def test_longLine(self) -> None:
        """
        A line that is much too long is refused once, as one line, however it comes; no memory is
        filled with it.
        """
        for chunk in (100, 1 << 20):
            session = self.idling()
            octets = b"x" * 500_000 + b"\r\nc NOOP\r\n"
            answer = b"".join(
                session.send(octets[at : at + chunk]) for at in range(0, len(octets), chunk)
            )
            responses = splitResponses(answer)
            self.assertTrue(responses[0].startswith(b"i BAD "), responses)
            self.assertEqual(responses[1:], [b"c OK NOOP completed"])

    def test_arguments(self) -> None:
        """
        IDLE has none.
        """
        session = self.server.select()
        for text in (b"IDLE ", b"IDLE x", b'IDLE ""'):
            answer = session.send(b"a " + text + b"\r\n")
            self.assertTrue(answer.startswith(b"a BAD "), answer)

    def test_states(self) -> None:
        """
        IDLE needs a login, no selected mailbox (RFC 2177 §3: authenticated or selected state).
        """
        session = self.server.connect()
        session.wire.take()
        self.assertTrue(session.send(b"a IDLE\r\n").startswith(b"a BAD "))
        session = self.server.login()
        self.assertEqual(session.send(b"a IDLE\r\n"), b"+ idling\r\n")
        self.server.deliver()
        self.assertEqual(session.wire.take(), b"")
        self.assertEqual(session.send(b"DONE\r\n"), b"a OK IDLE terminated\r\n")

    def test_readOnly(self) -> None:
        """
        After EXAMINE too; new mail is recent there, and still is for the next session.
        """
        session = self.server.select(command="EXAMINE")
        session.send(b"i IDLE\r\n")
        self.server.deliver()
        self.assertEqual(session.wire.take(), b"* 4 EXISTS\r\n* 1 RECENT\r\n")
        self.assertIn(b"* 1 RECENT\r\n", self.server.login().send(b"s SELECT INBOX\r\n"))

    def test_manyIdle(self) -> None:
        """
        All who idle on a mailbox are told; C{\\Recent} has one of them.
        """
        sessions = [self.idling() for _ in range(4)]
        self.server.deliver()
        answers = [session.wire.take() for session in sessions]
        self.assertEqual({answer.partition(b"\r\n")[0] for answer in answers}, {b"* 4 EXISTS"})
        self.assertEqual(sum(b"* 1 RECENT" in answer for answer in answers), 1)
        self.assertEqual(sum(b"* 0 RECENT" in answer for answer in answers), 3)


class EndTests(IdleTestCase):
    """
    Ends that the client didn't ask for.
    """

    def test_timeout(self) -> None:
        """
        A client that neither says DONE nor anything else is logged out after the time that a
        session may be inactive (RFC 2177 §3), 30 minutes at least (RFC 9051 §5.4).
        """
        session = self.idling()
        session.clock.advance(1799)
        self.assertFalse(session.finished)
        session.clock.advance(1)
        session.check("""
            S: * BYE autologout: idle for too long
        """)
        self.assertTrue(session.finished)

    def test_shutdown(self) -> None:
        """
        A server that stops says goodbye at once.
        """
        session = self.idling()
        session.stream.end(SessionEnded.SHUTDOWN)
        session.check("""
            S: * BYE shutting down
        """)
        self.assertTrue(session.finished)

    def test_disconnect(self) -> None:
        """
        A client that goes away leaves nothing behind: nobody is told any more.
        """
        session = self.idling()
        session.disconnect()
        self.assertTrue(session.finished)
        self.server.deliver()
        self.assertEqual(session.wire.take(), b"")
        self.assertIsNone(session.failure)

    def test_mailboxDeleted(self) -> None:
        """
        If the mailbox is deleted, the client is told and disconnected (RFC 2180 §3.3).
        """
        self.server.login().send(b"a CREATE here\r\n")
        session = self.server.select("here")
        session.send(b"i IDLE\r\n")
        self.server.login().send(b"a DELETE here\r\n")
        session.check("""
            S: * BYE the selected mailbox was deleted
        """)
        self.assertTrue(session.finished)

    def test_mailboxRenamed(self) -> None:
        """
        If it is renamed, IDLE goes on with it (RFC 2180 §3.4).
        """
        self.server.login().send(b"a CREATE here\r\n")
        session = self.server.select("here")
        session.send(b"i IDLE\r\n")
        self.server.login().send(b"a RENAME here there\r\n")
        self.assertEqual(session.wire.take(), b"")
        self.server.deliver(mailbox="there")
        self.assertEqual(session.wire.take(), b"* 1 EXISTS\r\n* 1 RECENT\r\n")

    def test_inboxRenamed(self) -> None:
        """
        Renaming INBOX moves its messages away (RFC 9051 §6.3.6): who idles on it is told.
        """
        session = self.idling()
        self.server.login().send(b"a RENAME INBOX old\r\n")
        self.assertEqual(session.wire.take(), b"* 3 EXPUNGE\r\n* 2 EXPUNGE\r\n* 1 EXPUNGE\r\n")

    def test_peerThatDoesNotRead(self) -> None:
        """
        For a client that doesn't read nothing is piled up: when it reads again it is told what is
        then so.
        """
        session = self.idling()
        session.stream.setBlocked(True)
        for number in range(100):
            self.store("1:3", f"k{number}")
            self.server.deliver()
        self.expunge("1")
        waiting = len(session.wire.take())
        self.assertLess(waiting, 1000)
        session.stream.setBlocked(False)
        session.settle()
        responses = splitResponses(session.wire.take())
        self.assertIn(b"* 1 EXPUNGE", responses)
        self.assertIn(b"* 102 EXISTS", responses)
        self.assertLess(len(responses), 12)
        self.assertEqual(session.send(b"DONE\r\n"), b"i OK IDLE terminated\r\n")

    def test_bound(self) -> None:
        """
        The longest line that is looked at is far beyond DONE.
        """
        self.assertGreater(idle.MAX_LINE, 100)


class SQLStoreTests(IdleTestCase):
    """
    IDLE over the SQL store, where each step of a change waits for a thread.
    """

    def test_news(self) -> None:
        """
        News is told as soon as it is durable, and not before.
        """
        server = SteppedServer(self.mktemp())
        self.start(server)
        session = self.idling()
        other = self.server.select()
        server.store.atOnce = False
        other.stream.received(b"a STORE 2 +FLAGS (\\Seen)\r\n")
        self.assertEqual((session.wire.take(), other.wire.take()), (b"", b""))
        server.settle()
        self.assertEqual(session.wire.take(), b"* 2 FETCH (FLAGS (\\Seen))\r\n")
        self.assertEqual(
            other.wire.take(), b"* 2 FETCH (FLAGS (\\Seen))\r\na OK STORE completed\r\n"
        )
        self.assertEqual(session.send(b"DONE\r\n"), b"i OK IDLE terminated\r\n")
