"""
A store that was restored from a copy gives nobody what the original gave away after it was copied.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from twisted_mailstack.interfaces import IAccount, IMailStore
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.storage.sql.store import FILE, SQLMailStore
from twisted_mailstack.testing.contracts import StorageContract


class RestoredTests(SQLStore, StorageContract, SynchronousTestCase):
    """
    C{mailstack backup}, and what becomes of the copy.
    """

    def restore(self, copy: str) -> SQLMailStore:
        """
        @return: a store over a copy of the copy.
        """
        place = self.mktemp()
        Path(place).mkdir()
        shutil.copyfile(Path(copy) / FILE, Path(place) / FILE)
        store = SQLMailStore(place, self.clock, self.calls.callFromThread, now=self.now)
        self.wait(store.start())
        self.addCleanup(lambda: self.wait(store.stop()))
        return store

    def identities(self, store: IMailStore, name: str = "alice") -> dict[str, Any]:
        """
        @return: what clients know of an INBOX: by a message's octets its ids.
        """
        record = self.wait(store.directory.findAccount(self.address(name)))
        assert record is not None
        account: Any = self.wait(store.openAccount(record.accountId))
        inbox = self.wait(account.openMailbox("INBOX"))
        validity = self.wait(inbox.status()).uidValidity
        found = {}
        columns = (Attribute.CONTENT, Attribute.MESSAGE_ID, Attribute.THREAD_ID)
        for uid, content, messageId, threadId in self.fetch(inbox, *columns):
            (uniqueId,) = self.wait(account.uniqueIds([messageId])).values()
            found[content] = ((validity, uid), messageId, threadId, uniqueId)
        return found

    def put(self, store: IMailStore, *texts: bytes, name: str = "alice") -> None:
        """Deliver messages."""
        record = self.wait(store.directory.findAccount(self.address(name)))
        assert record is not None
        account: IAccount = self.wait(store.openAccount(record.accountId))
        inbox = self.wait(account.openMailbox("INBOX"))
        for text in texts:
            writer = account.newContent()
            waiting = writer.write(text)
            if waiting is not None:
                self.wait(waiting)
            staged = self.wait(writer.finish())
            self.wait(inbox.append([(staged, frozenset(), 0, 0)]))
            staged.discard()

    def test_nothingTwice(self) -> None:
        """
        What was copied keeps its message and unique-ids (RFC 8474 §5.1, RFC 1939 §7), under another
        UIDVALIDITY (RFC 9051 §2.3.1.1); what comes then has ids that the original gave to nobody,
        and two restored stores have nothing in common either.
        """
        self.put(self.store, b"1", b"2")
        before = self.identities(self.store)
        copy = self.mktemp()
        self.wait(self.store.backUp(copy))
        self.put(self.store, b"3", b"4")
        lost = self.identities(self.store)
        seen: set[Any] = set().union(*lost.values())
        for _ in range(2):
            self.seconds += 60
            restored = self.restore(copy)
            found = self.identities(restored)
            self.assertEqual(list(found), [b"1", b"2"])
            for text, values in found.items():
                self.assertEqual(values[1:], before[text][1:])
                self.assertNotIn(values[0], seen)
            self.put(restored, b"5", b"6")
            new = [self.identities(restored)[text] for text in (b"5", b"6")]
            for values in new:
                self.assertEqual(seen.intersection(values), set())
            seen.update(*new, *found.values())
            self.assertEqual(list(self.wait(restored.check())), [])

    def test_allMailboxes(self) -> None:
        """Each has a UIDVALIDITY of its own, higher than those that it had."""
        self.mailbox("other")
        copy = self.mktemp()
        self.wait(self.store.backUp(copy))
        account = self.wait(self.restore(copy).openAccount(self.account.accountId))
        after = {each: s.uidValidity for each, s in self.wait(account.statuses()).items()}
        statuses = self.wait(self.account.statuses())  # type: ignore[attr-defined]
        self.assertEqual(set(after), set(statuses))
        self.assertEqual(len(set(after.values())), len(after))
        for each, status in statuses.items():
            self.assertGreater(after[each], status.uidValidity)

    def test_once(self) -> None:
        """It happens once: opened again, all is as it was."""
        self.put(self.store, b"1")
        copy = self.mktemp()
        self.wait(self.store.backUp(copy))
        restored = SQLMailStore(copy, self.clock, self.calls.callFromThread, now=self.now)
        self.wait(restored.start())
        found = self.identities(restored)
        self.wait(restored.stop())
        self.seconds += 10
        again = SQLMailStore(copy, self.clock, self.calls.callFromThread, now=self.now)
        self.wait(again.start())
        self.assertEqual(self.identities(again), found)
        self.wait(again.stop())

    def test_original(self) -> None:
        """The original goes on as it was."""
        self.put(self.store, b"1")
        before = self.identities(self.store)
        self.wait(self.store.backUp(self.mktemp()))
        self.assertEqual(self.identities(self.store), before)
        self.wait(self.store.stop())
        self.wait(self.store.start())
        self.assertEqual(self.identities(self.store), before)

    def test_copyOfCopy(self) -> None:
        """A copy that was never opened can be copied again."""
        self.put(self.store, b"1")
        copy, second = self.mktemp(), self.mktemp()
        self.wait(self.store.backUp(copy))
        restored = self.restore(copy)
        self.wait(restored.backUp(second))
        self.seconds += 60
        again = self.identities(self.restore(second))
        self.assertNotEqual(again[b"1"][0], self.identities(restored)[b"1"][0])

    def test_newAccounts(self) -> None:
        """An account that was made after the copy, and is made again, is another."""
        copy = self.mktemp()
        self.wait(self.store.backUp(copy))
        self.addAccount("bob")
        self.put(self.store, b"1", name="bob")
        lost = self.identities(self.store, "bob")
        self.seconds += 60
        restored = self.restore(copy)
        self.wait(restored.directory.addAccount(self.address("bob"), None))
        self.put(restored, b"2", name="bob")
        (values,) = self.identities(restored, "bob").values()
        self.assertEqual(set(lost[b"1"]).intersection(values), set())


del SQLStore, StorageContract
