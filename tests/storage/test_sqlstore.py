"""
What the SQL store does beyond the contracts: crashes, other processes, backups, full disks, cost.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path
from random import Random
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import (
    CannotDoThat,
    MessageExpunged,
    NoSuchAccount,
    StoreDamaged,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import IMailStore, IMovableMailbox
from twisted_mailstack.model.flags import DELETED, NO_FLAGS, SEEN, FlagOperation
from twisted_mailstack.model.records import Attribute, Placement
from twisted_mailstack.model.sequence import MAX_NUMBER, NumberSet
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.storage.sql import account as accountModule
from twisted_mailstack.storage.sql import mailbox as mailboxModule
from twisted_mailstack.storage.sql import store as storeModule
from twisted_mailstack.storage.sql.content import MAX_CHUNKS_WAITING
from twisted_mailstack.storage.sql.schema import CHUNK, PIECES
from twisted_mailstack.storage.sql.store import FILE, POLL_SECONDS, REAP, SQLMailStore
from twisted_mailstack.testing.contracts.base import EVERYTHING, start


class SteppedStore(SQLMailStore):
    """
    A store whose writer's thread does one thing when the test says so.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.steps: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self.stepping = False
        super().__init__(*arguments, **more)

    def _runInWriter(self, function: Callable[[], Any], callback: Callable[[Any], None]) -> None:
        if self.stepping:
            self.steps.append((function, callback))
        else:
            super()._runInWriter(function, callback)

    def _soon(self, function: Callable[[], None]) -> None:
        if self.stepping:
            # Nothing more is waited for.
            function()
        else:
            super()._soon(function)

    def step(self, between: Callable[[], None] = lambda: None) -> None:
        """
        Let the thread do what it has to, and tell the reactor's.

        @param between: called when it is done and not told yet.
        """
        function, callback = self.steps.pop(0)
        result = function()
        between()
        callback(result)

    def go(self) -> None:
        """
        Let the thread do everything, from now on by itself.
        """
        self.stepping = False
        while self.steps:
            self.step()


class Stepped(SQLStore):
    """
    Tests with a L{SteppedStore}.
    """

    store: SteppedStore

    def makeStore(self) -> IMailStore:
        """See the contract."""
        return SteppedStore(self.place(), self.clock, self.calls.callFromThread, now=self.now)

    def stepping(self) -> None:
        """
        From now on the writer's thread does nothing by itself.
        """
        while self.store.writer.busy:
            self.calls.runOne()
        self.store.stepping = True

    def count(self, table: str, condition: str = "1") -> int:
        """
        @return: rows of the database.
        """
        found = self.store.reader.execute(f"SELECT count(*) FROM {table} WHERE {condition}")
        return cast(int, found.fetchone()[0])


