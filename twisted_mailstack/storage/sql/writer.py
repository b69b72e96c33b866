# -*- test-case-name: tests.storage.test_sqlwriter -*-
"""
Group commit: every change that waits goes into one transaction, and all are answered after its
COMMIT.

What arrives while a COMMIT runs is in the next group, and so is what arrives in the reactor's next
turns, as long as each of them brings something: under load many changes share one sync of the disk,
and nobody waits for a timer. The COMMIT runs in a thread. The statements of short changes run in
the reactor's thread: each costs a few microseconds, while from another thread every statement would
have to wait for the interpreter's lock, 5 ms at a time when the reactor is busy. A group with a
long change (C{long=True}) runs in the thread as a whole.

A change that fails is undone alone. Most fail before they have written anything, and there is
nothing to undo. For one that has written, the transaction is rolled back and the others of its
group run again, each with a savepoint: with one, SQLite copies every page before it is changed,
which all would pay for the few. So a change may run twice, and has no effect but what it writes and
what it returns.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mailstack.errors import MailError, TemporaryFailure
from twisted_mailstack.storage.sql.connection import explain

T = TypeVar("T")

#: Changes of one group: bounds how long the first of them waits for the last.
MAX_GROUP = 500
#: Turns of the reactor that a group may gather, each of which brought something.
MAX_TURNS = 4


class Transaction:
    """
    What a change works on.

    @ivar changed: C{(account, mailbox)} of the mailboxes it changed; C{mailbox} 0 is the list.
        Account 0 is the spool; it has destinations for mailboxes.
    @ivar unplaced: whether a content may have lost its last copy.
    """

    __slots__ = ("changed", "connection", "execute", "executemany", "unplaced")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.executemany = connection.executemany
        self.changed: set[tuple[int, int | str]] = set()
        self.unplaced = False


Change = Callable[[Transaction], Any]
Soon = Callable[[Callable[[], None]], None]
RunInThread = Callable[[Callable[[], Any], Callable[[Any], None]], None]


class Writer:
    """
    The one writer of a database.
    """

    log = Logger()

    def __init__(
        self,
        connection: sqlite3.Connection,
        runInThread: RunInThread,
        committed: Callable[[set[tuple[int, int | str]], bool], None],
        soon: Soon | None = None,
    ) -> None:
        """
        @param connection: in autocommit mode, for this writer alone.
        @param runInThread: C{runInThread(function, callback)} runs the function in the writer's
            thread, then the callback with its result in the reactor's.
        @param committed: called after each COMMIT with what changed, and whether contents may be
            left without a copy.
        @param soon: runs a function in the reactor's next turn; C{None}: nothing is waited for.
        """
        self.connection = connection
        self._runInThread = runInThread
        self._committed = committed
        self._soon = soon
        self._waiting: deque[tuple[Change, bool, Deferred[Any]]] = deque()
        self._busy = False
        self._idle: list[Deferred[None]] = []
        self._stopped = False

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way; then the connection must be left alone."""
        return self._busy

    def submit(self, change: Callable[[Transaction], T], long: bool = False) -> Deferred[T]:
        """
        Run a change in the next group.

        @param long: it may take more than a few milliseconds.
        @return: its result, after the COMMIT that made it durable; or what it raised.
        """
        result: Deferred[T] = Deferred()
        if self._stopped:
            result.errback(TemporaryFailure("The store is closed"))
            return result
        self._waiting.append((change, long, cast("Deferred[Any]", result)))
        if not self._busy:
            self._gather()
        return result

    def finish(self) -> Deferred[None]:
        """
        Take no more changes.

        @return: fires when those that were submitted are done.
        """
        self._stopped = True
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        if not self._busy:
            self._next()
        return idle

    def _gather(self, turns: int = MAX_TURNS) -> None:
        """
        Begin the next group, as soon as a turn of the reactor brings nothing for it.
        """
        soon, gathered = self._soon, len(self._waiting)
        if soon is None or not turns:
            self._next()
            return

        def nextTurn() -> None:
            self._gather(turns - 1 if len(self._waiting) > gathered else 0)

        self._busy = True
        soon(nextTurn)

    def _next(self) -> None:
        if not self._waiting:
            self._busy = False
            idle, self._idle = self._idle, []
            for each in idle:
                each.callback(None)
            return
        self._busy = True
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
        long = any(each[1] for each in group)
        transaction = Transaction(self.connection)
        outcomes: list[Any] = []
        # Those that had written something.
        failed: dict[int, Failure] = {}

        def begin(wait: bool) -> bool:
            if self.connection.in_transaction:
                # What failed is to be undone, or could not even be rolled back.
                self.connection.execute("ROLLBACK")
            # Another process may be writing: only the thread can wait for it.
            self.connection.execute(f"PRAGMA busy_timeout = {30_000 if wait else 0}")
            try:
                self.connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                # The low octet: SQLITE_BUSY_RECOVERY is as good a reason to wait.
                if not wait and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                    return False
                raise
            return True

        def run() -> bool:
            savepoints = bool(failed)
            outcomes.clear()
            transaction.changed.clear()
            transaction.unplaced = False
            for number, (change, _, _) in enumerate(group):
                outcome = failed.get(number)
                if outcome is None:
                    before = self.connection.total_changes
                    outcome = self._runOne(change, transaction, savepoints)
                    if (
                        isinstance(outcome, Failure)
                        and not savepoints
                        and self.connection.total_changes != before
                    ):
                        failed[number] = outcome
                        return False
                outcomes.append(outcome)
            return True

        def beginAndRun(wait: bool) -> bool:
            while begin(wait):
                if run():
                    return True
            return False

        def commit() -> None:
            self.connection.execute("COMMIT")

        def inThread() -> None:
            beginAndRun(True)
            commit()

        def guarded(work: Callable[[], Any]) -> Callable[[], Failure | None]:
            def safely() -> Failure | None:
                try:
                    work()
                except BaseException:
                    failure = Failure()
                    if self.connection.in_transaction:
                        try:
                            self.connection.execute("ROLLBACK")
                        except sqlite3.Error:
                            # The first failure says more.
                            pass
                    return failure
                return None

            return safely

        def over(failure: Failure | None) -> None:
            self._answer(group, outcomes, failure, transaction)

        if long:
            self._runInThread(guarded(inThread), over)
            return

        begun = False

        def inline() -> None:
            nonlocal begun
            begun = beginAndRun(False)

        failure = guarded(inline)()
        if failure is not None:
            over(failure)
        else:
            self._runInThread(guarded(commit if begun else inThread), over)

    @staticmethod
    def _runOne(change: Change, transaction: Transaction, savepoint: bool) -> Any:
        execute = transaction.execute
        changed, unplaced = transaction.changed, transaction.unplaced
        transaction.changed = set()
        if savepoint:
            execute("SAVEPOINT one")
        try:
            result = change(transaction)
        except BaseException as error:
            if not transaction.connection.in_transaction:
                # SQLite has rolled back everything, as it does when the disk is full.
                raise
            failure = Failure(explain(error)) if isinstance(error, sqlite3.Error) else Failure()
            if savepoint:
                execute("ROLLBACK TO one")
                execute("RELEASE one")
            transaction.changed, transaction.unplaced = changed, unplaced
            return failure
        if savepoint:
            execute("RELEASE one")
        transaction.changed |= changed
        return result

    def _answer(
        self,
        group: list[tuple[Change, bool, Deferred[Any]]],
        outcomes: list[Any],
        failure: Failure | None,
        transaction: Transaction,
    ) -> None:
        if failure is not None:
            told: MailError
            if isinstance(failure.value, sqlite3.Error):
                told = explain(failure.value)
            else:
                self.log.failure("a transaction failed", failure=failure)
                told = TemporaryFailure()
            outcomes = [Failure(told) for _ in group]
        # The next group is under way before this one's people are answered.
        self._gather()
        if failure is None:
            # First: who made a change finds its watchers told (IMailbox.watch).
            self._committed(transaction.changed, transaction.unplaced)
        for (_, _, result), outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Failure):
                result.errback(outcome)
            else:
                result.callback(outcome)
