"""
What is done in steps when it is about many messages: with steps of one or two, each command says
the same, and others have their turns.
"""

from __future__ import annotations

from typing import Any

from tests.imap import test_messages, test_selection, test_sort, test_thread
from tests.imap.support import now
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.imap import search, selected
from twisted_mailstack.imap.commands import store
from twisted_mailstack.imap.extensions import thread
from twisted_mailstack.model.sequence import NumberSet


class Steps:
    """
    Makes them small.
    """

    patch: Any

    def setUp(self) -> None:
        """As the tests that are mixed in have it."""
        super().setUp()  # type: ignore[misc]
        self.patch(store, "MANY", 1)
        self.patch(selected, "SLICE", 1)
        self.patch(search, "SLICE", 2)
        self.patch(thread, "PIECES", 1)


class StoreTests(Steps, test_messages.StoreTests):
    """STORE, one message after the other."""

    def test_steps(self) -> None:
        """
        Of many messages some are stored, and then some: who brings mail waits for a step.
        """
        session = self.select(5)
        asked: list[NumberSet] = []
        mailbox = type(now(self.server.account.openMailbox("INBOX")))
        storeFlags = mailbox.storeFlags

        async def noted(self_: Any, uids: NumberSet, *arguments: Any) -> Any:
            asked.append(uids)
            return await storeFlags(self_, uids, *arguments)

        self.patch(mailbox, "storeFlags", noted)
        self.patch(store, "MANY", 2)
        session.check(r"""
            C: a STORE 1:5 +FLAGS.SILENT (\Flagged)
            S: a OK STORE completed
        """)
        self.assertEqual([uids.render() for uids in asked], [b"1:2", b"3:4", b"5"])

    def test_failsAmidst(self) -> None:
        """
        If a later step fails the answer is NO, and the client is told of what was done.
        """
        session = self.select(3)
        mailbox = type(now(self.server.account.openMailbox("INBOX")))
        storeFlags = mailbox.storeFlags

        async def failing(self_: Any, uids: NumberSet, *arguments: Any) -> Any:
            if 2 in uids:
                raise TemporaryFailure()
            return await storeFlags(self_, uids, *arguments)

        self.patch(mailbox, "storeFlags", failing)
        for command, flag in ((b"+FLAGS", b"\\Flagged"), (b"+FLAGS.SILENT", b"\\Draft")):
            answer = session.send(b"a STORE 1:3 %b (%b)\r\n" % (command, flag))
            told, no, _ = answer.partition(b"a NO ")
            self.assertTrue(no, answer)
            self.assertTrue(told.startswith(b"* 1 FETCH (FLAGS ("), answer)
            self.assertIn(flag, told)
            self.assertEqual(told.count(b"FETCH"), 1)
            self.assertIn(flag.decode(), self.stored()[1])


class StoreWithOthersTests(Steps, test_messages.StoreWithOthersTests):
    """While other sessions change the mailbox."""


class ExpungeTests(Steps, test_messages.ExpungeTests):
    """EXPUNGE and CLOSE, step by step."""

    def test_steps(self) -> None:
        r"""
        Each message that is C{\Deleted} is expunged once, those before, between and behind the
        messages that the session knows, too.
        """
        session = self.deleted(1, 2, 4, 6)
        for _ in range(2):
            self.server.deliver(flags=["\\Deleted"])
        asked: list[Any] = []
        mailbox = type(now(self.server.account.openMailbox("INBOX")))
        expunge = mailbox.expunge

        async def noted(self_: Any, uids: Any, *arguments: Any) -> Any:
            asked.append(uids)
            return await expunge(self_, uids, *arguments)

        self.patch(mailbox, "expunge", noted)
        self.patch(selected, "SLICE", 2)
        answer = session.send(b"a EXPUNGE\r\n")
        for number in (6, 4, 2, 1):
            self.assertIn(b"* %d EXPUNGE\r\n" % number, answer)
        self.assertIn(b"a OK ", answer)
        self.assertEqual(list(self.stored()), [3, 5])
        self.assertEqual([each.render() for each in asked], [b"1:2", b"3:4", b"5:4294967295"])

    def test_few(self) -> None:
        """If few are to go, however many stay, it is one step, and none if there are none."""
        session = self.deleted(3)
        asked: list[Any] = []
        mailbox = type(now(self.server.account.openMailbox("INBOX")))
        expunge = mailbox.expunge

        async def noted(self_: Any, uids: Any, *arguments: Any) -> Any:
            asked.append(uids)
            return await expunge(self_, uids, *arguments)

        self.patch(mailbox, "expunge", noted)
        self.assertIn(b"* 3 EXPUNGE\r\n", session.send(b"a EXPUNGE\r\n"))
        self.assertEqual(asked, [None])


class FailingStoreTests(Steps, test_messages.FailingStoreTests):
    """A store that fails at its n-th call."""


class CloseTests(Steps, test_selection.CloseTests):
    """CLOSE."""


class SortTests(Steps, test_sort.SortTests):
    """SORT."""


class PushedDownSortTests(Steps, test_sort.PushedDownTests):
    """By the SQL store."""


class ThreadTests(Steps, test_thread.ThreadTests):
    """THREAD."""


class PushedDownThreadTests(Steps, test_thread.PushedDownTests):
    """By the SQL store."""


class NewsTests(Steps, test_messages.MailboxTestCase):
    """
    What others changed in many messages.
    """

    def test_told(self) -> None:
        """
        Flags, messages that are gone and new ones are told, each once, whatever the number of
        turns it takes.
        """
        session = self.select(6)
        other = self.server.select()
        other.send(b"a STORE 1:5 +FLAGS (\\Flagged)\r\n")
        other.send(b"b STORE 2,4,6 +FLAGS (\\Deleted)\r\n")
        other.send(b"c EXPUNGE\r\n")
        self.server.deliver()
        self.server.deliver()
        answer = session.send(b"a NOOP\r\n")
        for number, flags in ((1, b"\\Flagged"), (3, b"\\Flagged"), (5, b"\\Flagged")):
            self.assertEqual(answer.count(b"* %d FETCH (FLAGS (%b))\r\n" % (number, flags)), 1)
        expunged = [
            int(line.split()[1]) for line in answer.split(b"\r\n") if line.endswith(b" EXPUNGE")
        ]
        self.assertEqual(expunged, [6, 4, 2])
        self.assertEqual(answer.count(b"EXISTS"), 1)
        self.assertIn(b"* 5 EXISTS\r\n", answer)
        self.assertEqual(session.send(b"b NOOP\r\n"), b"b OK NOOP completed\r\n")