class CrashTests(Stepped, SynchronousTestCase):
    """
    What C{kill -9} leaves is the files as they are at that instant, the log included.
    """

    def setUp(self) -> None:
        """INBOX."""
        super().setUp()
        self.inbox = self.mailbox("INBOX")

    def crashed(self) -> SQLMailStore:
        """
        @return: a store on a copy of the files of this instant.
        """
        copy = self.mktemp()
        shutil.copytree(self.path, copy)
        store = SQLMailStore(copy, self.clock, self.calls.callFromThread, now=self.now)
        self.wait(store.start())
        return store

    def there(self, store: SQLMailStore) -> list[bytes]:
        """
        @return: the messages in that store's INBOX; and it is sound.
        """
        self.assertEqual(list(self.wait(store.check())), [])
        account = self.wait(store.openAccount("A1"))
        inbox = self.wait(account.openMailbox("INBOX"))
        return [self.message(inbox, uid) for uid in self.uids(inbox)]

    def survivors(self) -> list[bytes]:
        """
        @return: what is there after a crash at this instant.
        """
        store = self.crashed()
        found = self.there(store)
        self.wait(store.stop())
        return found

    def test_atEachStep(self) -> None:
        """
        Before COMMIT a message isn't there; from COMMIT on it is, once; so it is when it is
        acknowledged.
        """
        self.append(self.inbox, b"before")
        staged = self.stage(b"new")
        self.stepping()
        result = start(self.inbox.append([(staged, NO_FLAGS, 0, 0)]))
        self.assertEqual(self.survivors(), [b"before"])
        found: list[list[bytes]] = []
        self.store.step(lambda: found.append(self.survivors()))
        self.assertEqual(found, [[b"before", b"new"]])
        self.successResultOf(result)
        self.assertEqual(self.survivors(), [b"before", b"new"])
        self.store.go()

    def test_synced(self) -> None:
        """
        COMMIT returns when it is on the disk: SQLite in WAL mode does that with C{FULL} only, and
        with less a power failure would lose what was acknowledged.
        """
        execute = self.store._writing.execute
        self.assertEqual(execute("PRAGMA synchronous").fetchone(), (2,))
        self.assertEqual(execute("PRAGMA journal_mode").fetchone(), ("wal",))
        self.assertEqual(execute("PRAGMA page_size").fetchone(), (4096,))

    def test_group(self) -> None:
        """Of a group everything is there or nothing."""
        self.stepping()
        messages = [b"%d" % number for number in range(5)]
        staged = [self.stage(message) for message in messages]
        results = [start(self.inbox.append([(each, NO_FLAGS, 0, 0)])) for each in staged]
        self.store.step()
        self.assertEqual(self.survivors(), messages[:1])
        self.store.step()
        self.assertEqual(self.survivors(), messages)
        for result in results:
            self.successResultOf(result)
        self.store.go()

    def test_largeMessage(self) -> None:
        """
        Of a message that was being written nothing is left: its octets are removed at the next
        start. One that was acknowledged is whole.
        """
        large = b"large" * 150_000
        self.append(self.inbox, large)
        kept = self.stage(large)
        writer = self.store.newContent()
        waiting = writer.write(large)
        if waiting is not None:
            self.wait(waiting)
        self.assertEqual(self.count("content", "copies = 0"), 2)
        store = self.crashed()
        self.assertEqual(self.there(store), [large])
        account = self.wait(store.openAccount("A1"))
        # Whatever is done behind the clearing up: that is done then.
        self.wait(account.setSubscribed("x", True))
        self.wait(account.setSubscribed("y", True))
        read = store.reader.execute
        self.assertEqual(read("SELECT count(*) FROM content").fetchone(), (1,))
        self.assertEqual(
            read(f"SELECT DISTINCT piece / {PIECES} FROM chunk").fetchall(),
            read("SELECT content FROM content").fetchall(),
        )
        # The dead process's lock is gone.
        self.assertEqual(len(list((store.path / "locks").glob("process-*"))), 1)
        self.wait(store.stop())
        # Here it lives on.
        self.wait(self.inbox.append([(kept, NO_FLAGS, 0, 0)]))
        writer.abort()

    def test_expungedAndNotRemoved(self) -> None:
        """Octets whose last copy went just before the crash are removed at the next start."""
        self.append(self.inbox, b"x" * 600_000)
        self.stepping()
        expunged = start(self.inbox.expunge(None, False))
        self.store.step()
        self.successResultOf(expunged)
        self.assertEqual(self.count("content"), 1)
        store = self.crashed()
        self.assertEqual(self.there(store), [])
        self.wait(self.wait(store.openAccount("A1")).setSubscribed("x", True))
        self.assertEqual(store.reader.execute("SELECT count(*) FROM chunk").fetchone(), (0,))
        self.wait(store.stop())
        self.store.go()

    def test_atRandomInstants(self) -> None:
        """
        Whenever it is during a load, what was acknowledged is there exactly once, and what was
        begun at most once.
        """
        chance = Random(5)
        self.stepping()
        begun: dict[bytes, Deferred[Any]] = {}
        finished: set[bytes] = set()
        for number in range(40):
            for _ in range(chance.randint(0, 3)):
                data = b"%d-%d;" % (number, len(begun)) * chance.choice((1, 1, 1, 40_000))
                writer = self.store.newContent()
                writer.write(data)

                async def deliver(writer: Any = writer, data: bytes = data) -> None:
                    staged = await writer.finish()
                    await self.store.deliver(staged, [Placement("A1", "INBOX")], 0)
                    finished.add(data)
                    staged.discard()

                begun[data] = start(deliver())

            def crash() -> None:
                found = self.survivors()
                self.assertEqual(len(found), len(set(found)))
                self.assertEqual(finished - set(found), set())
                self.assertEqual(set(found) - begun.keys(), set())

            if self.store.steps:
                self.store.step(crash if chance.random() < 0.3 else lambda: None)
        self.store.go()
        for each in begun.values():
            self.wait(each)
        self.assertEqual(set(self.survivors()), begun.keys())

    def test_startWithOthers(self) -> None:
        """A process that dies while others go on: its lock is found, theirs are left alone."""
        other = self.startStore()
        locks = Path(self.path) / "locks"
        self.assertEqual(len(list(locks.glob("process-*"))), 2)
        self.wait(other.stop())
        self.assertEqual(len(list(locks.glob("process-*"))), 1)
        (locks / "process-dead").touch()
        self.startStore()
        self.assertEqual(len(list(locks.glob("process-*"))), 2)
        self.assertFalse((locks / "process-dead").exists())


