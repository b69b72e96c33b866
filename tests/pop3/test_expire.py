"""
EXPIRE (RFC 2449 §6.7): what is announced is what is done. At the end of a session messages go that
a client has fetched, so many days ago, and nothing else ever does.
"""

from __future__ import annotations

from typing import Any

from tests.pop3.support import FIRST, SECOND, POP3TestCase, now
from twisted_mailstack.model.records import NEVER
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.conversation import Conversation

DAY = 24 * 3600
LATER = b"Subject: later\r\n\r\n"


class ExpireTestCase(POP3TestCase):
    """
    @ivar seconds: what time it is.
    """

    def setUp(self) -> None:
        """Accounts have their own policies; Alice has none yet."""
        super().setUp()
        self.seconds = 1_700_000_000.0
        self.server.options |= {
            "survey": self.server.store.directory,
            "now": lambda: self.seconds,
        }

    def session(self, *commands: bytes) -> bytes:
        """
        @return: what a session said that gave these commands and QUIT.
        """
        client = self.server.login()
        said = client.send(b"".join(each + b"\r\n" for each in (*commands, b"QUIT")))
        self.assertFreed(client)
        return said


class DaysTests(ExpireTestCase):
    """
    After some days.
    """

    def setUp(self) -> None:
        """Thirty of them."""
        super().setUp()
        self.server.set(expireDays=30)

    def test_days(self) -> None:
        """
        A message is kept for so many days from when it was fetched the first time, and removed by
        the next session that ends with QUIT; those that were never fetched stay.
        """
        self.session(b"RETR 1")
        self.seconds += 30 * DAY - 1
        self.session(b"RETR 1")
        self.assertEqual(self.server.messages(), [FIRST, SECOND])
        self.seconds += 1
        self.assertEqual(self.session(), b"+OK bye\r\n")
        self.assertEqual(self.server.messages(), [SECOND])
        self.seconds += 1000 * DAY
        self.session(b"LIST", b"UIDL", b"TOP 1 0", b"TOP 1 1000")
        self.assertEqual(self.server.messages(), [SECOND])

    def test_there(self) -> None:
        """Until that QUIT the message is there, for this session and for others."""
        self.session(b"RETR 1")
        self.seconds += 31 * DAY
        client = self.server.login()
        self.assertEqual(client.send(b"STAT\r\n"), b"+OK 2 64\r\n")
        self.assertIn(b"Subject: first\r\n", client.send(b"RETR 1\r\n"))
        self.assertEqual(self.server.messages(), [FIRST, SECOND])
        client.send(b"QUIT\r\n")
        self.assertEqual(self.server.messages(), [SECOND])

    def test_onlyByQUIT(self) -> None:
        """
        Only QUIT removes (RFC 1939 §6), and only what was fetched before a QUIT counts: of another
        session it isn't known what its client has.
        """
        ends: tuple[Any, ...] = (
            Conversation.disconnect,
            lambda client: self.server.clock.advance(600),
            lambda client: client.send(b"x\r\n" * 20),
        )
        for end in ends:
            client = self.server.login()
            client.send(b"RETR 1\r\n")
            end(client)
            self.assertFreed(client)
        self.seconds += 40 * DAY
        self.session()
        self.assertEqual(self.server.messages(), [FIRST, SECOND])
        self.session(b"RETR 1")
        self.seconds += 40 * DAY
        for end in ends:
            client = self.server.login()
            end(client)
            self.assertFreed(client)
        self.assertEqual(self.server.messages(), [FIRST, SECOND])
        self.session()
        self.assertEqual(self.server.messages(), [SECOND])

    def test_withMarks(self) -> None:
        """What is marked and what has expired goes in one step, and the log has the sum."""
        self.server.put(LATER)
        self.session(b"RETR 1", b"RETR 2")
        self.seconds += 30 * DAY
        before = now(self.server.inbox().status()).highestModSeq
        self.assertEqual(
            self.session(b"DELE 1", b"DELE 3"),
            b"+OK message 1 deleted\r\n+OK message 3 deleted\r\n+OK bye\r\n",
        )
        self.assertEqual(self.server.messages(), [])
        self.assertEqual(now(self.server.inbox().status()).highestModSeq, before + 1)

    def test_fails(self) -> None:
        """Whatever fails in the storage at the end: -ERR, and nothing is gone."""
        self.session(b"RETR 1")
        self.seconds += 30 * DAY
        for name in ("noteRetrieved", "retrievedUntil", "removeMessages"):
            self.server.gate.fails = {name}
            said = self.session(b"RETR 2", b"DELE 1")
            self.assertTrue(said.splitlines()[-1].startswith(b"-ERR [SYS/TEMP] "), said)
            self.assertEqual(self.server.messages(), [FIRST, SECOND])
        self.server.gate.fails = set()
        self.session()
        self.assertEqual(self.server.messages(), [SECOND])

    def test_lostDuringQuit(self) -> None:
        """A QUIT that was begun is done to its end."""
        self.session(b"RETR 1")
        self.seconds += 30 * DAY
        self.server.gate.held = {"retrievedUntil"}
        client = self.server.login()
        client.send(b"QUIT\r\n")
        client.disconnect()
        self.server.gate.release()
        self.assertFreed(client)
        self.assertEqual(self.server.messages(), [SECOND])

    def test_trash(self) -> None:
        """It goes where deleted mail goes."""
        self.server.set(toTrash=True)
        self.session(b"RETR 1")
        self.seconds += 30 * DAY
        self.session()
        self.assertEqual(self.server.messages(), [SECOND])
        self.assertEqual(now(self.server.inbox(mailbox="Trash").status()).messages, 1)

    def test_otherMailboxes(self) -> None:
        """Only in mailboxes that POP3 shows."""
        self.server.put(LATER, mailbox="Junk")
        self.server.set(mailboxes=("Junk",))
        self.session(b"RETR 1", b"RETR 3")
        self.server.set(mailboxes=())
        self.seconds += 30 * DAY
        self.session()
        self.assertEqual(self.server.messages(), [SECOND])
        self.assertEqual(now(self.server.inbox(mailbox="Junk").status()).messages, 1)
        self.server.set(mailboxes=("Junk",))
        self.session()
        self.assertEqual(now(self.server.inbox(mailbox="Junk").status()).messages, 0)

    def test_movedAndBack(self) -> None:
        """A message that IMAP moved away and back is the same; who removed it was faster."""
        self.session(b"RETR 1", b"RETR 2")
        inbox, junk = self.server.inbox(), self.server.inbox(mailbox="Junk")
        now(inbox.moveMessages(NumberSet.of([1]), junk))
        now(junk.moveMessages(NumberSet.of([1]), inbox))
        self.server.expunge(2)
        self.server.put(LATER)
        self.seconds += 30 * DAY
        self.session()
        self.assertEqual(self.server.messages(), [LATER])

    def test_partly(self) -> None:
        """What couldn't be sent to its end wasn't fetched."""
        self.server.put(b"Subject: x\r\n\r\n" + b"z" * 1_000_000)
        self.server.gate.calls.clear()
        client = self.server.login()
        self.server.gate.failAt = len(self.server.gate.calls) + 4
        client.send(b"RETR 3\r\nQUIT\r\n")
        self.server.gate.failAt = None
        self.assertTrue(client.wire.lost)
        self.assertFreed(client)
        self.seconds += 30 * DAY
        self.session()
        self.assertEqual(len(self.server.messages()), 3)

    def test_switchedOff(self) -> None:
        """What the account says counts when its session begins."""
        self.session(b"RETR 1")
        self.seconds += 30 * DAY
        self.server.set(expireDays=NEVER)
        self.session()
        self.assertEqual(self.server.messages(), [FIRST, SECOND])
        client = self.server.login()
        self.server.set(expireDays=30)
        client.send(b"QUIT\r\n")
        self.assertEqual(self.server.messages(), [FIRST, SECOND])
        self.session()
        self.assertEqual(self.server.messages(), [SECOND])

    def test_untold(self) -> None:
        """Where clients couldn't be told of it before login, an account's own doesn't count."""
        self.session(b"RETR 1")
        self.seconds += 30 * DAY
        self.server.options["survey"] = None
        self.session()
        self.assertEqual(self.server.messages(), [FIRST, SECOND])

    def test_copies(self) -> None:
        """Two accounts that got one message have nothing to do with each other."""
        self.server.put(FIRST, name="bob")
        self.server.set("bob", expireDays=30)
        self.session(b"RETR 1")
        self.seconds += 30 * DAY
        client = self.server.login("bob")
        client.send(b"QUIT\r\n")
        self.assertEqual(self.server.messages("bob"), [FIRST])

    def test_some(self) -> None:
        """A large maildrop of which a little expires: the rest is what it was."""
        self.server.put(*(b"Subject: %d\r\n\r\n" % number for number in range(50)))
        self.session(*(b"RETR %d" % number for number in range(2, 52, 2)))
        self.seconds += 30 * DAY
        self.session()
        left = self.server.messages()
        self.assertEqual(len(left), 27)
        self.assertEqual(left[0], FIRST)
        self.assertNotIn(SECOND, left)


