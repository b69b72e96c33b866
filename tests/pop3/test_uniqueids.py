"""
Unique-ids never change and are never given to another message (RFC 1939 §7): over each storage, as
POP3 clients see them, while IMAP clients move messages, after a restoration, in another storage.
And what the maildrop's lock excludes there.
"""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.pop3.support import PlainHasher, multiLine
from tests.storage.test_memory import MemoryStore
from tests.storage.test_sql import SQLStore
from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.cli.migratepop3 import MaildropMigration
from twisted_mailstack.imap.server import IMAPFactory
from twisted_mailstack.imap.session import IMAPSettings
from twisted_mailstack.interfaces import IMaildropAccount, IMailStore
from twisted_mailstack.model.flags import NO_FLAGS
from twisted_mailstack.model.mailboxname import INBOX
from twisted_mailstack.pop3.client import POP3Client
from twisted_mailstack.pop3.clientsession import POP3ClientSession
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.storage.sql.store import FILE, SQLMailStore
from twisted_mailstack.testing.contracts.base import DOMAIN, CallQueue, StorageContract, start
from twisted_mailstack.testing.conversation import Conversation, FakeWire
from twisted_mailstack.wire.stream import Stream

T = TypeVar("T")

TEXTS = (b"Message-ID: <1@x>\r\n\r\n1\r\n", b"Message-ID: <2@x>\r\n\r\n2\r\n", b"x: y\r\n\r\n3\r\n")


class Side:
    """
    POP3 and IMAP servers over a store, whose threads report to a queue.
    """

    def __init__(self, store: IMailStore, calls: CallQueue) -> None:
        self.store = store
        self.calls = calls
        self.clock = Clock()
        checker = DirectoryChecker(store.directory, PlainHasher(), DOMAIN)
        self.portal = Portal(MailRealm(store), [checker])

    def pop3(self) -> Conversation:
        """
        @return: a connection, greeted.
        """
        settings = POP3Settings(hostname="mx.example.test")
        factory = POP3Factory(self.portal, settings, self.clock)
        client = Conversation(factory.serve, wire=FakeWire("pop3s", True), clock=self.clock)
        client.wire.take()
        return client

    def imap(self) -> Conversation:
        """
        @return: a connection that is logged in.
        """
        settings = IMAPSettings(hostname="mx.example.test")
        factory = IMAPFactory(self.portal, settings, self.clock)
        client = Conversation(factory.serve, wire=FakeWire("imaps", True), clock=self.clock)
        client.wire.take()
        self.command(client, "LOGIN alice secret")
        return client

    def say(self, client: Conversation, line: bytes, done: Callable[[bytes], object]) -> bytes:
        """
        @param done: whether that is all of the response.
        @return: it.
        """
        said = client.send(line + b"\r\n")
        while not done(said):
            if not self.calls.runOne():
                raise AssertionError(said)
            client.settle()
            said += client.wire.take()
        return said

    def command(self, client: Conversation, text: str) -> bytes:
        """
        @return: what an IMAP command got, which was OK.
        """
        said = self.say(client, b"t " + text.encode(), lambda all: b"\r\nt " in b"\r\n" + all)
        if b"\r\nt OK" not in b"\r\n" + said:
            raise AssertionError(said)
        return said

    def ask(self, client: Conversation, line: bytes) -> bytes:
        """
        @return: POP3's response, which has one line.
        """
        return self.say(client, line, lambda all: all.endswith(b"\r\n"))

    def logIn(self, client: Conversation) -> bytes:
        """
        @return: the response to PASS.
        """
        self.ask(client, b"USER alice")
        return self.ask(client, b"PASS secret")

    def uidl(self, client: Conversation) -> list[bytes]:
        """
        @return: the unique-ids.
        """
        said = self.say(client, b"UIDL", lambda all: all.endswith(b"\r\n.\r\n"))
        lines = multiLine(said)[1].splitlines()
        return [line.partition(b" ")[2] for line in lines]

    def ids(self) -> list[bytes]:
        """
        @return: what a session of its own sees.
        """
        client = self.pop3()
        if not self.logIn(client).startswith(b"+OK"):
            raise AssertionError("in use")
        found = self.uidl(client)
        self.ask(client, b"QUIT")
        return found

    def put(self, *texts: bytes) -> None:
        """Messages arrive for Alice."""
        account, inbox = self.inbox()
        for text in texts:
            writer = account.newContent()
            waiting = writer.write(text)
            if waiting is not None:
                self.calls.wait(waiting)
            staged = self.calls.wait(writer.finish())
            self.calls.wait(inbox.append([(staged, NO_FLAGS, 1_700_000_000, 0)]))
            staged.discard()

    def inbox(self) -> tuple[Any, Any]:
        """
        @return: Alice's account and INBOX.
        """
        wait, directory = self.calls.wait, self.store.directory
        (record,) = [
            each for each in wait(directory.listAccounts()) if each.address.localPart == "alice"
        ]
        account: Any = wait(self.store.openAccount(record.accountId))
        return account, wait(account.openMailbox(INBOX))

    def expunge(self) -> None:
        """Remove all that is in INBOX."""
        self.calls.wait(self.inbox()[1].expunge(None, onlyDeleted=False))