class OtherProcessTests(Stepped, SynchronousTestCase):
    """
    Changes that another process makes.
    """

    def setUp(self) -> None:
        """A second object for the store."""
        super().setUp()
        self.inbox = self.mailbox("INBOX")
        self.elsewhere = cast(SteppedStore, self.startStore())
        account = self.wait(self.elsewhere.openAccount("A1"))
        self.theirs = self.wait(account.openMailbox("INBOX"))
        self.told: list[None] = []
        self.addCleanup(self.inbox.watch(lambda: self.told.append(None)))

    def change(self) -> None:
        """
        The other process does something.
        """
        staged = self.elsewhere.newContent()
        staged.write(b"x")
        self.wait(self.theirs.append([(self.wait(staged.finish()), NO_FLAGS, 0, 0)]))

    def test_told(self) -> None:
        """It is told within POLL_SECONDS, and once."""
        self.change()
        self.assertEqual(self.told, [])
        self.clock.advance(POLL_SECONDS)
        self.assertEqual(len(self.told), 1)
        self.clock.advance(POLL_SECONDS)
        self.assertEqual(len(self.told), 1)

    def test_notOfOurOwn(self) -> None:
        """What was done here is told at once, and not again."""
        self.append(self.inbox)
        self.assertEqual(len(self.told), 1)
        self.clock.advance(POLL_SECONDS)
        self.clock.advance(POLL_SECONDS)
        self.assertEqual(len(self.told), 1)

    def test_heard(self) -> None:
        """
        Where the other process tells what it changed, that is told at once; so is everything, if
        it can't say what.
        """
        said: list[Collection[tuple[int, int | str]]] = []
        self.patch(self.elsewhere, "_tell", said.append)
        self.change()
        ((changed),) = said
        self.assertEqual(self.told, [])
        for each in (changed, None):
            self.told.clear()
            self.store.hear(each)
            self.assertEqual(len(self.told), 1)
        self.told.clear()
        self.store.hear([(99, 99)])
        self.assertEqual(self.told, [])

    def test_whileTheWriterIsBusy(self) -> None:
        """Also if the writer here is never idle."""
        here = self.store
        other = self.mailbox("Sent")
        staged = self.stage()
        self.stepping()
        results = [start(other.append([(staged, NO_FLAGS, 0, 0)]))]

        def busy(between: Callable[[], None] = lambda: None) -> None:
            # There is always something that waits for the next group.
            results.append(start(other.append([(staged, NO_FLAGS, 0, 0)])))
            here.step(between)
            self.assertTrue(here.writer.busy)

        busy()
        # The other process gets in between two groups.
        busy(self.change)
        self.assertEqual(self.told, [])
        self.clock.advance(POLL_SECONDS)
        for _ in range(3):
            busy()
        self.assertEqual(len(self.told), 1)
        self.clock.advance(POLL_SECONDS)
        for _ in range(3):
            busy()
        self.assertEqual(len(self.told), 1)
        here.go()
        for each in results:
            self.wait(each)

    def test_stopped(self) -> None:
        """A store that is stopped looks at nothing any more."""
        self.wait(self.store.stop())
        self.change()
        self.clock.advance(POLL_SECONDS)
        self.assertEqual(self.told, [])

    def test_readerSeesOneInstant(self) -> None:
        """A large set of ranges is of one instant, though the other process changes things."""
        staged = self.stage()
        self.wait(self.inbox.append([(staged, NO_FLAGS, 0, 0)] * 20))
        execute = self.store.reader.execute
        changes = iter(range(1000))

        class Interrupted:
            def execute(self, *arguments: Any) -> Any:
                found = execute(*arguments)
                if arguments[0].startswith("SELECT e.uid") and next(changes) == 3:
                    change()
                return found

        def change() -> None:
            self.wait(self.theirs.storeFlags(EVERYTHING, FlagOperation.ADD, frozenset({SEEN})))

        self.patch(self.store, "reader", Interrupted())
        odd = NumberSet.of(range(1, 20, 2))
        rows = self.fetch(self.inbox, Attribute.FLAGS, uids=odd)
        self.assertEqual({row[1] for row in rows}, {NO_FLAGS})
        rows = self.fetch(self.inbox, Attribute.FLAGS, uids=odd)
        self.assertEqual({row[1] for row in rows}, {frozenset({SEEN})})


