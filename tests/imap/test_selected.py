"""
What a session is told of its selected mailbox, and when: RFC 3501 §5.2, §7.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.errors import MailError, NoSuchMailbox, TemporaryFailure
from twisted_mailstack.imap.selected import MAX_RANGES, Selected, uidsOf, vanished
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.faulty import FaultyStore


class Waiting:
    """
    A mailbox whose calls wait until the test lets them go on.

    @ivar calls: those that wait: their names.
    """

    def __init__(self, real: Any) -> None:
        self.real = real
        self.calls: list[str] = []
        self._waiting: list[Deferred[None]] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.real, name)
        if name == "watch" or name.startswith("__") or not callable(value):
            return value

        async def call(*arguments: Any) -> Any:
            # The answer is that of now, and arrives later.
            result = await value(*arguments)
            turn: Deferred[None] = Deferred()
            self.calls.append(name)
            self._waiting.append(turn)
            await turn
            return result

        return call

    def goOn(self) -> None:
        """
        Let the oldest call return.
        """
        self.calls.pop(0)
        self._waiting.pop(0).callback(None)


class SelectedTests(SynchronousTestCase):
    """
    L{Selected} over the memory store.
    """

    def setUp(self) -> None:
        """Make a mailbox with two messages, claimed by nobody."""
        self.server = Server()
        self.server.deliver()
        self.server.deliver(flags=["\\Seen"])
        self.mailbox = now(self.server.account.openMailbox("INBOX"))
        self.news: list[None] = []

    def open(self, readOnly: bool = False, mailbox: Any = None) -> Selected:
        """
        @return: the mailbox, selected.
        """
        return now(self.opening(readOnly, mailbox))

    def opening(self, readOnly: bool = False, mailbox: Any = None) -> Any:
        """
        @return: the same, under way.
        """
        return Selected.open(
            "INBOX", mailbox or self.mailbox, readOnly, lambda: self.news.append(None)
        )

    def store(self, uids: str, operation: FlagOperation, *flags: str) -> None:
        """
        Change flags.
        """
        now(self.mailbox.storeFlags(NumberSet.parse(uids.encode()), operation, frozenset(flags)))

    def expunge(self, uids: str) -> None:
        """
        Expunge messages.
        """
        now(self.mailbox.expunge(NumberSet.parse(uids.encode()), onlyDeleted=False))

    def test_open(self) -> None:
        """
        A session that selects sees the mailbox as it is, nothing is news.
        """
        selected = self.open()
        self.assertEqual(list(selected.view.uids), [1, 2])
        self.assertEqual(selected.view.recent, 2)
        self.assertFalse(selected.stale)
        self.assertEqual(now(selected.synchronise(True)), b"")

    def test_news(self) -> None:
        """
        Changes by anybody call for a look; the look tells each once, in an order in which the
        numbers are right: flags, EXPUNGEs, EXISTS and RECENT.
        """
        selected = self.open()
        self.store("2", FlagOperation.ADD, "\\Flagged")
        self.expunge("1")
        self.server.deliver()
        self.assertTrue(self.news)
        self.assertTrue(selected.stale)
        self.assertEqual(
            now(selected.synchronise(True)),
            b"* 2 FETCH (FLAGS (\\Recent \\Flagged \\Seen))\r\n"
            b"* 1 EXPUNGE\r\n* 2 EXISTS\r\n* 2 RECENT\r\n",
        )
        self.assertFalse(selected.stale)
        self.assertEqual(now(selected.synchronise(True)), b"")

    def test_expungesHeldBack(self) -> None:
        """
        Where EXPUNGE may not be told, everything else is; the EXPUNGE comes the next time that it
        may, even if nothing else happened.
        """
        selected = self.open()
        self.expunge("1")
        self.server.deliver()
        self.assertEqual(now(selected.synchronise(False)), b"* 3 EXISTS\r\n* 3 RECENT\r\n")
        self.assertEqual(now(selected.synchronise(False)), b"")
        self.assertEqual(now(selected.synchronise(True)), b"* 1 EXPUNGE\r\n")

    def test_keywords(self) -> None:
        """
        A keyword that is new to the mailbox is announced before a message that has it (RFC 9051
        §7.3.5).
        """
        selected = self.open()
        self.store("1", FlagOperation.ADD, "urgent")
        self.assertEqual(
            now(selected.synchronise(True)),
            b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft urgent)\r\n"
            b"* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft urgent \\*)]"
            b" Flags that are kept\r\n"
            b"* 1 FETCH (FLAGS (\\Recent urgent))\r\n",
        )

    def test_flagsResponse(self) -> None:
        """
        FLAGS lists what messages can have; PERMANENTFLAGS what can be stored, with C{\\*} for new
        keywords (RFC 3501 §7.1), nothing if it is read-only.
        """
        self.store("1", FlagOperation.ADD, "b", "A")
        flags = rb"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft A b)"
        self.assertEqual(
            self.open().flagsResponse().split(b"\r\n")[:2],
            [
                flags,
                rb"* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft A b \*)]"
                rb" Flags that are kept",
            ],
        )
        self.assertEqual(
            self.open(readOnly=True).flagsResponse().split(b"\r\n")[:2],
            [flags, b"* OK [PERMANENTFLAGS ()] Flags that are kept"],
        )

    def test_requireWritable(self) -> None:
        """
        Read-only mailboxes refuse what would change them.
        """
        self.open().requireWritable()
        with self.assertRaises(MailError) as caught:
            self.open(readOnly=True).requireWritable()
        self.assertEqual(caught.exception.imapCode, "READ-ONLY")

    def test_flagResponses(self) -> None:
        """
        Flags are told with C{\\Recent} where it is, and with the UID where that is asked for.
        """
        self.server.select()
        self.server.deliver()
        selected = self.open()
        self.assertEqual(
            selected.flagResponses([1, 2]),
            [b"* 2 FETCH (FLAGS (\\Seen))\r\n", b"* 3 FETCH (FLAGS (\\Recent))\r\n"],
        )
        self.assertEqual(
            selected.flagResponses([2], withUID=True),
            [b"* 3 FETCH (UID 3 FLAGS (\\Recent))\r\n"],
        )

    def test_uidsOf(self) -> None:
        """
        Indexes are turned into UIDs.
        """
        self.expunge("1")
        self.server.deliver()
        self.assertEqual(uidsOf(self.open().view, [1, 0]), [3, 2])

    def test_close(self) -> None:
        """
        A mailbox that isn't selected any more calls nobody.
        """
        selected = self.open()
        selected.close()
        self.server.deliver()
        self.assertEqual(self.news, [])
        selected.close()

    def test_deleted(self) -> None:
        """
        If the mailbox was deleted the look says so, every time.
        """
        now(self.server.account.createMailbox("here"))
        selected = self.open(mailbox=now(self.server.account.openMailbox("here")))
        now(self.server.account.deleteMailbox("here"))
        for _ in range(2):
            with self.assertRaises(NoSuchMailbox):
                now(selected.synchronise(True))

    # --- recent messages -----------------------------------------------------------------------

    def test_recentOnce(self) -> None:
        """
        Each message is recent in one session (RFC 3501 §2.3.2): that which is told of it first.
        """
        first, second = self.open(), self.open()
        self.assertEqual((first.view.recent, second.view.recent), (2, 0))
        self.server.deliver()
        self.assertEqual(now(second.synchronise(True)), b"* 3 EXISTS\r\n* 1 RECENT\r\n")
        self.assertEqual(now(first.synchronise(True)), b"* 3 EXISTS\r\n* 2 RECENT\r\n")
        self.assertEqual((first.view.recent, second.view.recent), (2, 1))
        self.assertEqual(self.open().view.recent, 0)

    def test_recentOfReadOnly(self) -> None:
        """
        EXAMINE sees recent messages, also those that come while it looks, and takes none (RFC 3501
        §6.3.2).
        """
        readOnly = self.open(readOnly=True)
        self.assertEqual(readOnly.view.recent, 2)
        self.server.deliver()
        self.assertEqual(now(readOnly.synchronise(True)), b"* 3 EXISTS\r\n* 3 RECENT\r\n")
        self.assertEqual(self.open().view.recent, 3)
        self.assertEqual(self.open(readOnly=True).view.recent, 0)

    def test_recentOfReadOnlyInPart(self) -> None:
        """
        EXAMINE of a mailbox with old and recent messages, and of one whose recent ones are gone.
        """
        self.open()
        self.server.deliver()
        selected = self.open(readOnly=True)
        self.assertEqual([selected.view.isRecent(uid) for uid in (1, 2, 3)], [False, False, True])
        self.expunge("3")
        self.assertEqual(self.open(readOnly=True).view.recent, 0)
        self.expunge("1:2")
        self.assertEqual(self.open(readOnly=True).view.recent, 0)

    # --- what happens meanwhile ----------------------------------------------------------------

    def during(self, calls: int, action: Callable[[], None], readOnly: bool = False) -> Selected:
        """
        @return: the mailbox, selected, where something happens while the n-th call is under way.
        """
        waiting = Waiting(self.mailbox)
        result: list[Selected] = []
        ensureDeferred(self.opening(readOnly, waiting)).addCallback(result.append)
        for number in range(1, 10):
            if result:
                break
            if number == calls:
                action()
            waiting.goOn()
        return result[0]

    def test_changesWhileOpening(self) -> None:
        """
        What happens while the mailbox is being selected is news afterwards, or was seen; nothing is
        missed, whenever it happens.
        """
        for readOnly in (False, True):
            for calls in range(1, 3):
                self.setUp()
                selected = self.during(calls, self.server.deliver, readOnly)
                known = list(selected.view.uids)
                if known == [1, 2]:
                    selected.mailbox = self.mailbox
                    self.assertTrue(selected.stale)
                    self.assertIn(b"* 3 EXISTS\r\n", now(selected.synchronise(True)))
                self.assertEqual(list(selected.view.uids), [1, 2, 3])

    def test_recentWhileOpening(self) -> None:
        """
        A message that comes while two sessions select is recent in one of them, whenever it comes.
        """
        for calls in range(1, 3):
            self.setUp()
            first = self.during(calls, self.server.deliver)
            first.mailbox = self.mailbox
            second = self.open()
            now(first.synchronise(True))
            counts = [sum(each.view.isRecent(uid) for each in (first, second)) for uid in (1, 2, 3)]
            self.assertEqual(counts, [1, 1, 1], calls)

    def faulty(self) -> tuple[FaultyStore, Any]:
        """
        @return: a store that may fail around the one in memory, and INBOX in it.
        """
        store = FaultyStore(self.server.store)
        account: Any = now(store.openAccount(self.server.account.accountId))
        return store, now(account.openMailbox("INBOX"))

    def test_closedWhileOpeningFails(self) -> None:
        """
        If the mailbox can't be read it isn't watched either.
        """
        for failAt in (1, 2):
            store, mailbox = self.faulty()
            store.failAt(failAt, TemporaryFailure)
            with self.assertRaises(TemporaryFailure):
                self.open(mailbox=mailbox)
            self.server.deliver()
            self.assertEqual(self.news, [])

    def test_storeFails(self) -> None:
        """
        If the look fails nothing is lost: the next one tells it all.
        """
        for failAt in (1, 2):
            self.setUp()
            store, mailbox = self.faulty()
            selected = self.open(mailbox=mailbox)
            self.server.deliver(MESSAGE)
            self.store("2", FlagOperation.REPLACE)
            self.expunge("1")
            store.failAt(failAt, TemporaryFailure)
            with self.assertRaises(TemporaryFailure):
                now(selected.synchronise(True))
            self.assertTrue(selected.stale)
            self.assertEqual(
                now(selected.synchronise(True)),
                b"* 2 FETCH (FLAGS (\\Recent))\r\n* 1 EXPUNGE\r\n* 2 EXISTS\r\n* 2 RECENT\r\n",
            )

    def test_changesWhileLooking(self) -> None:
        """
        What happens while the session looks is told by this look or by the next.
        """
        for calls in (1, 2):
            self.setUp()
            waiting = Waiting(self.mailbox)
            selected = self.open()
            selected.mailbox = waiting  # type: ignore[assignment]
            self.server.deliver()
            result: list[bytes] = []
            ensureDeferred(selected.synchronise(True)).addCallback(result.append)
            for number in range(1, 10):
                if result:
                    break
                if number == calls:
                    self.server.deliver()
                waiting.goOn()
            selected.mailbox = self.mailbox
            told = result[0] + now(selected.synchronise(True))
            self.assertIn(b"* 4 EXISTS\r\n* 4 RECENT\r\n", told)


class VanishedTests(SynchronousTestCase):
    """
    VANISHED responses (RFC 7162 §3.2.10).
    """

    def test_short(self) -> None:
        """A set is one response; no UIDs are none."""
        self.assertEqual(vanished(NumberSet.parse(b"41,43:116")), b"* VANISHED 41,43:116\r\n")
        self.assertEqual(
            vanished(NumberSet.parse(b"7"), earlier=True), b"* VANISHED (EARLIER) 7\r\n"
        )
        self.assertEqual(vanished(NumberSet()), b"")

    def test_long(self) -> None:
        """A million holes are many lines, of which none is long, and together name each."""
        uids = NumberSet.of(range(1, 6 * MAX_RANGES, 2))
        lines = vanished(uids).split(b"\r\n")
        self.assertEqual(lines.pop(), b"")
        self.assertEqual(len(lines), 3)
        self.assertLess(max(map(len, lines)), 22 * MAX_RANGES)
        told = NumberSet()
        for line in lines:
            self.assertTrue(line.startswith(b"* VANISHED "))
            told |= NumberSet.parse(line[11:])
        self.assertEqual(told, uids)


class ModSeqTests(SynchronousTestCase):
    """
    The HIGHESTMODSEQ that a client is told (RFC 7162 §3.2, §6), held against a client that reckons
    as §6 says.
    """

    def test_flagsUntold(self) -> None:
        """
        A client that doesn't want flags told (RFC 5465 §5.1) isn't told either that it knows them.
        """
        server = Server()
        server.deliver()
        mailbox = now(server.account.openMailbox("INBOX"))
        selected = now(Selected.open("INBOX", mailbox, False, lambda: None, {b"CONDSTORE"}))
        self.addCleanup(selected.close)
        selected.tellsFlags = False
        before = selected.toldModSeq
        flags = frozenset(("\\Seen",))
        now(mailbox.storeFlags(NumberSet([(1, 1)]), FlagOperation.ADD, flags))
        server.deliver()
        self.assertEqual(now(selected.synchronise(True)), b"* 2 EXISTS\r\n* 2 RECENT\r\n")
        self.assertEqual(selected.modSeqNews(), b"")
        # A modSeq above it that the client sees doesn't make it believe so.
        selected.modSeqs([1])
        self.assertEqual(selected.modSeqNews(), b"[HIGHESTMODSEQ %d] " % before)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from("flag expunge deliver look fetch".split()), st.integers(0, 5)
            ),
            max_size=25,
        )
    )
    def test_nothingIsLost(self, steps: list[tuple[str, int]]) -> None:
        """
        Wherever the connection breaks, what changed after the client's HIGHESTMODSEQ is all that it
        doesn't know.
        """
        server = Server()
        for _ in range(3):
            server.deliver()
        mailbox = now(server.account.openMailbox("INBOX"))
        selected = now(
            Selected.open("INBOX", mailbox, False, lambda: None, {b"CONDSTORE", b"QRESYNC"})
        )
        highest = selected.toldModSeq
        flags = dict.fromkeys((1, 2, 3), frozenset[str]())
        for step, number in steps:
            uids = list(now(mailbox.changesSince(0)).uids)
            some = NumberSet.of(uids[number : number + 1])
            if step == "flag":
                new = frozenset((f"k{number}",))
                now(mailbox.storeFlags(some, FlagOperation.ADD, new))
                continue
            if step == "expunge":
                now(mailbox.expunge(some, onlyDeleted=False))
                continue
            if step == "deliver":
                server.deliver()
                continue
            # A command: one that may tell EXPUNGEs, or one that may not and has MODSEQ.
            told = [] if step == "look" else selected.modSeqs(range(len(selected.view.uids)))
            answer = now(selected.synchronise(step == "look"))
            code = selected.modSeqNews()
            told += [int(each) for each in re.findall(rb"MODSEQ \((\d+)\)", answer)]
            given = re.search(rb"HIGHESTMODSEQ (\d+)", code)
            highest = int(given.group(1)) if given else max([highest, *told])
            for gone in re.findall(rb"VANISHED (\S+)", answer):
                for uid in NumberSet.parse(gone):
                    del flags[uid]
            # New messages are fetched.
            for at in range(len(flags), len(selected.view.uids)):
                flags[selected.view.uids[at]] = selected.view.flags[at]
            for uid, words in re.findall(rb"UID (\d+) FLAGS \(([^)]*)\)", answer):
                listed = words.decode().split()
                flags[int(uid)] = frozenset(each for each in listed if each != "\\Recent")
            missed = now(mailbox.changesSince(highest))
            whole = now(mailbox.changesSince(0))
            then = {uid: each for uid, each in flags.items() if uid not in missed.vanished}
            then |= dict(zip(missed.uids, missed.flags, strict=True))
            self.assertEqual(then, dict(zip(whole.uids, whole.flags, strict=True)))
        selected.close()
