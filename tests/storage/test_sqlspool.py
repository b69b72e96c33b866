"""
The SQL store's spool keeps the contract, and more: what it costs, what a crash leaves, and what is
done about damage.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from tests.storage.test_sqlfaults import BrokenStore, Disk
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import DELIVERED, LOCAL, Outcome, QueuedMessage, QueueFilter
from twisted_mailstack.model.records import Damage
from twisted_mailstack.storage.sql import spool as spoolModule
from twisted_mailstack.storage.sql.store import FILE, SQLMailStore
from twisted_mailstack.testing import contracts
from twisted_mailstack.testing.contracts.base import start
from twisted_mailstack.testing.contracts.spool import ALL, DATA, SpoolTestCase


class SQLSpoolTests(SQLStore, contracts.SpoolContract, SynchronousTestCase):
    """Mail that waits."""

    def test_manyAtOnce(self) -> None:
        """Also in several steps."""
        self.patch(spoolModule, "CHANGE", 500)
        super().test_manyAtOnce()


class SQLDurableSpoolTests(SQLStore, contracts.DurableSpoolContract, SynchronousTestCase):
    """What is kept."""


class SQLSharedSpoolTests(SQLStore, contracts.SharedSpoolContract, SynchronousTestCase):
    """Several processes."""


class SQLSpoolTestCase(SQLStore, SpoolTestCase):
    """
    A spool in a file.
    """

    store: Any

    def count(self, statement: str) -> int:
        """
        @return: a number out of the database.
        """
        found: int = self.store.reader.execute(statement).fetchone()[0]
        return found

    def many(self, count: int, destination: str = "far.test") -> None:
        """
        Queue so many messages.
        """
        content = self.stage()
        waiting = [
            start(
                self.spool.accept(
                    content, [], 0, self.queued(f"u{number}@{destination}", queueId=f"M{number}")
                )
            )
            for number in range(count)
        ]
        for each in waiting:
            self.wait(each)


class CostTests(SQLSpoolTestCase, SynchronousTestCase):
    """
    What the queue asks all the time costs the same, however much waits.
    """

    def test_storedOnce(self) -> None:
        """A message for 1,000 recipients at 300 domains is stored once."""
        data = b"Subject: x\r\n\r\n" + b"y" * 200_000
        message = self.put(
            *(f"u{number}@d{number % 300}.test" for number in range(1000)), data=data
        )
        self.assertEqual(len(message.recipients), 1000)
        self.assertEqual(self.count("SELECT count(*) FROM content"), 1)
        self.assertEqual(self.count("SELECT sum(length(data)) FROM chunk"), len(data))
        self.assertEqual(self.count("SELECT count(*) FROM queued"), 1)
        self.assertEqual(len(self.states()), 300)
        for number in range(1000):
            self.wait(self.spool.settle([Outcome(message.spoolId, number, True)]))
        self.waitUntil(lambda: not self.count("SELECT count(*) FROM chunk"))
        self.assertEqual(self.count("SELECT count(*) FROM content"), 0)

    def work(self) -> None:
        """
        All that a running queue does.
        """
        spool, waits = self.spool, self.wait
        self.accept(self.placement(), queued=self.queued("a@far.test", "b@far.test"))
        message = self.all()[-1]
        waits(spool.destinations())
        waits(spool.earliest("far.test"))
        waits(spool.due("far.test", 1000, 50))
        waits(spool.waiting(message.spoolId, "far.test"))
        waits(spool.openContent(message.spoolId))
        waits(spool.overdue(10_000, 50))
        waits(spool.postpone("far.test", 10, 1, "no"))
        waits(spool.postpone("far.test", 0, 0, ""))
        waits(spool.settle([Outcome(message.spoolId, 0, False, "x", 1, 1, 1)]))
        waits(spool.place(message.spoolId, [(0, self.placement())], 1))
        waits(spool.settle([Outcome(message.spoolId, 1, True)]))

    def test_plans(self) -> None:
        """Each statement that a running queue needs finds what it wants by an index alone."""
        found: set[str] = set()
        for connection in (self.store.reader, self.store._writing):
            connection.set_trace_callback(found.add)
        self.work()
        self.wait(self.spool.hold(QueueFilter(("none",)), True))
        self.wait(self.spool.retry(QueueFilter(("none",))))
        for connection in (self.store.reader, self.store._writing):
            connection.set_trace_callback(None)
        # Asked in threads, which have connections of their own.
        found |= {spoolModule.NAMES, spoolModule.DUE, spoolModule.OVERDUE, spoolModule.EARLIEST}
        found |= {spoolModule.PRIORITIES, spoolModule.ALL, spoolModule.FORGET}
        wrong = []
        plans = 0
        for statement in found:
            if not statement.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
                continue
            # An operator's question may look at the whole queue, if it is about all of it.
            if "ORDER BY m.message" in statement:
                continue
            plans += 1
            statement = re.sub(r"\?1?", "0", statement)
            for row in self.store._writing.execute(f"EXPLAIN QUERY PLAN {statement}"):
                step = row[3]
                if "TEMP B-TREE" in step or (
                    step.startswith("SCAN")
                    # Its own recursion; the table of unreachable destinations; a given list;
                    # unplaced contents.
                    and not step.startswith(("SCAN each", "SCAN CONSTANT", "SCAN destination"))
                    and not step.startswith("SCAN json_each")
                    and "content_unplaced" not in step
                ):
                    wrong.append(f"{step}: {statement}")
        self.assertEqual(wrong, [])
        self.assertGreater(plans, 30)

    def steps(self, work: Callable[[], object]) -> int:
        """
        @return: how many hundreds of virtual machine's instructions some work takes.
        """
        found = 0

        def count() -> int:
            nonlocal found
            found += 1
            return 0

        for connection in (self.store.reader, self.store._writing):
            connection.set_progress_handler(count, 100)
        work()
        for connection in (self.store.reader, self.store._writing):
            connection.set_progress_handler(None, 100)
        return found

    def test_queue(self) -> None:
        """With thousands of messages in the queue, for one destination, nothing costs more."""

        def work() -> None:
            spool, waits = self.spool, self.wait
            waits(spool.earliest("far.test"))
            (message,) = waits(spool.due("far.test", 1000, 1))
            waits(spool.waiting(message.spoolId, "far.test"))
            waits(spool.openContent(message.spoolId))
            waits(spool.overdue(10_000, 1))
            waits(spool.settle([Outcome(message.spoolId, 0, True)]))

        self.many(5)
        few = self.steps(work)
        self.many(3000)
        self.assertLess(self.steps(work), few + 5)


class CrashTests(SQLSpoolTestCase, SynchronousTestCase):
    """
    What is on disk when the machine stops.
    """

    def copy(self) -> SQLMailStore:
        """
        @return: the store as it would be after a crash now: its files as they are, opened anew.
        """
        path = Path(self.mktemp())
        path.mkdir()
        for name in (FILE, f"{FILE}-wal"):
            if (Path(self.path) / name).exists():
                shutil.copy(Path(self.path) / name, path / name)
        store = SQLMailStore(path, self.clock, self.calls.callFromThread, now=self.now)
        self.wait(store.start())
        self.addCleanup(lambda: self.wait(store.stop()))
        self.assertEqual(list(self.wait(store.check())), [])
        return store

    def found(self) -> dict[str, list[int]]:
        """
        @return: by queue id, the recipients that would be in the spool after a crash.
        """
        messages = self.wait(self.copy().spool.select(ALL, 10_000))
        found = {message.queueId: [r.number for r in message.recipients] for message in messages}
        self.assertEqual(len(found), len(messages), "a message is there twice")
        return found

    def test_accepted(self) -> None:
        """Whatever was accepted is there; what was settled is not; nothing is there twice."""
        content = self.stage()
        acknowledged: set[str] = set()
        for number in range(60):
            queued = self.queued("a@far.test", "b@far.test", queueId=f"Q{number}")
            start(self.spool.accept(content, [], 0, queued)).addCallback(
                lambda _, queueId=queued.queueId: acknowledged.add(queueId)
            )
        while len(acknowledged) < 60:
            self.calls.runOne()
            done = set(acknowledged)
            found = self.found()
            self.assertLessEqual(done, set(found))
            self.assertEqual({tuple(each) for each in found.values()} - {(0, 1)}, set())
        for message in self.all()[:30]:
            self.wait(self.spool.settle([Outcome(message.spoolId, 0, True)]))
        found = self.found()
        self.assertEqual([found[f"Q{number}"] for number in range(60)], [[1]] * 30 + [[0, 1]] * 30)

    def test_copies(self) -> None:
        """A message for us and for others is in mailbox and spool, or in neither."""
        results = []
        for number in range(10):
            queued = self.queued("a@far.test", queueId=f"Q{number}")
            results.append(start(self.spool.accept(self.stage(), [self.placement()], 0, queued)))
        for each in results:
            self.wait(each)
            store = self.copy()
            account = self.wait(store.openAccount(self.account.accountId))
            mailbox = self.wait(account.openMailbox("INBOX"))
            status = self.wait(mailbox.status())
            self.assertEqual(status.messages, len(self.wait(store.spool.select(ALL, 100))))

    def test_placed(self) -> None:
        """A copy out of the spool is in the mailbox or waits, and never both."""
        message = self.put(self.recipient("alice@example.test", destination=LOCAL))
        for _ in range(2):
            store = self.copy()
            account = self.wait(store.openAccount(self.account.accountId))
            status = self.wait(self.wait(account.openMailbox("INBOX")).status())
            self.assertEqual(status.messages + len(self.wait(store.spool.select(ALL, 100))), 1)
            if self.all():
                self.wait(self.spool.place(message.spoolId, [(0, self.placement())], 1))


class FaultTests(SQLSpoolTestCase, SynchronousTestCase):
    """
    Every kind of change of the spool, failing at every one of its statements, as on a full disk.
    """

    def makeStore(self) -> IMailStore:
        """See the contract."""
        return BrokenStore(
            self.disk, self.place(), self.clock, self.calls.callFromThread, now=self.now
        )

    def setUp(self) -> None:
        """A queue and two accounts, one of which is full."""
        self.disk = Disk()
        super().setUp()
        self.addAccount("bob")
        self.limit("bob", 0)
        self.put("a@far.test", "b@other.test", "alice@example.test", queueId="A")
        self.put("a@far.test", queueId="B", data=b"Subject: y\r\n\r\n" + b"y" * 300_000)

    def state(self) -> list[Any]:
        """
        @return: all that can be seen.
        """
        return [self.all(), self.states(), self.inbox("alice"), self.inbox("bob")]

    def everyStatement(self, change: Callable[[], object]) -> None:
        """
        Make a change whose first statement fails, then again with the second, and so on until it
        succeeds: each time it is made whole or not at all.
        """
        for number in range(300):
            before = self.state()
            self.disk.failAt = number
            try:
                change()
            except TemporaryFailure:
                self.assertEqual(self.state(), before, f"failed at {number}")
            else:
                self.disk.failAt = -1
                self.assertNotEqual(self.state(), before)
                self.assertSound()
                self.assertGreater(number, 3)
                return
            finally:
                self.disk.failAt = -1
                self.flushLoggedErrors(sqlite3.OperationalError)
            self.assertSound()
        raise self.failureException("it never succeeds")

    def test_accept(self) -> None:
        """Copies, a message for others and one that falls back, and what it settles."""
        message = self.all()[0]
        content = self.stage(DATA)
        queued = self.queued("x@far.test", queueId="N")
        waiting = self.recipient("bob@example.test", 1, destination=LOCAL)
        self.everyStatement(
            lambda: self.wait(
                self.spool.accept(
                    content,
                    [self.placement("alice"), self.placement("bob")],
                    0,
                    queued,
                    [Outcome(message.spoolId, 0, True), Outcome(message.spoolId, 1, False, "no")],
                    [None, waiting],
                    [[self.recipient("told@example.test", 2, destination=DELIVERED)], []],
                )
            )
        )

    def test_settle(self) -> None:
        """The end of recipients, and of their messages."""
        first, second = self.all()
        outcomes = [
            *(Outcome(first.spoolId, 0, False, "no", 300), Outcome(first.spoolId, 1, True)),
            Outcome(second.spoolId, 0, True),
        ]
        self.everyStatement(lambda: self.wait(self.spool.settle(outcomes)))

    def test_place(self) -> None:
        """Copies out of the spool."""
        message = self.all()[0]
        placements = [(2, self.placement("alice")), (0, self.placement("bob"))]
        self.everyStatement(
            lambda: self.wait(self.spool.place(message.spoolId, placements, 0, (2,)))
        )

    def test_operators(self) -> None:
        """What operators do."""
        self.wait(self.spool.postpone("far.test", 10_000, 1, "no"))
        for change in (
            lambda: self.spool.hold(ALL, True),
            lambda: self.spool.hold(ALL, False),
            lambda: self.spool.retry(ALL),
            lambda: self.spool.reroute(lambda message, name: "third.test"),
            lambda: self.spool.delete(ALL),
        ):
            self.everyStatement(lambda change=change: self.wait(change()))  # type: ignore[misc]


class DamageTests(SQLSpoolTestCase, SynchronousTestCase):
    """
    C{mailstack check} names damage in the queue; one damaged message doesn't stop the others.
    """

    def damage(self, statement: str) -> list[Damage]:
        """
        @return: what is found after a change behind the store's back.
        """
        connection = sqlite3.connect(Path(self.path) / FILE, isolation_level=None)
        try:
            self.assertTrue(connection.execute(statement).rowcount, "nothing is damaged")
        finally:
            connection.close()
        return list(self.wait(self.store.check()))

    def test_check(self) -> None:
        """Whatever is kept twice is compared, whatever refers to something has it."""
        whole = "queued message Q1"
        one = "queued message Q1, recipient a@far.test"
        for statement, where, what in (
            ("UPDATE queued SET waiting = 7", whole, "counts 7 waiting recipients, has 2"),
            ("DELETE FROM queued_recipient", whole, "counts 2 waiting recipients, has 0"),
            ("UPDATE queued SET content = 999", whole, "its content is missing"),
            ("UPDATE queued SET octets = octets + 1", whole, f"says {len(DATA) + 1} octets,"),
            ("UPDATE queued SET sender_folded = 'x'", whole, "its sender is not what"),
            ("UPDATE queued SET sender_domain = NULL", whole, "its sender is not what"),
            ("UPDATE queued SET parameters = '{'", whole, "its parameters or first header"),
            ("UPDATE queued SET parameters = '[]'", whole, "its parameters or first header"),
            ("UPDATE queued SET prefix = 'text'", whole, "its parameters or first header"),
            ("UPDATE queued SET held = 1", one, "is not held, or not as urgent"),
            ("UPDATE queued_recipient SET priority = 3", one, "is not held, or not as urgent"),
            ("UPDATE queued_recipient SET folded = 'x'", one, "is not what it is found by"),
            ("UPDATE queued_recipient SET parameters = 'x'", one, "its parameters can't be read"),
            ("UPDATE queued_recipient SET via = '@'", one, "the address by which it was reached"),
            ("DELETE FROM queued", "queued recipient a@far.test", "its message "),
            ("UPDATE content SET copies = 5", whole, "its octets count 5 uses, have 1"),
            ("UPDATE chunk SET data = x'00'", whole, f"has 1 of {len(DATA)} octets"),
        ):
            self.put("a@far.test", "b@far.test")
            found = self.damage(statement)
            self.assertTrue(
                [each for each in found if each.where == where and each.what.startswith(what)],
                (statement, found),
            )
            for table in ("queued", "queued_recipient", "content", "chunk", "sorting"):
                self.store._writing.execute(f"DELETE FROM {table}")
            self.assertSound()

    def test_othersGoOn(self) -> None:
        """A message whose row can't be read stays where it is; others are due, and are found."""
        for statement in (
            "UPDATE queued SET parameters = '{' WHERE queue_id = 'A'",
            "UPDATE queued_recipient SET parameters = '{' WHERE number = 5",
        ):
            self.put(self.recipient("a@far.test", 5), queueId="A")
            self.put("b@far.test", queueId="B")
            self.damage(statement)
            self.assertEqual(self.due("far.test", 1000), [("B", [0])])
            found: list[QueuedMessage] = list(self.wait(self.spool.overdue(9000, 10)))
            self.assertEqual([each.queueId for each in found], ["B"])
            self.assertEqual(self.ids(ALL), ["B"])
            # An operator can remove it.
            self.assertEqual(self.wait(self.spool.delete(QueueFilter(("A",)))), 1)
            self.assertSound()
            self.wait(self.spool.delete(ALL))

    def test_address(self) -> None:
        """Nothing is taken for an address that isn't one."""
        message = self.put("a@far.test", reversePath=Address("", "near.test"))
        self.assertEqual(message.reversePath, Address("", "near.test"))