class BackUpTests(Stepped, SynchronousTestCase):
    """
    A copy that is made while the store is used.
    """

    def test_whileWriting(self) -> None:
        """The copy is of one instant: all that was acknowledged before, and sound."""
        inbox = self.mailbox("INBOX")
        self.append(inbox, b"large" * 200_000)
        before = [self.append(inbox) for _ in range(20)]
        target = self.mktemp()
        told: list[tuple[int, int]] = []
        self.patch(storeModule, "BACKUP_PAGES", 10)
        backup = start(self.store.backUp(target, lambda done, whole: told.append((done, whole))))
        others = []
        while not backup.called:
            staged = self.stage()
            others.append(start(inbox.append([(staged, NO_FLAGS, 0, 0)])))
            self.calls.runOne()
        self.wait(backup)
        for each in others:
            self.wait(each)
        self.assertEqual(told[-1][0], told[-1][1])
        self.assertTrue(len(told) > 5)
        copy = SQLMailStore(target, self.clock, self.calls.callFromThread)
        self.wait(copy.start())
        self.assertEqual(list(self.wait(copy.check())), [])
        account = self.wait(copy.openAccount("A1"))
        found = self.wait(account.openMailbox("INBOX"))
        self.assertEqual(self.uids(found)[: 1 + len(before)], [1, *before])
        self.assertEqual(self.message(found, 1), b"large" * 200_000)
        self.append(found)
        self.wait(copy.stop())
        for path in (Path(target), *Path(target).iterdir()):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_twice(self) -> None:
        """An existing copy is not overwritten."""
        target = self.mktemp()
        self.wait(self.store.backUp(target))
        size = (Path(target) / FILE).stat().st_size
        error = self.assertFails(self.store.backUp(target), FileExistsError)
        self.assertIn(target, error.filename)
        self.assertEqual((Path(target) / FILE).stat().st_size, size)

    def test_noRoom(self) -> None:
        """Half a copy doesn't stay, and the store goes on."""
        self.append(self.mailbox("INBOX"), b"x" * 3_000_000)
        target = self.mktemp()
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        sizes: list[int] = []

        def copied(done: int, whole: int) -> None:
            sizes.append((Path(target) / FILE).stat().st_size)
            if done > whole // 2:
                raise full

        self.patch(storeModule, "BACKUP_PAGES", 10)
        patch = self.patch(self.store, "_teller", lambda progress: copied)
        error = self.assertFails(self.store.backUp(target), TemporaryFailure)
        patch.restore()
        self.assertEqual(error.text, "Insufficient system storage")
        self.assertTrue(len(sizes) > 2)
        self.assertEqual(list(Path(target).iterdir()), [])
        self.append(self.mailbox("INBOX"))
        self.assertSound()


class FullStore(SQLMailStore):
    """
    A store on a disk that is full from the beginning.
    """

    def connect(self, factory: Any = sqlite3.Connection) -> sqlite3.Connection:
        """No page can be added."""
        connection = super().connect(factory)
        connection.execute("PRAGMA max_page_count = 1")
        return connection


class FullDiskTests(Stepped, SynchronousTestCase):
    """
    Nothing fits any more.
    """

    def fill(self) -> None:
        """
        From now on no page can be added.
        """
        self.store._writing.execute("PRAGMA max_page_count = 1")

    def test_full(self) -> None:
        """
        Who brings mail is told that there is no room (RFC 5321 §4.2.3: 452), mail can be read, and
        when there is room again it is taken.
        """
        inbox = self.mailbox("INBOX")
        uid = self.append(inbox, b"before")
        self.fill()
        places = [Placement("A1", "INBOX")]
        small = self.stage(b"x" * 100_000)
        error = self.assertFails(self.store.deliver(small, places, 0), TemporaryFailure)
        self.assertEqual((error.smtpCode, error.enhancedStatus), (452, "4.3.1"))
        self.assertEqual(error.text, "Insufficient system storage")
        writer = self.store.newContent()
        writer.write(b"x" * 600_000)
        error = self.assertFails(writer.finish(), TemporaryFailure)
        self.assertEqual(error.smtpCode, 452)
        self.assertEqual(self.message(inbox, uid), b"before")
        # What needs no page goes on.
        self.addFlags(inbox, [uid], SEEN)
        self.wait(inbox.expunge(None, False))
        self.assertSound()
        self.store._writing.execute("PRAGMA max_page_count = 1000000")
        self.wait(self.store.deliver(small, places, 0))
        self.assertEqual(len(self.uids(inbox)), 1)
        self.assertSound()

    def test_startWhenFull(self) -> None:
        """A store on a full disk is opened, and its mail can be read."""
        inbox = self.mailbox("INBOX")
        uid = self.append(inbox, b"x" * 600_000)
        self.stage(b"x" * 600_000)
        crashed = self.mktemp()
        shutil.copytree(self.path, crashed)
        store = FullStore(crashed, self.clock, self.calls.callFromThread)
        self.wait(store.start())
        account = self.wait(store.openAccount("A1"))
        found = self.wait(account.openMailbox("INBOX"))
        self.assertEqual(self.message(found, uid), b"x" * 600_000)
        large = [(self.stage(b"x" * 200_000), NO_FLAGS, 0, 0)] * 10
        self.assertFails(found.append(large), TemporaryFailure)
        self.wait(store.stop())


