"""
The maildrop over each storage: its lock, its snapshot, and unique-ids that last (RFC 1939 §4-§7).
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import MaildropLocked, MailError, MessageExpunged, SyntaxProblem
from twisted_mailstack.interfaces import IAccount, IMaildropAccount, IMailStore
from twisted_mailstack.model.flags import DELETED, NO_FLAGS, SEEN, FlagOperation
from twisted_mailstack.model.mailboxname import INBOX
from twisted_mailstack.model.records import Attribute, MaildropSettings
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.pop3 import maildrop as module
from twisted_mailstack.pop3.maildrop import Maildrop
from twisted_mailstack.sharing.account import SharingAccount
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.storage.sql.store import SQLMailStore
from twisted_mailstack.testing.contracts.base import StorageContract


class MaildropContract(StorageContract):
    """
    What POP3 needs of a storage. Alice is its user.
    """

    def put(self, *messages: bytes) -> None:
        """Put messages into INBOX."""
        inbox = self.mailbox(INBOX)
        for octets in messages:
            self.wait(inbox.append([(self.stage(octets), NO_FLAGS, 1_700_000_000, 0)]))

    def open(self, account: IAccount | None = None) -> Maildrop:
        """
        @return: the maildrop, locked until the end of the test.
        """
        maildrop = self.wait(Maildrop.open(account or self.account))
        self.addCleanup(maildrop.release)
        return maildrop

    def ids(self) -> list[bytes]:
        """
        @return: the unique-ids that a session sees.
        """
        maildrop = self.open()
        found = self.wait(maildrop.uniqueIds())
        maildrop.release()
        return found

    # --- the snapshot --------------------------------------------------------------------------

    def test_snapshot(self) -> None:
        """Messages in the order of their arrival, with their octets."""
        self.put(b"a" * 10, b"b" * 300, b"c")
        maildrop = self.open()
        self.assertEqual((maildrop.count, maildrop.size), (3, 311))
        self.assertEqual(list(maildrop.octets), [10, 300, 1])
        content = self.wait(maildrop.openMessage(2))
        self.assertEqual(self.wait(content.read(0, 1000)), b"b" * 300)

    def test_slices(self) -> None:
        """A large maildrop is asked for in pieces, and is whole."""
        self.patch(module, "SLICE", 2)
        self.put(*(b"x" * n for n in range(1, 8)))
        self.wait(self.mailbox(INBOX).expunge(NumberSet.of([3]), onlyDeleted=False))
        self.assertEqual(list(self.open().octets), [1, 2, 4, 5, 6, 7])

    def test_empty(self) -> None:
        """Nothing is something too."""
        maildrop = self.open()
        self.assertEqual((maildrop.count, maildrop.size, maildrop.numbers()), (0, 0, []))

    def test_imapDeleted(self) -> None:
        r"""What IMAP only flagged as \Deleted is there."""
        self.put(b"a", b"b")
        inbox = self.mailbox(INBOX)
        self.wait(inbox.storeFlags(NumberSet.of([1]), FlagOperation.ADD, frozenset([DELETED])))
        maildrop = self.open()
        self.assertEqual(maildrop.count, 2)
        maildrop.deleted.add(2)
        self.assertEqual(self.wait(maildrop.update()), 1)
        self.assertEqual(list(self.wait(inbox.changesSince(0)).uids), [1])

    def test_later(self) -> None:
        """What arrives or goes later doesn't change the snapshot."""
        self.put(b"a", b"b")
        maildrop = self.open()
        self.put(b"c")
        self.wait(self.mailbox(INBOX).expunge(NumberSet.of([1]), onlyDeleted=False))
        self.assertEqual((maildrop.count, list(maildrop.octets)), (2, [1, 1]))
        try:
            content = self.wait(maildrop.openMessage(1))
        except MessageExpunged as error:
            self.assertEqual(error.text, "That message was removed by another session")
        else:
            self.fail(f"there is a {content}")

    def test_numbers(self) -> None:
        """Numbers are those of messages that are there and not deleted."""
        self.put(b"a", b"bb")
        maildrop = self.open()
        maildrop.deleted.add(1)
        self.assertEqual((maildrop.count, maildrop.size, maildrop.numbers()), (1, 2, [2]))
        self.assertEqual(maildrop.number(b"2"), 2)
        for text in (b"1", b"0", b"3", b"9" * 100):
            self.assertNotIsInstance(
                self.assertRaises(MailError, maildrop.number, text), SyntaxProblem
            )
        for text in (b"", b"-2", b"+2", b" 2", b"2.", b"x"):
            self.assertRaises(SyntaxProblem, maildrop.number, text)

    # --- the lock ------------------------------------------------------------------------------

    def test_lock(self) -> None:
        """One session has it; when that lets go, however often, the next can have it."""
        maildrop = self.open()
        self.assertFails(Maildrop.open(self.account), MaildropLocked)
        # Not by this: it had none.
        self.assertFails(Maildrop.open(self.account), MaildropLocked)
        maildrop.release()
        other = self.open()
        maildrop.release()
        self.assertFails(Maildrop.open(self.account), MaildropLocked)
        other.release()
        self.open()

    def test_otherAccounts(self) -> None:
        """Each account has its own."""
        self.open()
        self.open(self.addAccount("bob"))

    def test_failure(self) -> None:
        """If the snapshot can't be taken the lock is let go."""

        class Broken:
            def __init__(self, account: IAccount) -> None:
                self.lockMaildrop = account.lockMaildrop

            async def openMailbox(self, name: str) -> None:
                raise RuntimeError("broken")

        self.assertFails(Maildrop.open(Broken(self.account)), RuntimeError)  # type: ignore[arg-type]
        self.open()

    # --- unique-ids ----------------------------------------------------------------------------

    def test_form(self) -> None:
        """1 to 70 characters from 0x21 to 0x7E (RFC 1939 §7), all different."""
        self.put(*[b"same"] * 20)
        ids = self.ids()
        self.assertEqual(len(set(ids)), 20)
        for each in ids:
            self.assertRegex(each, rb"\A[\x21-\x7e]{1,70}\Z")

    def test_stable(self) -> None:
        """
        A message has the same id in each session, whatever happens to others, to its flags, or to
        other mailboxes, and after a restart.
        """
        self.put(b"a", b"b", b"c")
        first, second, third = self.ids()
        inbox = self.mailbox(INBOX)
        self.wait(inbox.expunge(NumberSet.of([1]), onlyDeleted=False))
        self.wait(inbox.storeFlags(NumberSet.of([2]), FlagOperation.ADD, frozenset([DELETED])))
        self.put(b"d")
        self.wait(self.account.createMailbox("Other"))
        self.wait(self.account.renameMailbox("Other", "Another"))
        self.assertEqual(self.ids()[:2], [second, third])
        self.assertNotIn(first, self.ids())
        before = self.ids()
        self.restart()
        self.assertEqual(self.ids(), before)

    def test_neverAgain(self) -> None:
        """No id is given to another message, not after deletion, restart, or a renamed INBOX."""
        seen: set[bytes] = set()

        def new(count: int) -> None:
            ids = self.ids()
            self.assertEqual(len(ids), count)
            self.assertEqual(seen & set(ids), set())
            seen.update(ids)

        self.put(b"a", b"b")
        new(2)
        maildrop = self.open()
        maildrop.deleted.update((1, 2))
        self.assertEqual(self.wait(maildrop.update()), 2)
        maildrop.release()
        self.put(b"c")
        new(1)
        self.wait(self.mailbox(INBOX).expunge(None, onlyDeleted=False))
        self.restart()
        self.put(b"d", b"e")
        new(2)
        self.wait(self.account.renameMailbox(INBOX, "Archive 2026"))
        self.assertEqual(self.ids(), [])
        self.put(b"f")
        new(1)
        # And back: these are the messages that they were.
        old = self.mailbox("Archive 2026")
        self.wait(self.mailbox(INBOX).expunge(None, onlyDeleted=False))
        self.wait(old.copyMessages(NumberSet([(1, 9)]), self.mailbox(INBOX)))
        self.assertEqual(len(self.ids()), 2)
        self.assertLessEqual(set(self.ids()), seen)

    def test_newAccount(self) -> None:
        """An account that takes the name of a removed one doesn't take its ids."""
        self.put(b"a")
        before = self.ids()
        self.wait(self.store.directory.removeAccount(self.address("alice")))
        self.seconds += 100
        self.account = self.addAccount("alice")
        self.put(b"b")
        self.assertNotEqual(self.ids(), before)

    def restart(self) -> None:
        """Stop the store and open it again, where it outlives that."""

    # --- settings ------------------------------------------------------------------------------

    def set(self, **settings: Any) -> None:
        """Say what is shown."""
        account = IMaildropAccount(self.account)
        self.wait(account.setMaildropSettings(MaildropSettings(**settings)))

    def putElsewhere(self, name: str, *messages: bytes) -> None:
        """Put messages into another mailbox."""
        mailbox = self.mailbox(name)
        for octets in messages:
            self.wait(mailbox.append([(self.stage(octets), NO_FLAGS, 1_700_000_000, 0)]))

    def test_unseenOnly(self) -> None:
        """What IMAP has seen isn't shown, as it was at login; ids are the same either way."""
        self.put(b"a", b"bb", b"ccc")
        ids = self.ids()
        inbox = self.mailbox(INBOX)
        self.wait(inbox.storeFlags(NumberSet.of([2]), FlagOperation.ADD, frozenset([SEEN])))
        self.assertEqual(self.ids(), ids)
        self.set(unseenOnly=True)
        maildrop = self.open()
        self.assertEqual(list(maildrop.octets), [1, 3])
        self.assertEqual(self.wait(maildrop.uniqueIds()), [ids[0], ids[2]])
        self.wait(inbox.storeFlags(NumberSet.of([1]), FlagOperation.ADD, frozenset([SEEN])))
        self.assertEqual(maildrop.count, 2)
        maildrop.deleted.update((1, 2))
        self.assertEqual(self.wait(maildrop.update()), 2)
        self.assertEqual(self.uids(inbox), [2])

    def test_otherMailboxes(self) -> None:
        """Messages of other mailboxes come behind those of INBOX; what isn't there is left out."""
        self.put(b"a")
        self.putElsewhere("Lists", b"bb", b"ccc")
        self.putElsewhere("Work", b"dddd")
        self.set(mailboxes=("Work", "Nowhere", INBOX, "Lists"))
        maildrop = self.open()
        self.assertEqual(list(maildrop.octets), [1, 4, 2, 3])
        self.assertEqual(len(set(self.wait(maildrop.uniqueIds()))), 4)
        for number, octets in ((1, b"a"), (2, b"dddd"), (4, b"ccc")):
            content = self.wait(maildrop.openMessage(number))
            self.assertEqual(self.wait(content.read(0, 9)), octets)
        maildrop.deleted.update((1, 3))
        self.assertEqual(self.wait(maildrop.update()), 2)
        self.assertEqual(self.uids(self.mailbox("Lists")), [2])
        self.assertEqual(self.uids(self.mailbox("Work")), [1])
        self.assertEqual(self.uids(self.mailbox(INBOX)), [])

    def test_others(self) -> None:
        """
        What others share is nobody's to show or to delete by POP3, whatever the settings name, not
        even as the place for what is deleted.
        """
        bob = self.addAccount("bob")
        theirs = self.mailbox("Trash", bob)
        self.append(theirs)
        store: Any = self.store
        rights = frozenset("lrstexi")
        self.wait(
            store.sharing.change(
                theirs.mailboxId, "alice@example.test", FlagOperation.REPLACE, rights
            )
        )
        avatar: Any = SharingAccount(self.account, store)
        name = "Other Users/bob@example.test/Trash"
        self.assertIn(name, [each.name for each in self.wait(avatar.listMailboxes())])
        self.put(b"a")
        self.set(mailboxes=(name,), toTrash=True)
        self.wait(self.account.deleteMailbox("Trash"))
        maildrop = self.open(avatar)
        self.assertEqual(list(maildrop.octets), [1])
        maildrop.deleted.add(1)
        self.assertEqual(self.wait(maildrop.update()), 1)
        self.assertEqual(len(self.uids(theirs)), 1)
        self.assertEqual(len(self.uids(self.mailbox("Trash"))), 1)

    def test_mailboxGone(self) -> None:
        """A mailbox that IMAP deletes meanwhile takes its messages with it, and nothing else."""
        self.put(b"a")
        self.putElsewhere("Lists", b"bb")
        self.set(mailboxes=("Lists",))
        maildrop = self.open()
        self.wait(self.account.deleteMailbox("Lists"))
        self.assertFails(maildrop.openMessage(2), MessageExpunged)
        maildrop.deleted.update((1, 2))
        self.assertEqual(self.wait(maildrop.update()), 1)
        self.assertEqual(self.uids(self.mailbox(INBOX)), [])

    def test_toTrash(self) -> None:
        """What is deleted goes where deleted mail goes; what is there already is expunged."""
        self.put(b"a", b"bb")
        self.putElsewhere("Trash", b"ccc")
        self.set(toTrash=True, mailboxes=("Trash",))
        ids = self.ids()
        maildrop = self.open()
        maildrop.deleted.update((1, 3))
        self.assertEqual(self.wait(maildrop.update()), 2)
        maildrop.release()
        rows = self.fetch(self.mailbox("Trash"), Attribute.OCTETS)
        self.assertEqual([row[1] for row in rows], [1])
        # It is the same message.
        self.assertEqual(self.ids(), [ids[1], ids[0]])

    def test_trashMissing(self) -> None:
        """Without such a mailbox one is made; one of that name is used, special or not."""
        for special in (False, True):
            self.wait(self.account.deleteMailbox("Trash"))
            if special:
                self.wait(self.account.createMailbox("Trash"))
            self.set(toTrash=True)
            self.put(b"a")
            maildrop = self.open()
            maildrop.deleted.add(1)
            self.assertEqual(self.wait(maildrop.update()), 1)
            maildrop.release()
            self.assertEqual(self.uids(self.mailbox("Trash")), [1])

    def test_trashIsNoMailbox(self) -> None:
        """A name that is only above others becomes a mailbox for it."""
        self.wait(self.account.createMailbox("Trash/old"))
        self.wait(self.account.deleteMailbox("Trash"))
        self.set(toTrash=True)
        self.put(b"a")
        maildrop = self.open()
        maildrop.deleted.add(1)
        self.assertEqual(self.wait(maildrop.update()), 1)
        self.assertEqual(self.uids(self.mailbox("Trash")), [1])

    def test_copies(self) -> None:
        """Two copies of a message have one id (RFC 1939 §7), and are deleted one by one."""
        self.put(b"a")
        inbox = self.mailbox(INBOX)
        self.wait(inbox.copyMessages(NumberSet.of([1]), inbox))
        self.assertEqual(len(self.ids()), 2)
        self.assertEqual(len(set(self.ids())), 1)
        maildrop = self.open()
        maildrop.deleted.add(1)
        self.assertEqual(self.wait(maildrop.update()), 1)
        self.assertEqual(self.uids(inbox), [2])

    # --- the end -------------------------------------------------------------------------------

    def test_update(self) -> None:
        """What is marked goes, in one step; what others removed already is no hindrance."""
        self.put(b"a", b"b", b"c", b"d")
        maildrop = self.open()
        maildrop.deleted.update((1, 2, 4))
        inbox = self.mailbox(INBOX)
        self.wait(inbox.expunge(NumberSet.of([2]), onlyDeleted=False))
        before = self.wait(inbox.status()).highestModSeq
        self.assertEqual(self.wait(maildrop.update()), 2)
        self.assertEqual(self.wait(inbox.status()).highestModSeq, before + 1)
        self.assertEqual(list(self.wait(inbox.changesSince(0)).uids), [3])

    def test_nothingToDo(self) -> None:
        """Without marks nothing is changed."""
        self.put(b"a")
        before = self.wait(self.mailbox(INBOX).status()).highestModSeq
        self.assertEqual(self.wait(self.open().update()), 0)
        self.assertEqual(self.wait(self.mailbox(INBOX).status()).highestModSeq, before)


