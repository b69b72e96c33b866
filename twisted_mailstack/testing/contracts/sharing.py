# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{IAccessControl} promises, and mailboxes and accounts where others use them.
"""

from __future__ import annotations

from typing import Any

from zope.interface import alsoProvides

from twisted_mailstack.errors import (
    AlreadyExists,
    CannotDoThat,
    NoSuchAccount,
    NoSuchMailbox,
    OverQuota,
)
from twisted_mailstack.interfaces import (
    IAccessControl,
    ILimitedAccount,
    IMailbox,
    IReceivingMailbox,
    ISharingStore,
)
from twisted_mailstack.model.flags import FlagOperation, FlagScope
from twisted_mailstack.model.records import CopyResult
from twisted_mailstack.model.rights import MAX_ENTRIES, Rights
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.contracts.base import EVERYTHING, StorageContract

BOB = "bob@example.test"


class AccessControlContract(StorageContract):
    """
    Access control lists.
    """

    def setUp(self) -> None:
        """Alice has two mailboxes."""
        super().setUp()
        store: Any = self.store
        self.sharing: IAccessControl = store.sharing
        self.work = self.mailbox("Work")

    def grant(
        self,
        identifier: str,
        rights: str,
        mailbox: IMailbox | None = None,
        operation: FlagOperation = FlagOperation.REPLACE,
    ) -> None:
        """
        Change a list, that of Work if nothing is said.
        """
        mailboxId = (mailbox or self.work).mailboxId
        self.wait(self.sharing.change(mailboxId, identifier, operation, frozenset(rights)))

    def entries(self, mailbox: IMailbox | None = None) -> dict[str, str]:
        """
        @return: a list, that of Work if nothing is said, rights sorted.
        """
        found = self.wait(self.sharing.entries((mailbox or self.work).mailboxId))
        return {identifier: "".join(sorted(rights)) for identifier, rights in found.items()}

    def shared(self, *identifiers: str) -> dict[str, dict[str, Rights]]:
        """
        @return: where these are in lists: by account and mailbox.
        """
        return {
            f"{each.address} {each.info.name}": dict(each.entries)
            for each in self.wait(self.sharing.shared(identifiers))
        }

    def test_provides(self) -> None:
        """The store and its access control are what the interfaces say."""
        self.assertProvides(ISharingStore, self.store)
        self.assertProvides(IAccessControl, self.sharing)

    def test_change(self) -> None:
        """Rights are replaced, added and taken away; who has none is in the list no more."""
        self.assertEqual(self.entries(), {})
        self.grant(BOB, "lr")
        self.grant("-anyone", "w")
        self.grant("anyone", "l")
        self.assertEqual(
            list(self.entries().items()), [("-anyone", "w"), ("anyone", "l"), (BOB, "lr")]
        )
        self.grant(BOB, "rsi", operation=FlagOperation.ADD)
        self.assertEqual(self.entries()[BOB], "ilrs")
        self.grant(BOB, "lax", operation=FlagOperation.REMOVE)
        self.assertEqual(self.entries()[BOB], "irs")
        self.grant(BOB, "te")
        self.assertEqual(self.entries()[BOB], "et")
        self.grant(BOB, "")
        self.grant("anyone", "l", operation=FlagOperation.REMOVE)
        self.grant("carol@example.test", "", operation=FlagOperation.ADD)
        self.assertEqual(self.entries(), {"-anyone": "w"})
        self.assertEqual(self.entries(self.mailbox("INBOX")), {})

    def test_some(self) -> None:
        """One can look for some identifiers alone."""
        self.grant(BOB, "lr")
        self.grant("anyone", "l")
        found = self.wait(self.sharing.entries(self.work.mailboxId, (BOB, "-anyone")))
        self.assertEqual(found, {BOB: frozenset("lr")})
        self.assertEqual(self.wait(self.sharing.entries(self.work.mailboxId, ())), {})

    def test_replace(self) -> None:
        """A whole list is replaced."""
        self.grant(BOB, "lr")
        self.wait(
            self.sharing.replace(
                self.work.mailboxId, {"anyone": frozenset("r"), "-anyone": frozenset()}
            )
        )
        self.assertEqual(self.entries(), {"anyone": "r"})

    def test_missing(self) -> None:
        """What isn't there has no list, and gets none."""
        self.grant(BOB, "lr")
        self.wait(self.account.deleteMailbox("Work"))
        for mailboxId in (self.work.mailboxId, "M99-1", "nonsense", ""):
            self.assertEqual(self.wait(self.sharing.entries(mailboxId)), {})
            self.assertFails(
                self.sharing.change(mailboxId, BOB, FlagOperation.ADD, frozenset("l")),
                NoSuchMailbox,
            )
            self.assertFails(self.sharing.replace(mailboxId, {}), NoSuchMailbox)

    def test_tooLong(self) -> None:
        """A list has a limit; what is in it can still be changed."""
        full = {f"a{number}@example.test": frozenset("l") for number in range(MAX_ENTRIES)}
        self.wait(self.sharing.replace(self.work.mailboxId, full))
        more = self.sharing.change(self.work.mailboxId, BOB, FlagOperation.ADD, frozenset("l"))
        self.assertEqual(self.assertFails(more, CannotDoThat).imapCode, "LIMIT")
        self.assertFails(
            self.sharing.replace(self.work.mailboxId, {**full, BOB: frozenset("l")}), CannotDoThat
        )
        self.grant("a7@example.test", "r", operation=FlagOperation.ADD)
        self.assertEqual(self.entries()["a7@example.test"], "lr")
        self.assertEqual(len(self.entries()), MAX_ENTRIES)

    def test_watched(self) -> None:
        """Who watches the mailbox is told of each change of its list."""
        told: list[str] = []
        self.work.watch(lambda: told.append("changed"))
        self.grant(BOB, "l")
        self.assertEqual(len(told), 1)
        self.wait(self.sharing.replace(self.work.mailboxId, {}))
        self.assertEqual(len(told), 2)

    def test_anyWatched(self) -> None:
        """Who watches all lists is told of each change of any, and of what is public."""
        self.addAccount("bob")
        told: list[str] = []
        stop = self.sharing.watch(lambda: told.append("changed"))
        for change in (
            self.sharing.change(self.work.mailboxId, BOB, FlagOperation.REPLACE, frozenset("l")),
            self.sharing.replace(self.work.mailboxId, {BOB: frozenset("r")}),
            self.sharing.publish(self.account.accountId, "office"),
            self.sharing.publish(self.account.accountId, None),
            self.store.directory.removeAccount(self.address("bob")),
        ):
            del told[:]
            self.wait(change)
            self.assertEqual(len(told), 1)
        del told[:]
        self.append(self.work)
        self.assertEqual(told, [])
        stop()
        stop()
        self.grant("anyone", "l")
        self.assertEqual(told, [])

    def test_rename(self) -> None:
        """A list stays through RENAME, those of the mailboxes below too (RFC 4314 §4)."""
        below = self.mailbox("Work/Plans")
        self.grant(BOB, "lr")
        self.grant(BOB, "lrs", below)
        self.wait(self.account.renameMailbox("Work", "Done"))
        self.assertEqual(self.entries(), {BOB: "lr"})
        self.assertEqual(self.entries(below), {BOB: "lrs"})
        self.assertEqual(
            set(self.shared(BOB)), {"alice@example.test Done", "alice@example.test Done/Plans"}
        )

    def test_inherited(self) -> None:
        """
        A new mailbox gets the list of the nearest superior (RFC 4314 §4), which is a copy. On top
        there is none to inherit.
        """
        self.grant(BOB, "lrk")
        self.assertEqual(self.entries(self.mailbox("Work/a/b")), {BOB: "klr"})
        self.assertEqual(self.entries(self.mailbox("Work/a")), {BOB: "klr"})
        self.grant(BOB, "l")
        self.assertEqual(self.entries(self.mailbox("Work/a")), {BOB: "klr"})
        self.assertEqual(self.entries(self.mailbox("Workshop")), {})
        # A name that only holds children has none.
        self.wait(self.account.deleteMailbox("Work/a"))
        self.assertEqual(self.entries(self.mailbox("Work/a/c")), {BOB: "l"})
        self.assertSound()

    def test_deleted(self) -> None:
        """With a mailbox goes its list (RFC 4314 §4); one of the same name later has its own."""
        self.mailbox("Work/below")
        self.grant(BOB, "lr")
        self.wait(self.account.deleteMailbox("Work"))
        self.assertEqual(self.shared(BOB), {})
        self.wait(self.account.createMailbox("Work"))
        self.assertEqual(self.entries(self.mailbox("Work")), {})
        self.assertSound()

    def test_shared(self) -> None:
        """Where somebody is in a list is found, in all accounts, with what is said of him."""
        carol = self.addAccount("carol")
        self.grant(BOB, "lr")
        self.grant("-anyone", "w")
        self.grant("dan@example.test", "a")
        self.grant("anyone", "l", self.mailbox("INBOX", carol))
        self.assertEqual(
            self.shared(BOB, "anyone", "-anyone"),
            {
                "alice@example.test Work": {BOB: frozenset("lr"), "-anyone": frozenset("w")},
                "carol@example.test INBOX": {"anyone": frozenset("l")},
            },
        )
        self.assertEqual(self.shared("nobody@example.test"), {})
        (found,) = self.wait(self.sharing.shared((BOB,)))
        self.assertEqual(found.accountId, self.account.accountId)
        self.assertEqual(found.info.mailboxId, self.work.mailboxId)
        self.assertTrue(found.info.selectable)
        self.assertIsNone(found.publicName)

    def test_accountRemoved(self) -> None:
        """Of an account that is removed nothing is said any more: the next one is another."""
        self.addAccount("bob")
        self.addAccount("bobby")
        told: list[str] = []
        self.work.watch(lambda: told.append("changed"))
        for identifier in (BOB, f"-{BOB}", "bobby@example.test", "@example.test"):
            self.grant(identifier, "l")
        del told[:]
        self.wait(self.store.directory.removeAccount(self.address("BOB")))
        self.assertEqual(set(self.entries()), {"bobby@example.test", "@example.test"})
        self.assertTrue(told)
        self.wait(self.store.directory.removeAccount(self.address("alice")))
        self.assertEqual(self.shared("@example.test", "bobby@example.test"), {})
        self.assertSound()

    def test_publish(self) -> None:
        """An account can be public under a name that is its own."""
        carol = self.addAccount("carol")
        self.grant(BOB, "l")
        self.wait(self.sharing.publish(self.account.accountId, "office"))
        self.assertEqual(self.wait(self.sharing.published("office")), self.account.accountId)
        self.assertIsNone(self.wait(self.sharing.published("Office")))
        self.assertEqual(self.wait(self.sharing.shared((BOB,)))[0].publicName, "office")
        self.assertFails(self.sharing.publish(carol.accountId, "office"), AlreadyExists)
        # It is so still, and may be again.
        self.wait(self.sharing.publish(self.account.accountId, "office"))
        self.wait(self.sharing.publish(self.account.accountId, "sales"))
        self.assertIsNone(self.wait(self.sharing.published("office")))
        self.wait(self.sharing.publish(carol.accountId, "office"))
        self.wait(self.sharing.publish(self.account.accountId, None))
        self.assertIsNone(self.wait(self.sharing.published("sales")))
        self.assertIsNone(self.wait(self.sharing.shared((BOB,)))[0].publicName)
        self.assertFails(self.sharing.publish("A99", "x"), NoSuchAccount)
        self.wait(self.store.directory.removeAccount(self.address("carol")))
        self.assertIsNone(self.wait(self.sharing.published("office")))
        self.assertSound()

    # --- mailboxes that others use -------------------------------------------------------------

    def test_scope(self) -> None:
        r"""Flags outside a scope stay as they are, whatever is stored (RFC 4314 §4)."""
        first = self.append(self.work, flags=("\\Seen", "$a"))
        second = self.append(self.work, flags=("\\Deleted", "\\Answered"))
        before = self.wait(self.work.status()).highestModSeq
        result = self.wait(
            self.work.storeFlags(
                EVERYTHING,
                FlagOperation.REPLACE,
                frozenset(("\\Flagged",)),
                scope=FlagScope(seen=False, deleted=False, others=True),
            )
        )
        self.assertEqual(
            self.flags(self.work),
            {first: {"\\Seen", "\\Flagged"}, second: {"\\Deleted", "\\Flagged"}},
        )
        self.assertEqual([uid for uid, _, _ in result.changed], [first, second])
        self.assertGreater(self.wait(self.work.status()).highestModSeq, before)
        result = self.wait(
            self.work.storeFlags(
                self.numbers(first),
                FlagOperation.REPLACE,
                frozenset(),
                scope=FlagScope(seen=False, deleted=True, others=False),
            )
        )
        self.assertEqual([uid for uid, _, _ in result.unchanged], [first])
        self.assertSound()

    def test_copiedFlags(self) -> None:
        r"""Only flags in the scope go along with a copy; the original keeps its own (§4)."""
        self.append(self.work, flags=("\\Draft", "\\Deleted", "\\Seen", "$Forwarded"))
        other = self.mailbox("INBOX", self.addAccount("bob"))
        for scope, expected in (
            (FlagScope(True, False, True), {"\\Draft", "\\Seen", "$Forwarded"}),
            (FlagScope(False, True, False), {"\\Deleted"}),
            (FlagScope(False, False, False), set()),
        ):
            result = self.wait(self.work.copyMessages(EVERYTHING, other, scope))
            self.assertEqual(self.flags(other)[result.destinations[0]], expected)
        self.assertEqual(len(self.flags(self.work)[1]), 4)
        self.assertSound()

    def test_receiving(self) -> None:
        """A destination that stands for another is asked to do it."""
        asked: list[tuple[IMailbox, NumberSet, bool]] = []

        class Receiving:
            """Takes note."""

            async def receive(
                self, source: IMailbox, uids: NumberSet, move: bool, reader: str | None = None
            ) -> CopyResult:
                """See L{IReceivingMailbox}."""
                asked.append((source, uids, move))
                return CopyResult(7, [1], [2])

        receiving = makeReceiving(Receiving())
        uids = self.numbers(1)
        self.assertEqual(
            self.wait(self.work.copyMessages(uids, receiving)), CopyResult(7, [1], [2])
        )
        movable: Any = self.work
        self.assertEqual(self.wait(movable.moveMessages(uids, receiving)), CopyResult(7, [1], [2]))
        self.assertEqual(
            [(source.mailboxId, numbers, move) for source, numbers, move in asked],
            [(self.work.mailboxId, uids, False), (self.work.mailboxId, uids, True)],
        )

    # --- how many mailboxes --------------------------------------------------------------------

    def test_mailboxQuota(self) -> None:
        """An account knows how many mailboxes it has, and makes no more than it may."""
        account: Any = self.account
        self.assertProvides(ILimitedAccount, account)
        count, _ = self.wait(account.mailboxQuota())
        self.assertEqual(count, len(self.wait(account.listMailboxes())))
        admin = self.store.directory
        self.wait(admin.setQuota(self.address("alice"), None, None, count + 2))
        self.assertEqual(self.wait(account.mailboxQuota()), (count, count + 2))
        self.assertFails(account.createMailbox("a/b/c"), OverQuota)
        self.assertEqual(self.wait(account.mailboxQuota())[0], count)
        self.wait(account.createMailbox("a/b"))
        self.assertFails(account.createMailbox("c"), OverQuota)
        self.wait(account.deleteMailbox("a/b"))
        self.wait(account.createMailbox("c"))
        # Fewer than there are: they stay.
        self.wait(admin.setQuota(self.address("alice"), None, None, 1))
        self.assertEqual(self.wait(account.mailboxQuota()), (count + 2, 1))
        self.wait(admin.setQuota(self.address("alice"), None, None))
        self.wait(account.createMailbox("d"))
        self.wait(admin.removeAccount(self.address("alice")))
        self.assertFails(account.mailboxQuota(), NoSuchAccount)


def makeReceiving(value: Any) -> Any:
    """
    @return: the value, which provides L{IReceivingMailbox}.
    """
    alsoProvides(value, IReceivingMailbox)
    return value