class BoundsTests(Stepped, SynchronousTestCase):
    """
    What keeps within limits, and what happens at them.
    """

    def setUp(self) -> None:
        """INBOX."""
        super().setUp()
        self.inbox = self.mailbox("INBOX")

    def test_windowOfAWriter(self) -> None:
        """
        A writer whose octets the disk doesn't take says wait, and holds no more than a few chunks.
        """
        self.stepping()
        writer = self.store.newContent()
        taken = 0
        while True:
            waiting = writer.write(b"x" * 50_000)
            taken += 50_000
            if waiting is not None:
                break
            self.assertTrue(taken <= (MAX_CHUNKS_WAITING + 1) * CHUNK)
        self.assertNoResult(waiting)
        self.store.go()
        self.wait(waiting)
        writer.abort()

    def test_undoneChunk(self) -> None:
        """
        A message whose first octets could not be committed puts none of the others into the message
        that gets its place.
        """
        self.stepping()
        lost, kept = self.store.newContent(), self.store.newContent()
        lost.write(b"lost " * 60_000)
        function, callback = self.store.steps.pop(0)
        # So that the COMMIT fails.
        self.store._writing.execute("ROLLBACK")
        failure = function()
        kept.write(b"kept " * 60_000)
        callback(failure)
        lost.write(b"lost " * 120_000)
        kept.write(b"kept " * 120_000)
        self.store.go()
        self.assertFails(lost.finish(), TemporaryFailure)
        staged = self.wait(kept.finish())
        uid = self.wait(self.inbox.append([(staged, NO_FLAGS, 0, 0)])).uids[0]
        staged.discard()
        self.assertEqual(self.message(self.inbox, uid), b"kept " * 180_000)
        self.assertSound()
        self.flushLoggedErrors(sqlite3.OperationalError)

    def test_abortedWhileWaiting(self) -> None:
        """Who goes away while the disk is slow leaves nothing, nor one that is cancelled."""
        self.stepping()
        writers = []
        for _ in range(2):
            writer = self.store.newContent()
            writer.write(b"x" * 600_000)
            writers.append(writer)
        writers[0].abort()
        finishing = start(writers[1].finish())
        finishing.cancel()
        self.failureResultOf(finishing)
        self.store.go()
        self.wait(self.account.setSubscribed("x", True))
        self.wait(self.account.setSubscribed("y", True))
        self.assertEqual((self.count("content"), self.count("chunk")), (0, 0))

    def test_octetsAreRemoved(self) -> None:
        """What nobody has any more is removed in the background, in steps, and its room used."""
        staged = self.stage(b"x")
        for _ in range(4):
            self.wait(self.inbox.append([(staged, NO_FLAGS, 0, 0)] * REAP))
        self.append(self.inbox, b"x" * 600_000)
        self.wait(self.inbox.expunge(None, False))
        for number in range(8):
            self.wait(self.account.setSubscribed(f"{number}", True))
        for table in ("content", "chunk", "message", "entry"):
            self.assertEqual(self.count(table), 0, table)

    def test_largeOctetsAreRemoved(self) -> None:
        """A large message goes piece by piece; who still reads it is told that it is expunged."""
        uid = self.append(self.inbox, b"0123456789" * 400_000)
        self.patch(storeModule, "REAP", 3)
        content = self.wait(self.inbox.openMessage(uid))
        last = content.size - 10
        self.stepping()
        expunged = start(self.inbox.expunge(None, False))
        self.store.step()
        self.successResultOf(expunged)
        self.assertEqual(self.wait(content.read(last, 10)), b"0123456789")
        self.store.step()
        self.assertEqual((self.count("chunk"), self.count("content")), (13, 1))
        self.assertFails(content.read(0, 10), MessageExpunged)
        for _ in range(3):
            self.store.step()
        self.assertEqual((self.count("chunk"), self.count("content")), (4, 1))
        self.assertEqual(list(self.wait(self.store.check())), [])
        self.store.go()
        self.wait(self.account.setSubscribed("x", True))
        self.wait(self.account.setSubscribed("y", True))
        self.assertEqual((self.count("chunk"), self.count("content")), (0, 0))

    def test_vanishedRanges(self) -> None:
        """However much was expunged, in whatever order, there are few notes: messages + 1."""
        chance = Random(3)
        staged = self.stage(b"x")
        for _ in range(12):
            self.wait(self.inbox.append([(staged, NO_FLAGS, 0, 0)] * 20))
            there = self.uids(self.inbox)
            for uid in chance.sample(there, len(there) - 5):
                self.wait(self.inbox.expunge(self.numbers(uid), False))
            self.assertTrue(self.count("vanished") <= 6)
        self.wait(self.inbox.expunge(None, False))
        self.assertEqual(
            self.store.reader.execute("SELECT first, last FROM vanished").fetchall(), [(1, 240)]
        )
        changes = self.wait(self.inbox.changesSince(1))
        self.assertEqual(changes.vanished, NumberSet([(1, 240)]))

    def test_noUIDsLeft(self) -> None:
        """
        When a mailbox has used up its 32 bits, no UID is given twice: what comes is refused, what
        is there can be read.
        """
        self.append(self.inbox)
        self.store._writing.execute(
            f"UPDATE mailbox SET uid_next = {MAX_NUMBER - 1} WHERE account = 1 AND name = 'INBOX'"
        )
        staged = self.stage()
        message = (staged, NO_FLAGS, 0, 0)
        error = self.assertFails(self.inbox.append([message, message]), CannotDoThat)
        self.assertEqual(error.imapCode, "LIMIT")
        self.assertEqual(list(self.wait(self.inbox.append([message])).uids), [MAX_NUMBER - 1])
        self.assertFails(self.inbox.append([message]), CannotDoThat)
        self.assertFails(self.inbox.copyMessages(self.numbers(1), self.inbox), CannotDoThat)
        self.assertFails(self.store.deliver(staged, [Placement("A1", "INBOX")], 0), CannotDoThat)
        results = self.deliver(
            b"x", Placement("A1", "INBOX"), Placement("A1", "Junk"), partial=True
        )
        self.assertEqual([type(result) for result in results], [CannotDoThat, type(None)])
        self.assertEqual(self.uids(self.inbox), [1, MAX_NUMBER - 1])
        self.assertEqual(self.wait(self.inbox.status()).uidNext, MAX_NUMBER)
        self.wait(IMovableMailbox(self.inbox).moveMessages(EVERYTHING, self.mailbox("other")))
        self.assertSound()

    def test_oneDamagedAccount(self) -> None:
        """An account that can't get mail keeps no other one from getting it."""
        bob = self.addAccount("bob")
        self.store._writing.execute("DELETE FROM mailbox WHERE account = 2 AND name = 'INBOX'")
        places = [Placement(bob.accountId, "INBOX"), Placement("A1", "INBOX")]
        staged = self.stage(b"x" * 600_000)
        self.assertFails(self.store.deliver(staged, places, 0), StoreDamaged)
        self.assertEqual(self.uids(self.inbox), [])
        results = self.wait(self.store.deliver(staged, places, 0, True))
        self.assertEqual([type(result) for result in results], [StoreDamaged, type(None)])
        self.assertEqual(self.uids(self.inbox), [1])

    def test_largeNumbers(self) -> None:
        """modSeqs of 63 bits (RFC 7162 §3.1.1) and sizes far beyond 32."""
        huge = (1 << 62) + 5
        self.append(self.inbox)
        self.store._writing.execute(f"UPDATE account SET mod_seq = {huge}")
        self.addFlags(self.inbox, [1], SEEN)
        changes = self.wait(self.inbox.changesSince(huge))
        self.assertEqual(list(changes.modSeqs), [huge + 1])
        self.wait(self.store.directory.setQuota(self.address("alice"), 1 << 60, 1 << 40))
        self.assertEqual(self.wait(self.account.quota())[1::2], (1 << 60, 1 << 40))
        self.append(self.inbox, date=-(1 << 40), zone=-1439)
        rows = self.fetch(self.inbox, Attribute.INTERNAL_DATE, Attribute.ZONE)
        self.assertEqual(rows[1][1:], (-(1 << 40), -1439))

    def test_manyRanges(self) -> None:
        """Sets of many thousand ranges, as a client may send them, in every method."""
        staged = self.stage(b"x")
        self.wait(self.inbox.append([(staged, NO_FLAGS, 0, 0)] * 300))
        odd = NumberSet.of(range(1, 60_000, 2))
        self.assertEqual(len(self.fetch(self.inbox, Attribute.FLAGS, uids=odd)), 150)
        result = self.wait(
            self.inbox.storeFlags(odd, FlagOperation.ADD, frozenset({DELETED}), None)
        )
        self.assertEqual(len(result.changed), 150)
        other = self.mailbox("other")
        self.assertEqual(len(self.wait(self.inbox.copyMessages(odd, other)).sources), 150)
        self.assertEqual(len(self.wait(self.inbox.expunge(odd))), 150)
        moved = self.wait(IMovableMailbox(other).moveMessages(odd, self.inbox))
        self.assertEqual(len(moved.sources), 75)
        self.assertSound()

    def test_manyChanges(self) -> None:
        """A long change log is read in a thread, and is the same."""
        staged = self.stage(b"x")
        self.wait(self.inbox.append([(staged, NO_FLAGS, 0, 0)] * 12))
        self.wait(self.inbox.expunge(self.numbers(5), False))
        wanted = [self.wait(self.inbox.changesSince(modSeq)) for modSeq in (0, 2)]
        self.patch(mailboxModule, "MANY", 10)
        hops: list[object] = []
        real = self.store.readInThread

        def counted(function: Any) -> Any:
            hops.append(function)
            return real(function)

        self.patch(self.store, "readInThread", counted)
        found = [self.wait(self.inbox.changesSince(modSeq)) for modSeq in (0, 2)]
        self.assertEqual(found, wanted)
        self.assertEqual(len(hops), 2)
        self.wait(self.inbox.changesSince(wanted[0].highestModSeq - 1))
        self.assertEqual(len(hops), 2)
        self.wait(self.account.deleteMailbox("Sent"))

    def test_otherStores(self) -> None:
        """Mailboxes of another store are no destination."""
        store = MemoryMailStore()
        self.wait(store.directory.addDomain("x.test"))
        record = self.wait(
            store.directory.addAccount(self.address("a")._replace(domain="x.test"), None)
        )
        foreign = self.wait(self.wait(store.openAccount(record.accountId)).openMailbox("INBOX"))
        self.append(self.inbox)
        self.assertFails(self.inbox.copyMessages(EVERYTHING, foreign), CannotDoThat)
        self.assertFails(foreign.copyMessages(EVERYTHING, self.inbox), CannotDoThat)

    def test_placedAfterDiscard(self) -> None:
        """A discarded content can't be placed: that is a defect, and nothing is stored."""
        for data in (b"x", b"x" * 600_000):
            staged = self.stage(data)
            staged.discard()
            self.assertFails(self.inbox.append([(staged, NO_FLAGS, 0, 0)]), ValueError)
        self.assertEqual(self.uids(self.inbox), [])

    def test_tooManyMailboxes(self) -> None:
        """A client can't fill the store with names."""
        self.patch(accountModule, "MAX_MAILBOXES", 7)
        self.wait(self.account.createMailbox("seventh"))
        error = self.assertFails(self.account.createMailbox("eighth"), CannotDoThat)
        self.assertEqual(error.imapCode, "LIMIT")