class MemoryMaildropTests(MaildropContract, SynchronousTestCase):
    """
    Over the memory store.
    """

    def makeStore(self) -> IMailStore:
        """See L{StorageContract}."""
        return MemoryMailStore(self.now)


class SQLMaildropTests(MaildropContract, SynchronousTestCase):
    """
    Over SQLite.
    """

    path = ""

    def makeStore(self) -> IMailStore:
        """See L{StorageContract}."""
        self.path = self.path or self.mktemp()
        return SQLMailStore(self.path, self.clock, self.calls.callFromThread, now=self.now)

    def restart(self) -> None:
        """See L{MaildropContract}."""
        self.wait(self.store.stop())
        self.store = self.startStore()
        self.account = self.openAccount(self.store)

    def openAccount(self, store: IMailStore) -> IAccount:
        """
        @return: Alice's account of a store.
        """
        record = self.wait(store.directory.findAccount(self.address("alice")))
        assert record is not None
        return self.wait(store.openAccount(record.accountId))

    def test_otherProcess(self) -> None:
        """Another process is locked out as well, and let in when the first is done."""
        other = self.openAccount(self.startStore())
        maildrop = self.open()
        self.assertFails(Maildrop.open(other), MaildropLocked)
        maildrop.release()
        self.open(other)
        self.assertFails(Maildrop.open(self.account), MaildropLocked)
