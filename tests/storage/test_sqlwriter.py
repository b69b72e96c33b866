"""
Group commit: what waits goes into one transaction and is answered after its COMMIT.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import OverQuota, StoreDamaged, TemporaryFailure
from twisted_mailstack.storage.sql.writer import MAX_GROUP, MAX_TURNS, Transaction, Writer


class Recording(sqlite3.Connection):
    """
    Notes its statements, and can fail at some.
    """

    statements: list[str]
    failing: dict[str, sqlite3.Error]

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        """See L{sqlite3.Connection}."""
        self.statements.append(statement)
        if statement in self.failing:
            raise self.failing[statement]
        return super().execute(statement, *arguments)


def broken(code: int = sqlite3.SQLITE_IOERR) -> sqlite3.OperationalError:
    """
    @return: what SQLite raises.
    """
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    return error


class WriterTests(SynchronousTestCase):
    """
    A writer whose thread does what it is given when the test says so.
    """

    def setUp(self) -> None:
        """A database with one table."""
        self.path = self.mktemp()
        self.connection = sqlite3.connect(self.path, isolation_level=None, factory=Recording)
        self.addCleanup(self.connection.close)
        self.connection.statements, self.connection.failing = [], {}
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("CREATE TABLE t (value)")
        self.thread: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self.committed: list[tuple[set[tuple[int, int]], bool]] = []
        self.writer = Writer(
            self.connection,
            lambda function, callback: self.thread.append((function, callback)),
            lambda changed, unplaced: self.committed.append((changed, unplaced)),
        )
        self.reader = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(self.reader.close)
        del self.connection.statements[:]

    def runThread(self) -> None:
        """Let the thread do one thing."""
        function, callback = self.thread.pop(0)
        callback(function())

    def stored(self) -> list[object]:
        """
        @return: what others can see.
        """
        return [row[0] for row in self.reader.execute("SELECT value FROM t ORDER BY rowid")]

    def insert(self, value: object, error: BaseException | None = None, **more: Any) -> Any:
        """
        Submit a change.
        """

        def change(transaction: Transaction) -> object:
            transaction.execute("INSERT INTO t VALUES (?)", (value,))
            transaction.changed.add((1, 1 if isinstance(value, int) else 2))
            if error is not None:
                raise error
            return value

        return self.writer.submit(change, **more)

    def count(self, statement: str) -> int:
        """
        @return: how often it was run.
        """
        return self.connection.statements.count(statement)

    # --- groups --------------------------------------------------------------------------------

    def test_answeredAfterCommit(self) -> None:
        """A change is answered when it is durable, not before."""
        result: Deferred[object] = self.insert("a")
        self.assertNoResult(result)
        self.assertEqual(self.stored(), [])
        self.runThread()
        self.assertEqual(self.successResultOf(result), "a")
        self.assertEqual(self.stored(), ["a"])
        self.assertEqual(self.thread, [])

    def test_oneTransaction(self) -> None:
        """All that comes while a COMMIT runs is one transaction, in the order it came."""
        first = self.insert(0)
        waiting = [self.insert(number) for number in range(1, 10)]
        self.runThread()
        self.assertEqual(self.successResultOf(first), 0)
        for each in waiting:
            self.assertNoResult(each)
        self.assertEqual(self.stored(), [0])
        self.runThread()
        self.assertEqual([self.successResultOf(each) for each in waiting], list(range(1, 10)))
        self.assertEqual(self.stored(), list(range(10)))
        self.assertEqual(self.count("COMMIT"), 2)
        self.assertFalse(self.writer.busy)

    def test_nextGroupBeginsFirst(self) -> None:
        """While people are answered the next group is already on its way."""
        busy: list[bool] = []
        self.insert(1).addCallback(lambda _: busy.append(self.writer.busy))
        self.insert(2)
        self.runThread()
        self.assertEqual(busy, [True])
        self.runThread()

    def test_manyMakeSeveralGroups(self) -> None:
        """A group is bounded, so that its first change doesn't wait for ever more."""
        results = [self.insert(number) for number in range(MAX_GROUP * 2 + 2)]
        while self.thread:
            self.runThread()
        self.assertEqual(
            [self.successResultOf(each) for each in results], list(range(MAX_GROUP * 2 + 2))
        )
        # The first went alone.
        self.assertEqual(self.count("COMMIT"), 4)

    def gathering(self) -> list[Callable[[], None]]:
        """
        A writer that gathers.

        @return: what is to run in the reactor's next turn.
        """
        turns: list[Callable[[], None]] = []
        self.writer = Writer(
            self.connection,
            lambda function, callback: self.thread.append((function, callback)),
            lambda changed, unplaced: self.committed.append((changed, unplaced)),
            turns.append,
        )
        return turns

    def test_gathers(self) -> None:
        """What comes in the next turns is in the same group; it begins when one brings nothing."""
        turns = self.gathering()
        results = [self.insert(0)]
        self.assertTrue(self.writer.busy)
        for number in (1, 2):
            results.append(self.insert(number))
            turns.pop(0)()
            self.assertEqual((self.thread, len(turns)), ([], 1))
        turns.pop(0)()
        self.assertEqual((len(self.thread), turns), (1, []))
        # Also behind a COMMIT.
        results.append(self.insert(3))
        self.runThread()
        self.assertEqual([self.successResultOf(each) for each in results[:3]], [0, 1, 2])
        self.assertEqual(self.thread, [])
        results.append(self.insert(4))
        turns.pop(0)()
        turns.pop(0)()
        self.runThread()
        self.assertEqual([self.successResultOf(each) for each in results[3:]], [3, 4])
        self.assertEqual(self.count("COMMIT"), 2)
        turns.pop(0)()
        self.assertEqual((self.writer.busy, turns, self.thread), (False, [], []))

    def test_gathersNotForEver(self) -> None:
        """However many keep coming, the first doesn't wait for more than some turns."""
        turns = self.gathering()
        first = self.insert(0)
        for number in range(1, MAX_TURNS + 1):
            self.assertEqual(self.thread, [])
            self.insert(number)
            turns.pop(0)()
        self.runThread()
        self.assertEqual(self.successResultOf(first), 0)

    def test_finishWhileGathering(self) -> None:
        """What was submitted before the end is done, also if its group hasn't begun."""
        turns = self.gathering()
        result = self.insert(0)
        finished = self.writer.finish()
        while turns or self.thread:
            turns.pop(0)() if turns else self.runThread()
        self.assertEqual(self.successResultOf(result), 0)
        self.successResultOf(finished)

    def test_submittedByACallback(self) -> None:
        """Who is answered may submit the next change at once."""
        second: list[Deferred[object]] = []
        self.insert(1).addCallback(lambda _: second.append(self.insert(2)))
        self.runThread()
        self.runThread()
        self.assertEqual(self.successResultOf(second[0]), 2)

    def test_long(self) -> None:
        """A group with a long change runs in the thread as a whole."""
        first = self.insert(1)
        rest = [self.insert(2), self.insert(3, long=True), self.insert(4)]
        self.runThread()
        self.assertEqual(self.successResultOf(first), 1)
        self.assertEqual(self.count("INSERT INTO t VALUES (?)"), 1)
        self.runThread()
        self.assertEqual([self.successResultOf(each) for each in rest], [2, 3, 4])
        self.assertEqual(self.stored(), [1, 2, 3, 4])

    # --- failures ------------------------------------------------------------------------------

    def test_failingChange(self) -> None:
        """A change that fails is undone alone; whoever asked for it gets what it raised."""
        for long in (False, True):
            before = self.stored()
            self.insert("first")
            results = [
                self.insert("good", long=long),
                self.insert("bad", OverQuota()),
                self.insert("good too"),
                self.insert("worse", ZeroDivisionError()),
            ]
            while self.thread:
                self.runThread()
            self.assertEqual(self.successResultOf(results[0]), "good")
            self.failureResultOf(results[1], OverQuota)
            self.assertEqual(self.successResultOf(results[2]), "good too")
            self.failureResultOf(results[3], ZeroDivisionError)
            self.assertEqual(self.stored()[len(before) :], ["first", "good", "good too"])

    def test_failingCommit(self) -> None:
        """If the COMMIT fails, everybody is told of a temporary failure, and nothing is left."""
        self.insert("before")
        self.runThread()
        self.committed.clear()
        error = broken()
        for long in (False, True):
            self.connection.failing = {"COMMIT": error}
            one = self.insert(1, long=long)
            rest = [self.insert(2), self.insert(3, OverQuota())]
            self.runThread()
            self.connection.failing = {}
            self.failureResultOf(one, TemporaryFailure)
            self.runThread()
            self.assertEqual(self.successResultOf(rest[0]), 2)
            self.failureResultOf(rest[1], OverQuota)
            self.assertEqual(len(self.flushLoggedErrors(sqlite3.OperationalError)), 1)
        self.assertEqual(self.stored(), ["before", 2, 2])
        self.assertEqual(self.committed, [({(1, 1)}, False)] * 2)

    def test_failingCommitOfAGroup(self) -> None:
        """All of the group are told, and the next group goes on."""
        self.insert(0)
        group = [self.insert(number) for number in (1, 2)]
        self.runThread()
        self.connection.failing = {"COMMIT": broken()}
        after = self.insert(3)
        self.runThread()
        self.connection.failing = {}
        for each in group:
            self.failureResultOf(each, TemporaryFailure)
        self.runThread()
        self.assertEqual(self.successResultOf(after), 3)
        self.assertEqual(self.stored(), [0, 3])
        self.flushLoggedErrors(sqlite3.OperationalError)

    def test_failingBegin(self) -> None:
        """If no transaction can be begun, they are told, and later ones are tried."""
        self.connection.failing = {"BEGIN IMMEDIATE": broken()}
        self.failureResultOf(self.insert(1), TemporaryFailure)
        self.connection.failing = {}
        result = self.insert(2)
        self.runThread()
        self.assertEqual(self.successResultOf(result), 2)
        self.assertEqual(self.stored(), [2])
        self.flushLoggedErrors(sqlite3.OperationalError)

    def test_failingSavepoints(self) -> None:
        """If a change can't be undone alone, its whole group is."""
        for statement in ("ROLLBACK", "SAVEPOINT one", "ROLLBACK TO one", "RELEASE one"):
            self.connection.failing = {statement: broken()}
            self.insert("first")
            results = [
                self.insert("good"),
                self.insert("bad", OverQuota()),
                self.insert("worse", OverQuota()),
            ]
            while self.thread:
                self.runThread()
            for each in results:
                self.failureResultOf(each, TemporaryFailure)
            self.connection.failing = {}
            self.flushLoggedErrors(sqlite3.OperationalError)
        self.assertEqual(self.stored(), ["first"] * 4)

    def test_failsBeforeItWrites(self) -> None:
        """A change that has written nothing has nothing to undo: the others run once."""

        def refuse(transaction: Transaction) -> None:
            raise OverQuota()

        self.insert("first")
        results = [self.insert("a"), self.writer.submit(refuse), self.insert("b")]
        while self.thread:
            self.runThread()
        self.failureResultOf(results[1], OverQuota)
        self.assertEqual(self.stored(), ["first", "a", "b"])
        self.assertEqual(self.count("INSERT INTO t VALUES (?)"), 3)
        self.assertEqual(self.count("SAVEPOINT one"), 0)

    def test_takenOverWhileUndoing(self) -> None:
        """If another process begins to write before the others run again, the thread waits."""

        def fail(transaction: Transaction) -> None:
            transaction.execute("INSERT INTO t VALUES ('bad')")
            # From now on BEGIN finds the database locked.
            self.connection.failing = {"BEGIN IMMEDIATE": broken(sqlite3.SQLITE_BUSY)}
            raise OverQuota()

        self.insert("first")
        good, bad, last = self.insert("good"), self.writer.submit(fail), self.insert("last")
        self.runThread()
        self.connection.failing = {}
        self.assertNoResult(bad)
        self.runThread()
        self.failureResultOf(bad, OverQuota)
        self.assertEqual([self.successResultOf(each) for each in (good, last)], ["good", "last"])
        self.assertEqual(self.stored(), ["first", "good", "last"])

    def test_failingRollback(self) -> None:
        """Even if the ROLLBACK fails, the next group goes on, without what was to be undone."""
        self.connection.failing = {
            "COMMIT": broken(),
            "ROLLBACK": broken(),
        }
        result = self.insert(1)
        self.runThread()
        self.failureResultOf(result, TemporaryFailure)
        self.connection.failing = {}
        result = self.insert(2)
        self.runThread()
        self.assertEqual(self.successResultOf(result), 2)
        self.assertEqual(self.stored(), [2])
        self.flushLoggedErrors(sqlite3.OperationalError)

    def test_databaseFailsInAChange(self) -> None:
        """What SQLite raises in a change becomes what the peer can be told."""
        results = [
            self.insert(1, broken()),
            self.insert(2, broken(sqlite3.SQLITE_CORRUPT)),
        ]
        self.runThread()
        self.runThread()
        self.failureResultOf(results[0], TemporaryFailure)
        self.failureResultOf(results[1], StoreDamaged)
        self.assertEqual(len(self.flushLoggedErrors(sqlite3.OperationalError)), 1)
        self.assertEqual(self.stored(), [])

    # --- other processes -----------------------------------------------------------------------

    def test_recovering(self) -> None:
        """The same while another process recovers the log."""
        recovering = broken(sqlite3.SQLITE_BUSY_RECOVERY)
        self.connection.failing = {"BEGIN IMMEDIATE": recovering}
        result = self.insert(1)
        self.connection.failing = {}
        self.runThread()
        self.assertEqual(self.successResultOf(result), 1)

    def test_waitsInTheThread(self) -> None:
        """While another process writes, only the thread waits; the reactor goes on."""
        self.reader.execute("BEGIN IMMEDIATE")
        result = self.insert(1)
        self.assertEqual(self.count("INSERT INTO t VALUES (?)"), 0)
        self.assertEqual(len(self.thread), 1)
        self.reader.execute("COMMIT")
        self.runThread()
        self.assertEqual(self.successResultOf(result), 1)
        self.assertEqual(self.count("COMMIT"), 1)

    # --- telling -------------------------------------------------------------------------------

    def test_committed(self) -> None:
        """After each COMMIT it is told what changed: not what was undone, nor what failed."""
        told: list[object] = []
        self.insert(1).addCallback(lambda _: told.append(list(self.committed)))
        self.insert("a")
        self.insert("b", OverQuota()).addErrback(lambda _: None)
        self.runThread()
        # Who made the change finds its watchers told.
        self.assertEqual(told, [[({(1, 1)}, False)]])
        self.runThread()
        self.assertEqual(self.committed[1:], [({(1, 2)}, False)])
        self.insert("c", OverQuota()).addErrback(lambda _: None)
        self.runThread()
        self.assertEqual(self.committed[2:], [(set(), False)])

    def test_unplaced(self) -> None:
        """Also whether a content may have lost its last copy; not if that was undone."""

        def change(transaction: Transaction) -> None:
            transaction.unplaced = True

        def undone(transaction: Transaction) -> None:
            transaction.unplaced = True
            raise OverQuota()

        self.writer.submit(undone).addErrback(lambda _: None)
        self.runThread()
        self.writer.submit(change)
        self.runThread()
        self.assertEqual([unplaced for _, unplaced in self.committed], [False, True])

    # --- the end -------------------------------------------------------------------------------

    def test_finish(self) -> None:
        """What was submitted is done; what comes later is refused."""
        results = [self.insert(number) for number in range(3)]
        finished = self.writer.finish()
        again = self.writer.finish()
        self.failureResultOf(self.insert(4), TemporaryFailure)
        self.runThread()
        self.assertNoResult(finished)
        self.runThread()
        self.successResultOf(finished)
        self.successResultOf(again)
        self.assertEqual([self.successResultOf(each) for each in results], [0, 1, 2])
        self.assertEqual(self.stored(), [0, 1, 2])

    def test_finishIdle(self) -> None:
        """With nothing to do it is finished at once."""
        self.successResultOf(self.writer.finish())

    def test_cancelled(self) -> None:
        """That somebody stops waiting changes nothing: it is done, and the others are answered."""
        one, two = self.insert(1), self.insert(2)
        one.cancel()
        self.runThread()
        self.runThread()
        self.assertEqual(self.successResultOf(two), 2)
        self.assertEqual(self.stored(), [1, 2])
        self.failureResultOf(one)