class ClosedTests(Stepped, SynchronousTestCase):
    """
    A store that is stopped while somebody still uses it.
    """

    def test_closed(self) -> None:
        """Every call is told so; nothing hangs."""
        inbox = self.mailbox("INBOX")
        uid = self.append(inbox)
        content = self.wait(inbox.openMessage(uid))
        staged, large = self.stage(), self.stage(b"x" * 600_000)
        writer = self.store.newContent()
        self.wait(self.store.stop())
        writer.write(b"x" * 600_000)
        for call in (
            lambda: inbox.status(),
            lambda: inbox.changesSince(0),
            lambda: inbox.fetch(EVERYTHING, ()),
            lambda: inbox.expunge(None),
            lambda: inbox.append([(staged, NO_FLAGS, 0, 0)]),
            lambda: content.read(0, 10),
            lambda: large.read(0, 10),
            lambda: writer.finish(),
            lambda: self.account.listMailboxes(),
            lambda: self.account.quota(),
            lambda: self.store.openAccount("A1"),
            lambda: self.store.directory.findAccount(self.address("alice")),
            lambda: self.store.check(),
            lambda: self.store.backUp(self.mktemp()),
        ):
            self.assertFails(call(), TemporaryFailure)
        staged.discard()
        large.discard()
        self.store = cast(SteppedStore, self.startStore())
        self.assertSound()


