# -*- test-case-name: tests.storage.test_indexer -*-
"""
Keeps the search indexes up, in the background.

Some time after a change the account's new messages are indexed, in a thread of its own and in
slices, with as long a pause behind each as it took: at most half of one processor, and deliveries
never wait for it. While much else is going on it waits, for some time: searches look at what isn't
indexed yet as well. Nothing about it is kept but the indexes themselves: it may stop at any time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mailstack.storage.sql.index import DIRECTORY, AccountIndex

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

#: Seconds from a change to its indexing: what comes meanwhile is indexed with it.
DELAY = 1.0
#: Changes a second, as they are committed, above which it waits, and seconds that it waits at most:
#: Python runs one thread at a time, and a burst of mail took a third longer with it beside.
BUSY = 20
PATIENCE = 60.0
#: Seconds between two slices, at least.
PAUSE = 0.01
#: Seconds until an index that another process is about, or that can't be written, is tried again.
RETRY = 30.0

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Indexer:
    """
    The background work of one process.
    """

    log = Logger()

    def __init__(
        self,
        path: Path,
        clock: IReactorTime,
        callFromThread: Callable[..., None],
        connect: Callable[[], sqlite3.Connection],
        threads: ThreadPoolExecutor,
    ) -> None:
        """
        @param path: the store's directory.
        @param connect: makes a connection to the database.
        @param threads: one thread, which this object shuts down.
        """
        self._path = path
        self._clock = clock
        self._callFromThread = callFromThread
        self._connect = connect
        self._threads = threads
        self._waiting: dict[int, None] = {}
        # Commits since the rate of them was looked at, when that was, and since when it waits.
        self._commits = 0
        self._looked = clock.seconds()
        self._since: float | None = None
        self._timer: IDelayedCall | None = None
        self._busy = False
        self._stopped = False
        # Up to which message an account was seen to be indexed: most changes bring no message.
        self._known: dict[int, int] = {}
        # Whose index was thrown away, until one slice of it has been made.
        self._discarded: set[int] = set()
        # Whose index is to be.
        self._damaged: set[int] = set()

    def survey(self) -> None:
        """
        Look after all accounts, as at the start: others may have brought mail, or ended amidst.
        """

        def look() -> list[int]:
            connection = self._connect()
            try:
                accounts = {row[0] for row in connection.execute("SELECT account FROM account")}
            finally:
                connection.close()
            for file in (self._path / DIRECTORY).glob("A*.sqlite3"):
                name = file.name.removesuffix(".sqlite3")[1:]
                if name.isdigit() and int(name) not in accounts:
                    AccountIndex(self._path, int(name)).discard()
            return sorted(accounts)

        def over(result: list[int] | Failure) -> None:
            if isinstance(result, Failure):
                self.log.failure("the search indexes can't be looked after", result)
            else:
                self.changed(result)

        self._run(look, over)

    def changed(self, accounts: Iterable[int]) -> None:
        """
        These accounts may have new messages.
        """
        self._commits += 1
        self._waiting.update(dict.fromkeys(accounts))
        self._wake(DELAY)

    def damaged(self, account: int, error: sqlite3.Error) -> None:
        """
        An index can't be read: make it anew.
        """
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY:
            return
        self.log.warn(
            "the search index of account A{account} can't be read: {error}",
            account=account,
            error=error,
        )
        self._known.pop(account, None)
        self._damaged.add(account)
        self.changed([account])

    def stop(self) -> None:
        """
        End the slice under way, and begin no other.
        """
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._threads.shutdown(wait=True)

    def _wake(self, delay: float) -> None:
        if self._stopped or self._busy or not self._waiting:
            return
        if self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(delay, self._next)

    def _next(self) -> None:
        if self._stopped or self._busy or not self._waiting:
            return
        if self._hasToWait():
            self._wake(DELAY)
            return
        account = next(iter(self._waiting))
        del self._waiting[account]
        began = monotonic()

        def over(result: bool | Failure) -> None:
            self._busy = False
            pause = max(PAUSE, monotonic() - began)
            if isinstance(result, Failure):
                pause = self._failed(account, result)
            else:
                self._discarded.discard(account)
                if result:
                    # The others have their turn before it goes on.
                    self._waiting[account] = None
            self._wake(pause)

        self._busy = True
        self._run(lambda: self._update(account), over)

    def _hasToWait(self) -> bool:
        now = self._clock.seconds()
        passed, self._looked = now - self._looked, now
        commits, self._commits = self._commits, 0
        if commits <= BUSY * max(passed, PAUSE):
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since < PATIENCE

    def _update(self, account: int) -> bool:
        connection = self._connect()
        try:
            (newest,) = connection.execute(
                "SELECT max(message) FROM message WHERE account = ?", (account,)
            ).fetchone()
            if newest is not None and self._known.get(account) == newest:
                return False
            index = AccountIndex(self._path, account)
            if account in self._damaged:
                self._damaged.discard(account)
                index.discard()
            more = index.update(connection)
            if not more and newest is not None:
                self._known[account] = newest
            return more
        finally:
            connection.close()

    def _failed(self, account: int, failure: Failure) -> float:
        """
        @return: seconds until there is another try.
        """
        error = failure.value
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        others = len(self._waiting)
        self._waiting[account] = None
        if code in _BUSY:
            return DELAY if others else RETRY
        if isinstance(error, sqlite3.DatabaseError) and account not in self._discarded:
            self.log.warn(
                "the search index of account A{account} is made anew: {error}",
                account=account,
                error=error,
            )
            self._discarded.add(account)
            AccountIndex(self._path, account).discard()
            return PAUSE
        # Without it searches take longer; they find the same.
        del self._waiting[account]
        self.log.failure("account A{account} can't be indexed", failure, account=account)
        return RETRY

    def _run(self, function: Callable[[], Any], over: Callable[[Any], None]) -> None:
        def work() -> None:
            result: Any
            try:
                result = function()
            except BaseException:
                result = Failure()
            self._callFromThread(over, result)

        self._threads.submit(work)


def updateNow(
    path: Path,
    account: int,
    connect: Callable[[], sqlite3.Connection],
    rebuild: bool,
    progress: Callable[[], None],
) -> None:
    """
    Bring an account's index up to date, without pauses, in the thread in which it is called.

    @param rebuild: throw away what there is.
    @param progress: called after each slice.
    @raise sqlite3.Error: if another process is about it, or it can't be written.
    """
    index = AccountIndex(path, account)
    if rebuild:
        index.discard()
    connection = connect()
    try:
        while index.update(connection):
            progress()
    finally:
        connection.close()