class UniqueIdContract(StorageContract):
    """
    Over one storage.

    @ivar side: its servers; three messages are in Alice's INBOX.
    """

    def setUp(self) -> None:
        """See L{StorageContract}."""
        super().setUp()
        self.wait(self.store.directory.setPassword(self.address("alice"), "secret"))
        self.side = Side(self.store, self.calls)
        self.side.put(*TEXTS)

    # --- what IMAP clients do ------------------------------------------------------------------

    def test_moves(self) -> None:
        """A message that IMAP moves away and back has another UID, and the same unique-id."""
        before = self.side.ids()
        imap = self.side.imap()
        self.side.command(imap, "CREATE Elsewhere")
        for move in (
            "UID MOVE {0} {1}",
            "UID COPY {0} {1}\nUID STORE {0} +FLAGS (\\Deleted)\nEXPUNGE",
        ):
            for there, back in (("INBOX", "Elsewhere"), ("Elsewhere", "INBOX")):
                self.side.command(imap, f"SELECT {there}")
                first = self.side.command(imap, "UID SEARCH ALL").split()[2].decode()
                for line in move.format(first, back).splitlines():
                    self.side.command(imap, line)
                seen = self.side.ids()
                self.assertEqual(len(seen), 2 if there == "INBOX" else 3)
                self.assertLessEqual(set(seen), set(before))
            # It is behind the others now.
            before = [*before[1:], before[0]]
            self.assertEqual(self.side.ids(), before)
        self.side.command(imap, "SELECT INBOX")
        self.assertEqual(self.side.command(imap, "UID SEARCH ALL").split()[2:5], [b"3", b"4", b"5"])

    def test_renamedInbox(self) -> None:
        """RENAME INBOX takes its messages along; when they come back they are the same."""
        before = self.side.ids()
        imap = self.side.imap()
        self.side.command(imap, "RENAME INBOX Old")
        self.assertEqual(self.side.ids(), [])
        self.side.put(b"new: x\r\n\r\n")
        (new,) = self.side.ids()
        self.assertNotIn(new, before)
        self.side.command(imap, "SELECT Old")
        self.side.command(imap, "MOVE 1:* INBOX")
        self.assertEqual(self.side.ids(), [new, *before])

    def test_flags(self) -> None:
        """Nothing else that IMAP does to a message changes it."""
        before = self.side.ids()
        imap = self.side.imap()
        self.side.command(imap, "SELECT INBOX")
        self.side.command(imap, "STORE 1:* +FLAGS (\\Seen \\Flagged word)")
        self.side.command(imap, "UID FETCH 1 BODY[]")
        self.side.command(imap, "CREATE Elsewhere")
        self.side.command(imap, "COPY 1:2 Elsewhere")
        self.side.command(imap, "COPY 3 INBOX")
        self.assertEqual(self.side.ids(), [*before, before[2]])

    # --- restoration ---------------------------------------------------------------------------

    def restored(self) -> Side:
        """
        Implement this.

        @return: the store as it was when C{saved} was called, elsewhere.
        """
        raise NotImplementedError("restored")

    def save(self) -> None:
        """Implement this: keep what there is."""
        raise NotImplementedError("save")

    def test_restored(self) -> None:
        """
        What was saved has its unique-ids again; what arrives after it gets none that the original
        gave to somebody after it was saved.
        """
        before = self.side.ids()
        self.save()
        self.side.put(b"lost: 1\r\n\r\n", b"lost: 2\r\n\r\n")
        lost = self.side.ids()
        self.seconds += 3600
        restored = self.restored()
        self.assertEqual(restored.ids(), before)
        restored.put(b"new: 1\r\n\r\n", b"new: 2\r\n\r\n")
        found = restored.ids()
        self.assertEqual((found[:3], len(set(found))), (before, 5))
        self.assertEqual(set(found[3:]) & set(lost), set())
        self.assertEqual(self.side.ids(), lost)

    # --- another storage -----------------------------------------------------------------------

    def makeOthers(self) -> Sequence[IMailStore]:
        """
        @return: a new store of each kind.
        """
        return [
            MemoryMailStore(self.now),
            SQLMailStore(self.mktemp(), self.clock, self.calls.callFromThread, now=self.now),
        ]

    def prepare(self, store: IMailStore) -> Side:
        """
        @return: servers over another store, with an account for Alice.
        """
        self.wait(store.start())
        self.addCleanup(lambda: self.wait(store.stop()))
        self.wait(store.directory.addDomain(DOMAIN))
        self.wait(store.directory.addAccount(self.address("alice"), "secret"))
        return Side(store, self.calls)

    def transfer(self, target: Side) -> int:
        """
        What C{mailstack import pop3s://} does.

        @return: how many messages came.
        """
        connection = self.side.pop3()
        wire = FakeWire("pop3", True)
        stream = Stream(wire, self.side.clock)
        client = POP3Client(self.side.clock, "pop.example.test")
        session = client.session = POP3ClientSession(stream)

        def carry() -> None:
            while wire.sent or connection.wire.sent:
                if connection.wire.sent:
                    stream.received(connection.wire.take())
                if wire.sent:
                    connection.stream.received(wire.take())
                connection.settle()

        def do(awaitable: Awaitable[T]) -> T:
            results: list[Any] = []
            start(awaitable).addBoth(results.append)
            carry()
            while not results:
                if not self.calls.runOne():
                    raise AssertionError("it waits")
                connection.settle()
                carry()
            if isinstance(results[0], Failure):
                results[0].raiseException()
            result: T = results[0]
            return result

        stream.received(b"+OK ready\r\n")
        do(session.greet())
        do(session.logIn(b"alice", b"secret"))
        do(session.learnCapabilities())
        account, inbox = target.inbox()
        told: list[str] = []
        migration = MaildropMigration(client, IMaildropAccount(account), inbox, tell=told.append)
        do(migration.run())
        self.assertEqual(told, [])
        connection.disconnect()
        return migration.imported

    def test_otherStorage(self) -> None:
        """
        In another storage, of whatever kind, messages have the unique-ids that they had; they keep
        them there, and nobody else ever gets one, not even when they are gone.
        """
        for store in self.makeOthers():
            before = self.side.ids()
            there = self.prepare(store)
            there.put(b"other: 1\r\n\r\n")
            (own,) = there.ids()
            self.assertEqual(self.transfer(there), len(before))
            self.assertEqual(there.ids(), [own, *before])
            imap = there.imap()
            there.command(imap, "CREATE Elsewhere")
            there.command(imap, "SELECT INBOX")
            there.command(imap, "MOVE 2 Elsewhere")
            there.command(imap, "SELECT Elsewhere")
            there.command(imap, "MOVE 1 INBOX")
            self.assertEqual(there.ids(), [own, *before[1:], before[0]])
            there.expunge()
            there.put(b"other: 2\r\n\r\n", b"other: 3\r\n\r\n")
            self.assertEqual(set(there.ids()) & {own, *before}, set())
            # What was there once isn't fetched again; what is new here is.
            self.side.put(b"new: x\r\n\r\n")
            self.assertEqual(self.transfer(there), 1)

    # --- the lock ------------------------------------------------------------------------------

    def test_lock(self) -> None:
        """
        A second POP3 session is kept out; IMAP sessions aren't, whatever they do; and nothing is
        deleted by the session that has the lock when its connection is lost.
        """
        holder = self.side.pop3()
        self.assertEqual(self.side.logIn(holder)[:4], b"+OK ")
        self.side.ask(holder, b"DELE 1")
        before = self.side.uidl(holder)
        imap = self.side.imap()
        self.assertIn(b"* 3 EXISTS", self.side.command(imap, "SELECT INBOX"))
        self.assertIn(b"-ERR [IN-USE] ", self.side.logIn(self.side.pop3()))
        self.side.command(imap, "STORE 2 +FLAGS.SILENT (\\Deleted)")
        self.side.command(imap, "EXPUNGE")
        self.side.command(imap, "CREATE Elsewhere")
        self.side.command(imap, "COPY 1 Elsewhere")
        self.assertEqual(self.side.uidl(holder), before)
        self.assertEqual(self.side.ask(holder, b"STAT")[:6], b"+OK 2 ")
        holder.disconnect()
        self.calls.run()
        self.assertTrue(holder.finished)
        self.assertEqual(len(self.side.ids()), 2)