class AtOnceTests(ExpireTestCase):
    """
    EXPIRE 0: "the server MAY assume an implicit DELE for each message which was downloaded with
    RETR".
    """

    def setUp(self) -> None:
        """It is so."""
        super().setUp()
        self.server.set(expireDays=0)

    def test_fetched(self) -> None:
        """What this session fetched goes with it, whatever RSET said of marks; nothing else."""
        self.session(b"RETR 2", b"TOP 1 99", b"RSET")
        self.assertEqual(self.server.messages(), [FIRST])
        self.session()
        self.assertEqual(self.server.messages(), [FIRST])

    def test_refused(self) -> None:
        """What was refused, or can't be read, wasn't fetched."""
        self.server.gate.fails = {"read"}
        said = self.session(b"RETR 1", b"RETR 99", b"RETR x")
        self.assertEqual(said.count(b"-ERR "), 3)
        self.assertEqual(self.server.messages(), [FIRST, SECOND])

    def test_lost(self) -> None:
        """RFC 1939 §8: not without QUIT, since the client may not have stored it."""
        client = self.server.login()
        client.send(b"RETR 1\r\nRETR 2\r\n")
        client.disconnect()
        self.assertFreed(client)
        self.assertEqual(self.server.messages(), [FIRST, SECOND])


class NeverTests(ExpireTestCase):
    """
    EXPIRE NEVER, which is usual.
    """

    def test_never(self) -> None:
        """Nothing is removed, ever, and nothing is remembered."""
        for settings in ({}, {"expireDays": NEVER}):
            self.server.set(**settings)
            self.session(b"RETR 1", b"RETR 2")
            self.seconds += 100 * 365 * DAY
            self.session()
            self.assertEqual(self.server.messages(), [FIRST, SECOND])
        account: Any = self.server.inbox().account
        self.assertEqual(set(now(account.retrievedUntil(2**40))), set())