#: Statements that read a whole table on purpose: each is of an operator's command, or of the start.
SCANS = {
    "SELECT account, local_part, domain, enabled,"
    " octet_limit IS NOT NULL OR message_limit IS NOT NULL FROM account ORDER BY domain, folded",
    "SELECT local_part, domain, targets FROM alias ORDER BY domain, folded",
    "SELECT name FROM domain ORDER BY name",
}


class CostTests(Stepped, SynchronousTestCase):
    """
    What the statements cost.
    """

    def record(self) -> list[str]:
        """
        @return: from now on each statement, with its values.
        """
        found: list[str] = []
        for connection in (self.store._writing, self.store.reader):
            connection.set_trace_callback(found.append)
        return found

    def test_statementsOfADelivery(self) -> None:
        """
        A delivery of an ordinary message takes a fixed, small number of statements, and a group of
        many one transaction.
        """
        self.deliver(b"Message-ID: <0@x>\r\n\r\n")
        staged = self.stage(b"Message-ID: <1@x>\r\nReferences: <0@x>\r\n\r\nx")
        found = self.record()
        self.wait(self.store.deliver(staged, [Placement("A1", "INBOX")], 0))
        self.assertTrue(len(found) <= 18, "\n".join(found))
        del found[:]
        waiting = [
            start(self.store.deliver(staged, [Placement("A1", "INBOX")], 0)) for _ in range(50)
        ]
        for each in waiting:
            self.wait(each)
        self.assertTrue(len(found) <= 50 * 16 + 10, len(found))
        self.assertEqual(found.count("COMMIT"), 1)

    def test_costDoesNotGrow(self) -> None:
        """
        STATUS, quota, NOOP, one message and one delivery take the same work in a mailbox of ten
        messages and in one of thousands.
        """
        inbox = self.mailbox("INBOX")
        staged = self.stage(b"x")

        def work() -> list[int]:
            """How many instructions of SQLite's machine, in hundreds, each takes."""
            highest = self.wait(inbox.status()).highestModSeq
            uid = self.uids(inbox)[-1]
            ticks = [0]

            def tick() -> int:
                ticks[0] += 1
                return 0

            counted = []
            for call in (
                lambda: inbox.status(),
                lambda: self.account.quota(),
                lambda: inbox.changesSince(highest),
                lambda: inbox.fetch(NumberSet.of([1, 3, uid]), (Attribute.ENVELOPE,)),
                lambda: inbox.openMessage(uid),
                lambda: inbox.storeFlags(NumberSet.of([uid]), FlagOperation.ADD, frozenset({"k"})),
                lambda: self.store.deliver(staged, [Placement("A1", "INBOX")], 0),
                lambda: inbox.copyMessages(NumberSet.of([uid]), inbox),
                lambda: inbox.expunge(NumberSet.of([uid]), False),
                lambda: inbox.expunge(NumberSet([(uid, MAX_NUMBER)]), False),
                lambda: inbox.claimRecent(),
                lambda: self.account.listMailboxes(),
            ):
                ticks[0] = 0
                for connection in (self.store._writing, self.store.reader):
                    connection.set_progress_handler(tick, 100)
                self.wait(call())
                for connection in (self.store._writing, self.store.reader):
                    connection.set_progress_handler(None, 0)
                counted.append(ticks[0])
            return counted

        self.wait(inbox.append([(staged, NO_FLAGS, 0, 0)] * 10))
        few = work()
        self.wait(inbox.append([(staged, NO_FLAGS, 0, 0)] * 3000))
        many = work()
        for number, (before, after) in enumerate(zip(few, many, strict=True)):
            # A walk through the mailbox would be a hundred more.
            self.assertTrue(after <= before + 10, (number, few, many))

    def test_plans(self) -> None:
        """No statement of daily use reads a whole table, or sorts a mailbox to find one message."""
        bob = self.addAccount("bob")
        inbox, other = self.mailbox("INBOX"), self.mailbox("other/below")
        theirs = self.mailbox("INBOX", bob)
        found = self.record()
        data = b"Message-ID: <1@x>\r\nReferences: <0@x> <2@x>\r\n\r\nx"
        for _ in range(3):
            self.deliver(data, Placement("A1", "INBOX"), Placement("A2", "INBOX"))
        self.append(inbox, b"x" * 600_000)
        self.fetch(inbox, *Attribute)
        self.wait(inbox.changesSince(3))
        self.wait(inbox.claimRecent())
        self.addFlags(inbox, [1], "k", SEEN)
        self.message(inbox, 4)
        self.wait(inbox.copyMessages(EVERYTHING, other))
        self.wait(inbox.copyMessages(EVERYTHING, theirs))
        self.wait(IMovableMailbox(inbox).moveMessages(self.numbers(1, 3), other))
        self.wait(inbox.expunge(None, False))
        self.wait(self.account.quota())
        self.wait(self.account.setSubscribed("x", True))
        self.wait(self.account.setSubscribed("x", False))
        self.wait(self.account.renameMailbox("other", "new"))
        self.wait(self.account.renameMailbox("INBOX", "old"))
        self.wait(self.account.createMailbox("all", "\\All"))
        self.wait(self.account.deleteMailbox("new"))
        self.wait(self.account.listMailboxes())
        directory = self.store.directory
        self.wait(directory.setAlias(self.address("info"), [self.address("alice")]))
        self.wait(directory.findAlias(self.address("info")))
        self.wait(directory.findDomain("x"))
        self.wait(directory.findAccountById("A1"))
        self.wait(directory.listAccounts("example.test"))
        self.wait(directory.listAliases("example.test"))
        self.wait(directory.setPassword(self.address("bob"), "x"))
        self.wait(directory.removeAlias(self.address("info")))
        self.wait(directory.removeAccount(self.address("bob")))
        self.assertFails(self.store.openAccount("A2"), NoSuchAccount)
        self.wait(directory.addDomain("x.test"))
        self.wait(directory.removeDomain("x.test"))
        self.wait(self.account.setSubscribed("x", True))
        statements = {each for each in found if each.lstrip().startswith(STATEMENTS)}
        self.assertTrue(len(statements) > 60, len(statements))
        wrong = []
        for statement in sorted(statements):
            for row in self.store._writing.execute(f"EXPLAIN QUERY PLAN {statement}"):
                step = row[3]
                # The index of unplaced contents holds nothing else.
                if step.startswith("SCAN") and "content_unplaced" not in step:
                    wrong.append(f"{step}: {statement}")
        self.assertEqual(wrong, [])

    def test_scansAreKnown(self) -> None:
        """The statements that do read a whole table are those that list it."""
        directory = self.store.directory
        found = self.record()
        self.wait(directory.listDomains())
        self.wait(directory.listAccounts())
        self.wait(directory.listAliases())
        self.assertEqual(set(found), SCANS)

    def test_damageAtTheEnd(self) -> None:
        """A message that has fewer octets than it says is damage, not an end."""
        inbox = self.mailbox("INBOX")
        uid = self.append(inbox, b"x" * 1000)
        content = self.wait(inbox.openMessage(uid))
        for statement in ("UPDATE chunk SET data = x'0000'", "DELETE FROM chunk"):
            self.store._writing.execute(statement)
            self.assertFails(content.read(0, 100), StoreDamaged)
        # FETCH doesn't pass over it either: it is one that has to be read in pieces.
        rows = self.fetch(inbox, Attribute.CONTENT, Attribute.OCTETS)
        self.assertEqual(list(rows), [(uid, None, 1000)])


STATEMENTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