class MemoryUniqueIdTests(MemoryStore, UniqueIdContract, SynchronousTestCase):
    """
    Over the memory store. It has no backups; what it has is given to another one.
    """

    def save(self) -> None:
        """See L{UniqueIdContract}."""
        self.saved = dict(zip(TEXTS, (each.decode() for each in self.side.ids()), strict=True))

    def restored(self) -> Side:
        """See L{UniqueIdContract}."""
        side = self.prepare(MemoryMailStore(self.now))
        side.put(*self.saved)
        account, _ = side.inbox()
        messageIds = [each.message.messageId for each in account.boxes[INBOX].entries]
        given = dict(zip(messageIds, self.saved.values(), strict=True))
        self.assertEqual(len(self.wait(account.assignUniqueIds(given))), 3)
        return side


class SQLUniqueIdTests(SQLStore, UniqueIdContract, SynchronousTestCase):
    """
    Over SQLite.
    """

    def save(self) -> None:
        """See L{UniqueIdContract}."""
        self.copy = self.mktemp()
        self.wait(self.sql.backUp(self.copy))

    @property
    def sql(self) -> Any:
        """The store."""
        return self.store

    def restored(self) -> Side:
        """See L{UniqueIdContract}."""
        place = Path(self.mktemp())
        place.mkdir()
        shutil.copyfile(Path(self.copy) / FILE, place / FILE)
        store = SQLMailStore(str(place), self.clock, self.calls.callFromThread, now=self.now)
        self.wait(store.start())
        self.addCleanup(lambda: self.wait(store.stop()))
        return Side(store, self.calls)

    def test_otherProcess(self) -> None:
        """All of that holds, too, for sessions that another process serves from the same place."""
        other = Side(self.startStore(), self.calls)
        holder = self.side.pop3()
        self.assertEqual(self.side.logIn(holder)[:4], b"+OK ")
        first, second, third = self.side.uidl(holder)
        self.side.ask(holder, b"DELE 1")
        self.assertIn(b"-ERR [IN-USE] ", other.logIn(other.pop3()))
        imap = other.imap()
        self.assertIn(b"* 3 EXISTS", other.command(imap, "SELECT INBOX"))
        other.command(imap, "STORE 2 +FLAGS.SILENT (\\Deleted)")
        other.command(imap, "EXPUNGE")
        self.assertEqual(self.side.uidl(holder), [second, third])
        holder.disconnect()
        self.calls.run()
        self.assertTrue(holder.finished)
        self.assertEqual(other.ids(), [first, third])


del MemoryStore, SQLStore, StorageContract, UniqueIdContract
