"""
The SQL store when SQLite fails at any statement, BEGIN, COMMIT and the savepoints included, as on a
full or broken disk. A change is made whole or not at all, is answered accordingly, and the store
goes on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IMailStore, IMovableMailbox
from twisted_mailstack.model.flags import DELETED, SEEN
from twisted_mailstack.model.records import Attribute, Placement
from twisted_mailstack.storage.sql.store import SQLMailStore
from twisted_mailstack.testing.contracts.base import EVERYTHING


class Disk:
    """
    @ivar failAt: how many statements succeed before one fails; negative: all succeed.
    @ivar code: SQLite's error code then.
    """

    def __init__(self) -> None:
        self.failAt = -1
        self.code = sqlite3.SQLITE_IOERR

    def use(self) -> None:
        """
        A statement is run.
        """
        if self.failAt == 0:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self.code
            self.failAt = -1
            raise error
        self.failAt -= self.failAt > 0


class BrokenStore(SQLMailStore):
    """
    A store on a disk that can fail.
    """

    def __init__(self, disk: Disk, *arguments: Any, **more: Any) -> None:
        self.disk = disk
        super().__init__(*arguments, **more)

    def connect(self, factory: Any = sqlite3.Connection) -> sqlite3.Connection:
        """The writer's connection, which is the first, fails; those that read do not."""
        if factory is not sqlite3.Connection or "_writing" in self.__dict__:
            return super().connect(factory)
        disk = self.disk

        class Broken(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                disk.use()
                return super().execute(*arguments)

            def executemany(self, *arguments: Any) -> sqlite3.Cursor:
                disk.use()
                return super().executemany(*arguments)

        return super().connect(Broken)


class StatementTests(SQLStore, SynchronousTestCase):
    """
    Every kind of change, failing at every one of its statements.
    """

    def makeStore(self) -> IMailStore:
        """See the contract."""
        return BrokenStore(
            self.disk, self.place(), self.clock, self.calls.callFromThread, now=self.now
        )

    def setUp(self) -> None:
        """
        Two accounts with messages.
        """
        self.disk = Disk()
        super().setUp()
        self.bob = self.addAccount("bob")
        self.inbox, self.other = self.mailbox("INBOX"), self.mailbox("other")
        self.mailbox("other/below")
        self.append(self.inbox, b"1", (DELETED, "k"))
        self.append(self.inbox, b"2", (SEEN,))
        self.append(self.inbox, b"3", (DELETED,))

    def state(self) -> object:
        """
        @return: all that can be seen.
        """
        found: list[object] = [self.wait(self.store.directory.listAccounts())]
        for account in (self.account, self.bob):
            infos = self.wait(account.listMailboxes())
            found += [infos, self.wait(account.quota())]
            for info in infos:
                if info.selectable:
                    mailbox = self.wait(account.openMailbox(info.name))
                    found.append(self.wait(mailbox.status()))
                    found.append(self.wait(mailbox.changesSince(1)))
                    found.append(self.fetch(mailbox, Attribute.CONTENT))
        return found

    def everyStatement(self, change: Callable[[], object]) -> None:
        """
        Make a change whose first statement fails, then again with the second, and so on until it
        succeeds: the statement that fails is one of the clearing up behind it.
        """
        for number in range(200):
            before = self.state()
            self.disk.failAt = number
            try:
                change()
            except TemporaryFailure:
                self.assertEqual(self.state(), before, f"failed at {number}")
                failed = True
            else:
                self.assertNotEqual(self.state(), before)
                failed = False
            # What clears up behind it comes before this.
            try:
                self.wait(self.account.setSubscribed("INBOX", True))
            except TemporaryFailure:
                pass
            self.disk.failAt = -1
            self.flushLoggedErrors(sqlite3.OperationalError)
            self.assertSound()
            if not failed:
                self.assertTrue(number > 3)
                return
        raise self.failureException("it never succeeds")

    def test_append(self) -> None:
        """APPEND of two messages with a new keyword."""
        staged = self.stage(b"In-Reply-To: <a@b>\r\n\r\nx")
        messages = [(staged, frozenset({"new", SEEN}), 0, 0)] * 2
        self.everyStatement(lambda: self.wait(self.inbox.append(messages)))

    def test_deliver(self) -> None:
        """A delivery to two accounts; and its number of statements, which is its cost."""
        staged = self.stage(b"Message-ID: <a@b>\r\n\r\nx")
        places = [
            Placement(each.accountId, "INBOX", b"X: y\r\n") for each in (self.account, self.bob)
        ]
        self.everyStatement(lambda: self.wait(self.store.deliver(staged, places, 0)))

    def test_deliverLarge(self) -> None:
        """A message in chunks, from its first octet on: also what was stored of it is gone."""
        place = Placement(self.account.accountId, "INBOX")

        def change() -> None:
            writer = self.store.newContent()
            staged = None
            try:
                for _ in range(3):
                    waiting = writer.write(b"x" * 200_000)
                    if waiting is not None:
                        self.wait(waiting)
                staged = self.wait(writer.finish())
                self.wait(self.store.deliver(staged, [place], 0))
            finally:
                writer.abort()
                if staged is not None:
                    staged.discard()

        self.everyStatement(change)
        # What failed meanwhile is removed by the next start at the latest.
        self.wait(self.store.stop())
        self.store = self.startStore()
        self.append(self.wait(self.wait(self.store.openAccount("A1")).openMailbox("other")))
        (contents,) = self.store.reader.execute("SELECT count(*) FROM content").fetchone()
        (messages,) = self.store.reader.execute("SELECT count(*) FROM message").fetchone()
        self.assertEqual(contents, messages)

    def test_expunge(self) -> None:
        """EXPUNGE of messages that are not next to one another."""
        self.everyStatement(lambda: self.wait(self.inbox.expunge(None)))

    def test_move(self) -> None:
        """MOVE within the account, and to another."""
        movable = IMovableMailbox(self.inbox)
        self.everyStatement(lambda: self.wait(movable.moveMessages(self.numbers(1), self.other)))
        theirs = self.mailbox("INBOX", self.bob)
        self.everyStatement(lambda: self.wait(movable.moveMessages(self.numbers(2), theirs)))

    def test_copy(self) -> None:
        """COPY into the mailbox itself, and to another account."""
        theirs = self.mailbox("INBOX", self.bob)
        self.everyStatement(lambda: self.wait(self.inbox.copyMessages(EVERYTHING, self.inbox)))
        self.everyStatement(lambda: self.wait(self.inbox.copyMessages(EVERYTHING, theirs)))

    def test_storeFlags(self) -> None:
        """STORE with a new keyword."""
        self.everyStatement(lambda: self.addFlags(self.inbox, (1, 3), "new", SEEN))

    def test_mailboxes(self) -> None:
        """CREATE, RENAME, RENAME INBOX, DELETE."""
        account = self.account
        self.everyStatement(lambda: self.wait(account.createMailbox("a/b")))
        self.everyStatement(lambda: self.wait(account.renameMailbox("other", "c/d")))
        self.everyStatement(lambda: self.wait(account.renameMailbox("INBOX", "e")))
        self.everyStatement(lambda: self.wait(account.deleteMailbox("e")))
        self.everyStatement(lambda: self.wait(account.deleteMailbox("c")))
        self.everyStatement(lambda: self.wait(account.setSubscribed("x", True)))

    def test_accounts(self) -> None:
        """An account is made, and removed with all its mail."""
        directory = self.store.directory
        carol = self.address("carol")
        self.everyStatement(lambda: self.wait(directory.addAccount(carol, None)))
        self.everyStatement(lambda: self.wait(directory.removeAccount(carol)))

    def test_whatIsTold(self) -> None:
        """A full disk is told as such (RFC 5321 §4.2.3), damage as damage, and to the log."""
        for code, text, smtpCode in (
            (sqlite3.SQLITE_FULL, "Insufficient system storage", 452),
            (sqlite3.SQLITE_CORRUPT, "The stored data is damaged", 451),
            (sqlite3.SQLITE_IOERR, "Temporary failure, try again later", 451),
        ):
            staged = self.stage()
            for number in (3, 8):
                self.disk.code, self.disk.failAt = code, number
                error = self.assertFails(
                    self.inbox.append([(staged, frozenset(), 0, 0)]), TemporaryFailure
                )
                self.assertEqual((error.text, error.smtpCode), (text, smtpCode))
            self.flushLoggedErrors(sqlite3.OperationalError)
        self.assertEqual(len(self.uids(self.inbox)), 3)
