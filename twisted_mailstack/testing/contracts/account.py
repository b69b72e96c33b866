# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{IAccount} promises.
"""

from __future__ import annotations

from twisted_mailstack.errors import (
    AlreadyExists,
    CannotDoThat,
    HasChildren,
    InvalidMailboxName,
    MailboxNotSelectable,
    MaildropLocked,
    NoSuchAccount,
    NoSuchMailbox,
)
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.model.flags import SEEN
from twisted_mailstack.model.mailboxname import MAX_NAME
from twisted_mailstack.model.records import DEFAULT_MAILBOXES, Attribute, MailboxInfo, Quota
from twisted_mailstack.testing.contracts.base import StorageContract, start


class AccountContract(StorageContract):
    """
    What a person has: mailboxes.
    """

    def infos(self) -> dict[str, MailboxInfo]:
        """
        @return: the list of mailboxes, by name.
        """
        return {info.name: info for info in self.wait(self.account.listMailboxes())}

    def names(self) -> list[str]:
        """
        @return: the names beyond those that each account is made with, in the order of the list.
        """
        default = {"INBOX", *(name for name, _ in DEFAULT_MAILBOXES)}
        return [name for name in self.infos() if name not in default]

    def create(self, *names: str) -> None:
        """
        Make mailboxes.
        """
        for name in names:
            self.wait(self.account.createMailbox(name))

    def uidValidity(self, name: str) -> int:
        """
        @return: that of a mailbox.
        """
        return self.wait(self.mailbox(name).status()).uidValidity

    # --- the account itself --------------------------------------------------------------------

    def test_provides(self) -> None:
        """An account is what the interface says, and knows its id and its address."""
        self.assertProvides(IAccount, self.account)
        self.assertEqual(self.account.address, self.address("alice"))
        again = self.wait(self.store.openAccount(self.account.accountId))
        self.assertEqual(again.accountId, self.account.accountId)

    def test_newAccount(self) -> None:
        """A new account has INBOX and the mailboxes of special use (RFC 6154), subscribed."""
        infos = self.wait(self.account.listMailboxes())
        self.assertEqual(infos[0][::2], ("INBOX", True, None))
        self.assertEqual(
            {(info.name, info.specialUse) for info in infos[1:]}, set(DEFAULT_MAILBOXES)
        )
        for info in infos:
            self.assertTrue(info.selectable and info.subscribed)
        self.assertEqual(self.wait(self.account.quota())[::2], (0, 0))

    # --- the list ------------------------------------------------------------------------------

    def test_listOrder(self) -> None:
        """Ordered by name, INBOX first."""
        self.create("zebra", "AAA", "INBOX/below", "a/b", "\xe4hnlich", "Ab")
        names = [info.name for info in self.wait(self.account.listMailboxes())]
        self.assertEqual(names[0], "INBOX")
        self.assertEqual(names[1:], sorted(names[1:]))
        self.assertIn("INBOX/below", names)
        self.assertEqual(names.count("INBOX"), 1)

    def test_openMailbox(self) -> None:
        """There is nothing to open where there is no mailbox, or only a name above others."""
        self.assertFails(self.account.openMailbox("nothing"), NoSuchMailbox)
        self.create("a/b")
        self.wait(self.account.deleteMailbox("a"))
        self.assertFails(self.account.openMailbox("a"), MailboxNotSelectable)
        self.assertFails(self.account.openMailbox("a/b/c"), NoSuchMailbox)
        # Case matters, but for INBOX, which is normalised before it comes here.
        self.assertFails(self.account.openMailbox("A/b"), NoSuchMailbox)

    # --- CREATE --------------------------------------------------------------------------------

    def test_create(self) -> None:
        """A new mailbox is listed as it is told, empty and not subscribed."""
        info = self.wait(self.account.createMailbox("new"))
        self.assertEqual(info, self.infos()["new"])
        self.assertEqual(
            (info.name, info.selectable, info.subscribed, info.specialUse),
            ("new", True, False, None),
        )
        mailbox = self.wait(self.account.openMailbox("new"))
        self.assertEqual(mailbox.mailboxId, info.mailboxId)
        self.assertCounts(mailbox)

    def test_createSubscribed(self) -> None:
        """A name that was subscribed before there was a mailbox is subscribed when there is."""
        self.wait(self.account.setSubscribed("new", True))
        self.assertTrue(self.wait(self.account.createMailbox("new")) is not None)
        self.assertTrue(self.infos()["new"].subscribed)

    def test_createSuperiors(self) -> None:
        """Superiors that are missing are made, selectable (RFC 9051 §6.3.4)."""
        self.create("a/b/c")
        self.assertEqual(self.names(), ["a", "a/b", "a/b/c"])
        for name in self.names():
            self.assertTrue(self.infos()[name].selectable)
        self.create("a/x")
        self.assertEqual(self.names(), ["a", "a/b", "a/b/c", "a/x"])

    def test_createAgain(self) -> None:
        """A name that a mailbox has can't be made, INBOX included (RFC 9051 §6.3.4)."""
        self.create("a")
        before = self.infos()
        for name in ("a", "INBOX", "Trash"):
            error = self.assertFails(self.account.createMailbox(name), AlreadyExists)
            self.assertEqual(error.imapCode, "ALREADYEXISTS")
        self.assertEqual(self.infos(), before)

    def test_createSelectable(self) -> None:
        """A name that only held children becomes selectable, with a mailbox of its own."""
        self.create("a/b")
        old = self.infos()["a"].mailboxId
        self.wait(self.account.deleteMailbox("a"))
        info = self.wait(self.account.createMailbox("a"))
        self.assertTrue(info.selectable)
        self.assertNotEqual(info.mailboxId, old)
        self.assertEqual(self.names(), ["a", "a/b"])
        self.assertCounts(self.mailbox("a"))

    def test_createSpecialUse(self) -> None:
        """One mailbox can have a special use (RFC 6154 §3); a second one is refused."""
        info = self.wait(self.account.createMailbox("Everything", "\\All"))
        self.assertEqual(info.specialUse, "\\All")
        self.assertEqual(self.infos()["Everything"].specialUse, "\\All")
        before = self.infos()
        for name, use in (("again", "\\All"), ("a/b/c", "\\Trash")):
            error = self.assertFails(self.account.createMailbox(name, use), AlreadyExists)
            self.assertEqual(error.imapCode, "USEATTR")
        self.assertEqual(self.infos(), before, "no superior was made either")
        self.wait(self.account.deleteMailbox("Everything"))
        self.wait(self.account.createMailbox("again", "\\All"))

    def test_createInvalid(self) -> None:
        """What can't be a mailbox's name is refused."""
        before = self.infos()
        for name in ("", "/", "a//b", "/a", "a\0b", "x" * (MAX_NAME + 1), "a/" * 60 + "b"):
            self.assertFails(self.account.createMailbox(name), InvalidMailboxName)
        self.assertEqual(self.infos(), before)

    def test_awkwardNames(self) -> None:
        """Names are text of any kind: what a pattern or a query would take for its own, too."""
        names = [
            "%",
            "*",
            "_",
            "a%b",
            "'; --",
            "&",
            "\U0001f4e7",
            "\xe9",
            "x" * MAX_NAME,
        ]
        for name in names:
            self.create(name)
            self.append(self.mailbox(name), name.encode())
        self.assertEqual(set(self.names()), set(names))
        for name in names:
            self.assertEqual(self.message(self.mailbox(name), 1), name.encode())
        self.wait(self.account.deleteMailbox("%"))
        self.assertEqual(set(self.names()), set(names) - {"%"})

    def test_uidValidityGrows(self) -> None:
        """Each time a name is made anew its uidValidity is higher (RFC 9051 §2.3.1.1)."""
        last = 0
        for _ in range(3):
            self.create("a")
            found = self.uidValidity("a")
            self.assertTrue(found > last)
            last = found
            self.wait(self.account.deleteMailbox("a"))

    def test_uidValidityGrowsByRename(self) -> None:
        """
        A mailbox that takes the name of a younger one that is gone gets a higher uidValidity than
        that; one that takes a name nobody had keeps its own.
        """
        self.create("old", "old/below", "young", "young/below")
        mailbox = self.mailbox("old")
        uid = self.append(mailbox, b"x", (SEEN,))
        taken = {name: self.uidValidity(name) for name in ("young", "young/below")}
        self.wait(self.account.renameMailbox("young", "elsewhere"))
        self.assertEqual(self.uidValidity("elsewhere"), taken["young"])
        self.wait(self.account.renameMailbox("old", "young"))
        for name, before in taken.items():
            self.assertTrue(self.uidValidity(name) > before)
        self.assertEqual(self.flags(mailbox), {uid: frozenset({SEEN})})
        again = self.uidValidity("young")
        self.wait(self.account.renameMailbox("young", "third"))
        self.create("young")
        self.assertTrue(self.uidValidity("young") > again)
        self.assertSound()

    def test_uidValidityOfAnotherAccount(self) -> None:
        """An address that is removed and made again starts with higher uidValidities."""
        directory = self.store.directory
        before = 0
        for _ in range(3):
            account = self.addAccount("bob")
            for number in range(5):
                self.wait(account.createMailbox(f"{number}"))
            inbox = self.mailbox("INBOX", account)
            found = self.wait(inbox.status()).uidValidity
            self.assertTrue(found > before)
            before = self.wait(self.mailbox("4", account).status()).uidValidity
            self.wait(directory.removeAccount(self.address("bob")))

    # --- DELETE --------------------------------------------------------------------------------

    def test_delete(self) -> None:
        """A mailbox goes with its messages; its quota is given back (RFC 9051 §6.3.5)."""
        mailbox = self.mailbox("a")
        self.append(mailbox, b"x" * 100)
        self.append(mailbox, b"x" * 600_000)
        (kept,) = self.wait(
            mailbox.copyMessages(self.numbers(1), self.mailbox("INBOX"))
        ).destinations
        self.wait(self.account.deleteMailbox("a"))
        self.assertEqual(self.names(), [])
        self.assertFails(self.account.openMailbox("a"), NoSuchMailbox)
        self.assertEqual(self.wait(self.account.quota())[::2], (100, 1))
        self.assertEqual(self.message(self.mailbox("INBOX"), kept), b"x" * 100)
        self.assertSound()

    def test_deleteNobody(self) -> None:
        """There must be one."""
        for name in ("a", "a/b", "INBOX/a", "inbox"):
            self.assertFails(self.account.deleteMailbox(name), NoSuchMailbox)

    def test_deleteInbox(self) -> None:
        """INBOX stays (RFC 9051 §6.3.5)."""
        self.append(self.mailbox("INBOX"))
        self.assertFails(self.account.deleteMailbox("INBOX"), CannotDoThat)
        self.assertEqual(len(self.uids(self.mailbox("INBOX"))), 1)

    def test_deleteWithChildren(self) -> None:
        r"""One with children stays as a C{\Noselect} name, and that can't be deleted."""
        self.append(self.mailbox("a"))
        self.create("a/b", "a.c", "a0", "a-b/c")
        self.wait(self.account.deleteMailbox("a"))
        self.assertEqual(self.names(), ["a", "a-b", "a-b/c", "a.c", "a/b", "a0"])
        self.assertFalse(self.infos()["a"].selectable)
        self.assertIsNone(self.infos()["a"].specialUse)
        error = self.assertFails(self.account.deleteMailbox("a"), HasChildren)
        self.assertEqual(error.imapCode, "HASCHILDREN")
        self.wait(self.account.deleteMailbox("a/b"))
        # Only names that begin with a/ are its children.
        self.wait(self.account.deleteMailbox("a"))
        self.assertEqual(self.names(), ["a-b", "a-b/c", "a.c", "a0"])
        self.assertSound()

    def test_deleteKeepsSubscription(self) -> None:
        """The name stays subscribed (RFC 9051 §6.3.7), listed without a mailbox."""
        self.create("a")
        self.wait(self.account.setSubscribed("a", True))
        self.wait(self.account.deleteMailbox("a"))
        self.assertEqual(self.infos()["a"], MailboxInfo("a", "", False, True))

    def test_deleteSpecialUse(self) -> None:
        """A mailbox of special use can be deleted, and another gets that use."""
        self.wait(self.account.deleteMailbox("Trash"))
        info = self.wait(self.account.createMailbox("Bin", "\\Trash"))
        self.assertEqual(info.specialUse, "\\Trash")

    # --- RENAME --------------------------------------------------------------------------------

    def test_rename(self) -> None:
        """The mailbox and all below it have new names, and keep what they are."""
        for name in ("a", "a/b", "a/b/c", "ab", "a-b"):
            self.append(self.mailbox(name), name.encode())
        before = self.infos()
        self.wait(self.account.renameMailbox("a", "x/y"))
        self.assertEqual(self.names(), ["a-b", "ab", "x", "x/y", "x/y/b", "x/y/b/c"])
        after = self.infos()
        for old, new in (("a", "x/y"), ("a/b", "x/y/b"), ("a/b/c", "x/y/b/c")):
            self.assertEqual(after[new].mailboxId, before[old].mailboxId)
            self.assertEqual(self.message(self.mailbox(new), 1), old.encode())
        self.assertFails(self.account.openMailbox("a"), NoSuchMailbox)
        self.assertSound()

    def test_renameKeepsSubscriptions(self) -> None:
        """RENAME changes no subscription (RFC 9051 §6.3.6)."""
        self.create("a")
        self.wait(self.account.setSubscribed("a", True))
        self.wait(self.account.renameMailbox("a", "b"))
        self.assertEqual(self.infos()["a"], MailboxInfo("a", "", False, True))
        self.assertFalse(self.infos()["b"].subscribed)

    def test_renameKeepsSpecialUse(self) -> None:
        """The Trash is the Trash under any name."""
        self.wait(self.account.renameMailbox("Trash", "M\xfclleimer"))
        self.assertEqual(self.infos()["M\xfclleimer"].specialUse, "\\Trash")

    def test_renameNotSelectable(self) -> None:
        """A name that only holds children can be renamed with them."""
        self.create("a/b")
        self.wait(self.account.deleteMailbox("a"))
        self.wait(self.account.renameMailbox("a", "c"))
        self.assertEqual(self.names(), ["c", "c/b"])
        self.assertFalse(self.infos()["c"].selectable)

    def test_renameRefused(self) -> None:
        """It must be there, the new name free and valid, and not below the old one."""
        self.create("a/b", "c", "d/e")
        self.wait(self.account.deleteMailbox("d"))
        before = self.infos()
        for old, new, error in (
            ("nothing", "new/name", NoSuchMailbox),
            ("nothing", "c", NoSuchMailbox),
            ("a", "c", AlreadyExists),
            ("a", "d", AlreadyExists),
            ("a", "a", AlreadyExists),
            ("a", "a/b", AlreadyExists),
            ("a", "INBOX", AlreadyExists),
            ("INBOX", "c", AlreadyExists),
            ("INBOX", "INBOX", AlreadyExists),
            ("a", "a/c", CannotDoThat),
            ("a", "a/b/c/d", CannotDoThat),
            ("a", "", InvalidMailboxName),
            ("a", "x//y", InvalidMailboxName),
            ("INBOX", "x//y", InvalidMailboxName),
            # The name is valid, that of what is below it would be too long.
            ("a", "x" * (MAX_NAME - 1), InvalidMailboxName),
        ):
            self.assertFails(self.account.renameMailbox(old, new), error)
            self.assertEqual(self.infos(), before, (old, new))

    def test_renameBackAndForth(self) -> None:
        """A mailbox that comes back to its name has its messages, and all counts are right."""
        self.append(self.mailbox("a/b"), b"x")
        for _ in range(2):
            self.wait(self.account.renameMailbox("a", "c"))
            self.wait(self.account.renameMailbox("c", "a"))
        self.assertEqual(self.message(self.mailbox("a/b"), 1), b"x")
        self.assertSound()

    def test_renameInbox(self) -> None:
        """
        Renaming INBOX moves its messages to a new mailbox; INBOX stays, empty, and so does what is
        below it (RFC 9051 §6.3.6).
        """
        inbox = self.mailbox("INBOX")
        self.create("INBOX/below")
        for number in range(3):
            self.append(inbox, b"%d" % number, (SEEN, f"k{number}"), number, 60)
        self.wait(inbox.expunge(self.numbers(2), False))
        attributes = (
            *(Attribute.CONTENT, Attribute.FLAGS, Attribute.INTERNAL_DATE, Attribute.ZONE),
            Attribute.MESSAGE_ID,
        )
        rows = self.fetch(inbox, *attributes)
        before, infos = self.wait(inbox.status()), self.infos()
        self.wait(self.account.renameMailbox("INBOX", "old/mail"))
        self.assertEqual(self.names(), ["INBOX/below", "old", "old/mail"])
        self.assertEqual(self.infos()["INBOX"], infos["INBOX"])
        after = self.wait(inbox.status())
        self.assertEqual((after.messages, after.uidNext), (0, before.uidNext))
        self.assertEqual(after.uidValidity, before.uidValidity)
        self.assertTrue(after.highestModSeq > before.highestModSeq)
        moved = self.fetch(self.mailbox("old/mail"), *attributes)
        self.assertEqual([row[1:] for row in moved], [row[1:] for row in rows])
        self.assertTrue(self.append(inbox) >= before.uidNext)
        self.assertSound()
        # And again, to a name below itself.
        self.wait(self.account.renameMailbox("INBOX", "INBOX/more"))
        self.assertEqual(len(self.uids(self.mailbox("INBOX/more"))), 1)
        self.assertSound()

    def test_renameEmptyInbox(self) -> None:
        """With nothing in it, it makes an empty mailbox."""
        self.wait(self.account.renameMailbox("INBOX", "old"))
        self.assertEqual(self.uids(self.mailbox("old")), [])
        self.assertEqual(self.names(), ["old"])

    def test_renameInboxWhenFull(self) -> None:
        """It needs no room."""
        self.append(self.mailbox("INBOX"))
        self.wait(self.store.directory.setQuota(self.address("alice"), 1, 1))
        self.wait(self.account.renameMailbox("INBOX", "old"))
        self.assertEqual(len(self.uids(self.mailbox("old"))), 1)

    # --- subscriptions -------------------------------------------------------------------------

    def test_subscriptions(self) -> None:
        """Any name can be subscribed, whether a mailbox has it or not; twice is as good as once."""
        self.create("a")
        for _ in range(2):
            self.wait(self.account.setSubscribed("a", True))
            self.wait(self.account.setSubscribed("missing/name", True))
        self.assertTrue(self.infos()["a"].subscribed)
        self.assertEqual(self.infos()["missing/name"], MailboxInfo("missing/name", "", False, True))
        self.assertFails(self.account.openMailbox("missing/name"), NoSuchMailbox)
        for _ in range(2):
            self.wait(self.account.setSubscribed("a", False))
            self.wait(self.account.setSubscribed("missing/name", False))
            self.wait(self.account.setSubscribed("INBOX", False))
        self.assertFalse(self.infos()["a"].subscribed)
        self.assertFalse(self.infos()["INBOX"].subscribed)
        self.assertNotIn("missing/name", self.infos())

    # --- the quota -----------------------------------------------------------------------------

    def test_quota(self) -> None:
        """Use and limits of this instant, the size of each copy counted."""
        self.assertEqual(self.wait(self.account.quota()), Quota(0, None, 0, None))
        self.append(self.mailbox("INBOX"), b"x" * 70)
        self.append(self.mailbox("a"), b"x" * 30)
        self.wait(self.store.directory.setQuota(self.address("alice"), 50, 1000))
        self.assertEqual(self.wait(self.account.quota()), Quota(100, 50, 2, 1000))
        self.wait(self.mailbox("INBOX").expunge(None, False))
        self.wait(self.store.directory.setQuota(self.address("alice"), None, None))
        self.assertEqual(self.wait(self.account.quota()), Quota(30, None, 1, None))

    # --- the maildrop's lock -------------------------------------------------------------------

    def test_lockMaildrop(self) -> None:
        """One at a time has the maildrop (RFC 1939 §4); to release is idempotent."""
        release = self.wait(self.account.lockMaildrop())
        again = self.wait(self.store.openAccount(self.account.accountId))
        for account in (self.account, again):
            error = self.assertFails(account.lockMaildrop(), MaildropLocked)
            self.assertEqual(error.pop3Code, "IN-USE")
        release()
        second = self.wait(again.lockMaildrop())
        # The first one's lock is long gone: this is not the second one's release.
        release()
        self.assertFails(self.account.lockMaildrop(), MaildropLocked)
        second()
        self.wait(self.account.lockMaildrop())()

    def test_lockIsForMaildropsOnly(self) -> None:
        """The lock keeps nobody from delivering, changing and expunging; nor other accounts."""
        release = self.wait(self.account.lockMaildrop())
        inbox = self.mailbox("INBOX")
        self.append(inbox)
        self.deliver(b"x")
        self.wait(inbox.expunge(None, False))
        self.wait(self.addAccount("bob").lockMaildrop())()
        release()

    # --- watching ------------------------------------------------------------------------------

    def test_watch(self) -> None:
        """
        Called with the id of a mailbox that changed, with C{""} after a change of the list.
        """
        calls: list[str] = []
        stop = self.account.watch(calls.append)

        def told() -> set[str]:
            found = set(calls)
            calls.clear()
            return found

        inbox, other = self.mailbox("INBOX"), self.mailbox("other")
        self.assertIn("", told())
        self.append(inbox)
        self.assertEqual(told(), {inbox.mailboxId})
        self.wait(inbox.copyMessages(self.numbers(1), other))
        self.assertEqual(told(), {other.mailboxId})
        self.wait(self.account.renameMailbox("other", "else"))
        self.assertIn("", told())
        self.wait(self.account.setSubscribed("else", True))
        self.assertIn("", told())
        self.wait(self.account.deleteMailbox("else"))
        self.assertEqual(told(), {"", other.mailboxId})
        self.append(self.mailbox("INBOX", self.addAccount("bob")))
        self.assertEqual(told(), set(), "of another account nothing is told")
        stop()
        stop()
        self.append(inbox)
        self.assertEqual(told(), set())

    def test_watcherFails(self) -> None:
        """What a watcher raises is logged; the others are told."""

        def fail(mailboxId: str) -> None:
            raise ZeroDivisionError

        calls: list[str] = []
        self.addCleanup(self.account.watch(fail))
        self.addCleanup(self.account.watch(calls.append))
        inbox = self.mailbox("INBOX")
        self.append(inbox)
        self.assertEqual(calls, [inbox.mailboxId])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    # --- an account that is gone ---------------------------------------------------------------

    def test_removed(self) -> None:
        """After the account was removed while it was in use, every call says so."""
        bob = self.addAccount("bob")
        self.wait(bob.createMailbox("a/b"))
        self.append(self.mailbox("a", bob))
        calls: list[str] = []
        self.addCleanup(bob.watch(calls.append))
        self.wait(self.store.directory.removeAccount(self.address("bob")))
        self.assertIn("", calls)
        for call in (
            bob.listMailboxes,
            bob.quota,
            bob.lockMaildrop,
            lambda: bob.openMailbox("INBOX"),
            lambda: bob.createMailbox("new"),
            lambda: bob.deleteMailbox("a/b"),
            lambda: bob.renameMailbox("a", "b"),
            lambda: bob.renameMailbox("INBOX", "b"),
            lambda: bob.setSubscribed("a", True),
        ):
            self.assertFails(call(), NoSuchAccount)
        self.assertSound()
        # One that is made again has nothing of it.
        again = self.addAccount("bob")
        self.assertNotEqual(again.accountId, bob.accountId)
        self.assertEqual(len(self.wait(again.listMailboxes())), 1 + len(DEFAULT_MAILBOXES))
        self.assertFails(bob.listMailboxes(), NoSuchAccount)

    def test_atOnce(self) -> None:
        """Of several who make the same mailbox at once, one does."""
        calls = [start(self.account.createMailbox("new")) for _ in range(3)]
        made = 0
        for call in calls:
            try:
                self.wait(call)
            except AlreadyExists:
                continue
            made += 1
        self.assertEqual((made, self.names()), (1, ["new"]))
