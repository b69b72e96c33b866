# -*- test-case-name: tests.storage.test_sql -*-
"""
The SQL store: one SQLite file in a directory, the embedded default.

Acknowledged means on disk: WAL mode with C{synchronous=FULL} syncs each COMMIT. Several processes
may have the store open; each sees the other's changes at once, and is told of them by whoever calls
L{SQLMailStore.hear}, or else within L{POLL_SECONDS}.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mailstack.errors import (
    CannotDoThat,
    MailError,
    NoSuchAccount,
    NoSuchMailbox,
    StoreDamaged,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import (
    ILoginRecordingStore,
    IRememberingStore,
    ISharingStore,
    ISpoolingStore,
    IStagedContent,
    IURLKeyStore,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.mailboxname import INBOX
from twisted_mailstack.model.records import Damage, Placement
from twisted_mailstack.storage.sql.account import SQLAccount
from twisted_mailstack.storage.sql.check import checkDatabase
from twisted_mailstack.storage.sql.connection import ReadingConnection, connect, explain
from twisted_mailstack.storage.sql.content import ContentWriter, StagedContent, disown
from twisted_mailstack.storage.sql.directory import SQLDirectory, accountNumber
from twisted_mailstack.storage.sql.index import SLICE, AccountIndex, isSupported
from twisted_mailstack.storage.sql.indexer import Indexer, updateNow
from twisted_mailstack.storage.sql.logins import SQLLoginHistory
from twisted_mailstack.storage.sql.mailbox import Box, requireAccount, storeMessage
from twisted_mailstack.storage.sql.memory import SQLMemory
from twisted_mailstack.storage.sql.restored import markCopy, renew
from twisted_mailstack.storage.sql.schema import PIECES, upgrade
from twisted_mailstack.storage.sql.sharing import SQLAccessControl
from twisted_mailstack.storage.sql.spool import SQLSpool
from twisted_mailstack.storage.sql.urlkeys import SQLURLKeys
from twisted_mailstack.storage.sql.watchers import Watchers
from twisted_mailstack.storage.sql.writer import Transaction, Writer

FILE = "mail.sqlite3"
#: How often it is looked whether another process changed anything; costs a microsecond.
POLL_SECONDS = 0.5
#: Pages that one step of a backup copies.
BACKUP_PAGES = 1000
#: Pieces of contents that one step of the reaper removes, so that nobody waits for it long.
REAP = 50
#: Messages of an account that a check looks up in its search index.
INDEX_SAMPLE = 50
#: Recipients from which on a delivery runs in the writer's thread.
LONG = 50

Progress = Callable[[int, int], None]
T = TypeVar("T")


@implementer(ISpoolingStore, IRememberingStore, ILoginRecordingStore, ISharingStore, IURLKeyStore)
class SQLMailStore:
    """
    See L{IMailStore}.

    @ivar path: the directory.
    @ivar reader: for short reads in the reactor's thread.
    @ivar quotaDefaults: octets and messages, given to new accounts.
    @ivar indexer: keeps the search indexes up, C{None} if there are none.
    """

    log = Logger()
    reader: sqlite3.Connection
    writer: Writer

    def __init__(
        self,
        path: str | os.PathLike[str],
        clock: IReactorTime,
        callFromThread: Callable[..., None],
        *,
        now: Callable[[], float] = time.time,
        quotaDefaults: tuple[int | None, int | None] = (None, None),
        index: bool = False,
        tell: Callable[[Collection[tuple[int, int | str]]], None] | None = None,
        poll: float = POLL_SECONDS,
    ) -> None:
        """
        @param path: the directory, made if it is missing, for its owner alone.
        @param clock: for looking after other processes.
        @param callFromThread: the reactor's; or anything else that runs a function in the thread
            in which the store is used.
        @param now: seconds since 1970, for save dates.
        @param index: keep indexes that make searches fast, in the background. They are beside the
            database and can be removed at any time.
        @param tell: called after each COMMIT with the C{(account, mailbox)} that it changed, for
            other processes, which L{hear} it.
        @param poll: how often it is looked whether another process changed anything, seconds.
        """
        self.path = Path(path)
        self.locks = self.path / "locks"
        self.now = now
        self.quotaDefaults = quotaDefaults
        self.watchers = Watchers()
        self.directory = SQLDirectory(self)
        self.spool = SQLSpool(self)
        self.memory = SQLMemory(self)
        self.logins = SQLLoginHistory(self)
        self.sharing = SQLAccessControl(self)
        self.urlKeys = SQLURLKeys(self)
        self._clock = clock
        self._callFromThread = callFromThread
        self._tell = tell
        self._pollSeconds = poll
        self._poll: IDelayedCall | None = None
        self._dataVersion = 0
        self._indexing = index
        self.indexer: Indexer | None = None
        self._started = False
        self._reaping = False
        self._lock: int | None = None
        self._owner = secrets.token_hex(8)
        self._messages = count()

    # --- opening and closing -------------------------------------------------------------------

    def connect(self, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
        """
        @return: a new connection to the database, in autocommit mode.
        """
        return connect(self.path / FILE, factory)

    async def start(self) -> None:
        """See L{IMailStore}."""
        try:
            self._open()
        except BaseException as error:
            self._close()
            if isinstance(error, OSError):
                where = error.filename or self.path / FILE
                why = "it is no directory" if isinstance(error, FileExistsError) else error.strerror
                raise StoreDamaged(f"{where} can't be opened: {why}") from error
            if isinstance(error, sqlite3.Error):
                raise StoreDamaged(f"{self.path / FILE} can't be opened: {error}") from error
            raise
        self._threads = ThreadPoolExecutor(1, "mailstack-writer")
        self._readers = ThreadPoolExecutor(2, "mailstack-reader")
        self.writer = Writer(self._writing, self._runInWriter, self._committed, self._soon)
        self._started = True
        self._dataVersion = _dataVersion(self._writing)
        self._poll = self._clock.callLater(self._pollSeconds, self._lookAround)
        if self._indexing and not isSupported():
            self.log.warn("this SQLite has no FTS5 with trigrams: searches go without an index")
        elif self._indexing:
            self.indexer = Indexer(
                self.path,
                self._clock,
                self._callFromThread,
                self.connect,
                ThreadPoolExecutor(1, "mailstack-index"),
            )
            self.indexer.survey()
        try:
            self._disownDead()
        except MailError:
            # It is logged. What can be read of a damaged store, or one whose disk is full, is read.
            pass

    def _open(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.locks.mkdir(mode=0o700, exist_ok=True)
        # Made before SQLite makes it, with no rights for others; -wal and -shm follow it.
        os.close(os.open(self.path / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        # Locked before it has its name: another process must not take it for a dead one's.
        fresh = self.locks / f"fresh-{self._owner}"
        self._lock = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        fresh.rename(self.locks / f"process-{self._owner}")
        self._writing = self.connect()
        # Larger ones cost more: of most pages a change touches little, and the log gets all of it.
        # Has effect on a new database only.
        self._writing.execute("PRAGMA page_size = 4096")
        self._writing.execute("PRAGMA journal_mode = WAL")
        self._writing.execute("PRAGMA wal_autocheckpoint = 8000")
        self._writing.execute("PRAGMA journal_size_limit = 67108864")
        upgrade(self._writing)
        if renew(self._writing, int(self.now())):
            self.log.info(
                "{path} was restored from a copy: mailboxes have new UIDVALIDITYs",
                path=str(self.path),
            )
        self.reader = self.connect(ReadingConnection)
        self.reader.execute("PRAGMA query_only = 1")

    def _close(self) -> None:
        for name in ("reader", "_writing"):
            if name in self.__dict__:
                getattr(self, name).close()
        if self._lock is not None:
            (self.locks / f"process-{self._owner}").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    async def stop(self) -> None:
        """See L{IMailStore}."""
        if not self._started:
            return
        self._started = False
        if self._poll is not None and self._poll.active():
            self._poll.cancel()
        if self.indexer is not None:
            self.indexer.stop()
        await self.writer.finish()
        self._readers.shutdown(wait=True)
        self._threads.shutdown(wait=True)
        self._close()

    # --- threads -------------------------------------------------------------------------------

    def _runInWriter(self, function: Callable[[], Any], callback: Callable[[Any], None]) -> None:
        def work() -> None:
            result = function()
            self._callFromThread(callback, result)

        self._threads.submit(work)

    def _soon(self, function: Callable[[], None]) -> None:
        # Of the reactor's own thread, too, it runs in the next turn.
        self._callFromThread(function)

    def readInThread(self, function: Callable[[sqlite3.Connection], Any]) -> Deferred[Any]:
        """
        Run a long read with a connection of its own, in a reader thread.
        """
        done: Deferred[Any] = Deferred()

        def work() -> None:
            try:
                connection = self.connect()
                try:
                    result = function(connection)
                finally:
                    connection.close()
            except BaseException as error:
                failure = Failure(explain(error)) if isinstance(error, sqlite3.Error) else Failure()
                self._callFromThread(done.errback, failure)
            else:
                self._callFromThread(done.callback, result)

        if self._started:
            self._readers.submit(work)
        else:
            done.errback(TemporaryFailure("The store is closed"))
        return done

    async def readIndex(
        self, account: int, read: Callable[[AccountIndex, sqlite3.Connection], T]
    ) -> T | None:
        """
        Read the search index of an account, in a reader thread.

        @param read: given the index and a connection to the database.
        @return: its result; C{None} if there is no index, or none that can be read.
        """
        if self.indexer is None:
            return None
        index = AccountIndex(self.path, account)

        def work(connection: sqlite3.Connection) -> T | sqlite3.Error:
            try:
                return read(index, connection)
            except sqlite3.Error as error:
                return error

        result: T | sqlite3.Error = await self.readInThread(work)
        if isinstance(result, sqlite3.Error):
            # All messages are looked at until it is there again.
            self.indexer.damaged(account, result)
            return None
        return result

    # --- change notification -------------------------------------------------------------------

    def _committed(self, changed: set[tuple[int, int | str]], unplaced: bool) -> None:
        self.watchers.tell(changed)
        if self._tell is not None and changed:
            self._tell(changed)
        if self.indexer is not None:
            self.indexer.changed({key[0] for key in changed if key[0]})
        if unplaced:
            self._reap()

    def hear(self, changed: Collection[tuple[int, int | str]] | None) -> None:
        """
        Another process changed these C{(account, mailbox)}.

        @param changed: C{None}: anything.
        """
        if changed is None:
            self.watchers.tellAll()
        else:
            self.watchers.tell(changed)

    def _lookAround(self) -> None:
        self._poll = self._clock.callLater(self._pollSeconds, self._lookAround)
        # Of the writer's connection: its own commits don't count there. While that is busy, the
        # question goes into the next group, or it would never be asked under load.
        if self.writer.busy:
            self.writer.submit(
                lambda transaction: _dataVersion(transaction.connection)
            ).addCallback(self._sawVersion).addErrback(lambda _: None)
        else:
            self._sawVersion(_dataVersion(self._writing))

    def _sawVersion(self, version: int) -> None:
        if version != self._dataVersion:
            self._dataVersion = version
            self.watchers.tellAll()

    # --- clearing up ---------------------------------------------------------------------------

    def _disownDead(self) -> None:
        owners = self.reader.execute(
            "SELECT DISTINCT owner FROM content WHERE owner IS NOT NULL"
        ).fetchall()
        dead = [owner for (owner,) in owners if self._isDead(owner.partition(".")[0])]
        for path in self.locks.glob("process-*"):
            # Of processes that ended without clearing up.
            if path.name != f"process-{self._owner}" and self._isDead(path.name[8:]):
                path.unlink(missing_ok=True)
        disown(self.writer, *dead)

    def _isDead(self, owner: str) -> bool:
        try:
            descriptor = os.open(self.locks / f"process-{owner}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def _reap(self) -> None:
        # In small steps, each in whatever group goes next: nobody waits for a mass deletion.
        if self._reaping or not self._started:
            return
        self._reaping = True

        def change(transaction: Transaction) -> bool:
            left = REAP
            while left > 0:
                row = transaction.execute(
                    "SELECT content FROM content WHERE copies = 0 AND owner IS NULL LIMIT 1"
                ).fetchone()
                if row is None:
                    return False
                first = row[0] * PIECES
                removed = transaction.execute(
                    "DELETE FROM chunk WHERE piece IN"
                    " (SELECT piece FROM chunk WHERE piece BETWEEN ? AND ? LIMIT ?)",
                    (first, first + PIECES - 1, left),
                ).rowcount
                if removed < left:
                    transaction.execute("DELETE FROM content WHERE content = ?", row)
                    transaction.execute("DELETE FROM sorting WHERE content = ?", row)
                left -= max(removed, 1)
            return True

        def over(more: bool) -> None:
            self._reaping = False
            if more:
                self._reap()

        self.writer.submit(change).addCallbacks(over, lambda _: over(False))

    # --- accounts and delivery -----------------------------------------------------------------

    async def openAccount(self, accountId: str) -> SQLAccount:
        """See L{IMailStore}."""
        number = accountNumber(accountId)
        row = self.reader.execute(
            "SELECT local_part, domain FROM account WHERE account = ?", (number,)
        ).fetchone()
        if row is None:
            raise NoSuchAccount()
        return SQLAccount(self, number, Address(*row))

    def newContent(self, sizeHint: int | None = None) -> ContentWriter:
        """See L{IMailStore}."""
        return ContentWriter(self.writer, self.reader, f"{self._owner}.{next(self._messages)}")

    async def deliver(
        self,
        content: IStagedContent,
        placements: Sequence[Placement],
        internalDate: int,
        partial: bool = False,
    ) -> Sequence[Exception | None]:
        """See L{IMailStore}."""
        assert isinstance(content, StagedContent)
        staged: StagedContent = content
        now = int(self.now())

        def change(transaction: Transaction) -> list[Exception | None]:
            results: list[Exception | None] = []
            placed: int | None = None
            for placement in placements:
                try:
                    placed = self.place(transaction, staged, placement, placed, internalDate, now)
                except MailError as error:
                    if not partial:
                        raise
                    results.append(error)
                else:
                    results.append(None)
            return results

        return await self.writer.submit(change, long=len(placements) > LONG)

    def place(
        self,
        transaction: Transaction,
        staged: StagedContent,
        placement: Placement,
        placed: int | None,
        internalDate: int,
        now: int,
    ) -> int:
        """
        Give one recipient a copy, or raise without having written anything.

        @param placed: where the content is stored by now, C{None} if it isn't.
        @return: where it is stored.
        """
        account = accountNumber(placement.accountId)
        octets = staged.summary.size + len(placement.prefix)
        box = self.boxFor(transaction, account, placement.mailbox)
        # All that can be refused is found out before anything is written.
        message = box.admit(1, octets)
        if placed is None:
            placed = staged.place(transaction, 1)
        else:
            transaction.execute(
                "UPDATE content SET copies = copies + 1 WHERE content = ?", (placed,)
            )
        storeMessage(transaction, account, message, staged, placed, placement.prefix)
        box.insert(message, box.spell(placement.flags), octets, internalDate, 0, now)
        box.write()
        return placed

    @staticmethod
    def boxFor(transaction: Transaction, account: int, name: str) -> Box:
        """
        @return: the mailbox of that name, or INBOX where it is missing.
        @raise NoSuchAccount: if the account was removed.
        """
        for wanted in (name, INBOX):
            try:
                return Box(transaction, account, wanted)
            except NoSuchMailbox:
                pass
        try:
            requireAccount(transaction, account)
        except NoSuchMailbox:
            raise NoSuchAccount() from None
        raise StoreDamaged(f"account A{account} has no INBOX")

    # --- maintenance ---------------------------------------------------------------------------

    async def check(self, progress: Progress | None = None) -> Sequence[Damage]:
        """See L{IMailStore}."""
        tell = self._teller(progress)
        found: Sequence[Damage] = await self.readInThread(
            lambda connection: [*checkDatabase(connection, tell), *self._checkIndexes(connection)]
        )
        return found

    def _checkIndexes(self, connection: sqlite3.Connection) -> list[Damage]:
        found = []
        try:
            accounts = connection.execute("SELECT account FROM account").fetchall()
        except sqlite3.Error:
            # That the database can't be read has been said.
            return []
        for (account,) in accounts:
            wrong = AccountIndex(self.path, account).check(connection, INDEX_SAMPLE)
            if wrong is not None:
                found.append(
                    Damage(
                        f"the search index of account A{account}",
                        f"{wrong}; make it anew with: mailstack index --rebuild",
                    )
                )
        return found

    async def updateIndexes(
        self, accounts: Sequence[str], rebuild: bool = False, progress: Progress | None = None
    ) -> None:
        """
        Bring search indexes up to date now.

        @param accounts: their C{accountId}s.
        @param rebuild: make them anew.
        @param progress: called with the messages that were looked at, about, and how many there
            are.
        @raise TemporaryFailure: if another process is about it, or it can't be written.
        @raise CannotDoThat: if this SQLite can't.
        """
        if not isSupported():
            raise CannotDoThat("This SQLite has no FTS5 with trigrams")
        numbers = [accountNumber(each) for each in accounts]
        whole = sum(
            self.reader.execute(
                "SELECT count(*) FROM message WHERE account = ?", (number,)
            ).fetchone()[0]
            for number in numbers
        )
        tell = self._teller(progress)
        done = 0

        def sliced() -> None:
            nonlocal done
            done = min(done + SLICE, whole)
            tell(done, whole)

        def update(_: sqlite3.Connection) -> None:
            for number in numbers:
                try:
                    updateNow(self.path, number, self.connect, rebuild, sliced)
                except sqlite3.Error as error:
                    raise TemporaryFailure(
                        f"the search index of account A{number} can't be written: {error}"
                    ) from error

        await self.readInThread(update)
        tell(whole, whole)

    def _teller(self, progress: Progress | None) -> Progress:
        # In a thread: so that it is called in the reactor's.
        def tell(done: int, whole: int) -> None:
            if progress is not None:
                self._callFromThread(progress, done, whole)

        return tell

    async def backUp(self, path: str | os.PathLike[str], progress: Progress | None = None) -> None:
        """
        Write a consistent copy of the whole store into another directory while this one is used.

        @param progress: called with the pages that are copied and how many there are.
        @raise OSError: if it can't be made.
        @raise TemporaryFailure: if there is no room for it.
        """
        tell = self._teller(progress)
        target = Path(path)
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = target / FILE
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

        def copy(connection: sqlite3.Connection) -> None:
            destination = sqlite3.connect(file, isolation_level=None)
            # What is changed meanwhile is not in the copy: without a transaction of its own, the
            # copy would begin again after each change.
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM domain").fetchone()
            try:
                connection.backup(
                    destination,
                    pages=BACKUP_PAGES,
                    progress=lambda _, remaining, whole: tell(whole - remaining, whole),
                )
                markCopy(destination)
            finally:
                destination.close()
                connection.execute("COMMIT")

        try:
            await self.readInThread(copy)
        except BaseException:
            # Half a copy must not be taken for one.
            file.unlink(missing_ok=True)
            raise


def _dataVersion(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return version
