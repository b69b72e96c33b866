# -*- test-case-name: tests.storage.test_annotations -*-
"""
What accounts promise that can do more than L{IAccount} with what is said of their mailboxes:
L{ISurveyableAccount}, L{ISpecialUseAccount}, L{IMetadataAccount}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted_mailstack.errors import (
    AlreadyExists,
    CannotDoThat,
    MailboxNotSelectable,
    NoSuchAccount,
    NoSuchMailbox,
)
from twisted_mailstack.interfaces import (
    IMetadataAccount,
    ISpecialUseAccount,
    ISurveyableAccount,
)
from twisted_mailstack.model.records import MetadataChange
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.contracts.base import StorageContract

#: Of entries, where a test isn't about it.
MANY = 1000


class SurveyableAccountContract(StorageContract):
    """
    The numbers of all mailboxes at once.
    """

    account: Any
    store: Any

    def test_provides(self) -> None:
        """The account is what the interface says."""
        self.assertProvides(ISurveyableAccount, self.account)

    def test_statuses(self) -> None:
        """It is what each mailbox says itself; names that only hold children aren't there."""
        for name in ("a", "b/c"):
            self.wait(self.account.createMailbox(name))
        self.wait(self.account.deleteMailbox("b"))
        self.append(self.wait(self.account.openMailbox("a")), b"one")
        self.append(self.wait(self.account.openMailbox("a")), b"three", ["\\Seen", "$Key"])
        infos = [info for info in self.wait(self.account.listMailboxes()) if info.selectable]
        self.assertEqual(
            dict(self.wait(self.account.statuses())),
            {
                info.mailboxId: self.wait(self.wait(self.account.openMailbox(info.name)).status())
                for info in infos
            },
        )

    def test_accountRemoved(self) -> None:
        """When the account is gone there is nothing to ask."""
        self.wait(self.store.directory.removeAccount(self.account.address))
        self.assertFails(self.account.statuses(), NoSuchAccount)


class SpecialUseAccountContract(StorageContract):
    """
    Special uses that are given and taken.
    """

    account: Any
    store: Any

    def test_provides(self) -> None:
        """The account is what the interface says."""
        self.assertProvides(ISpecialUseAccount, self.account)

    def uses(self) -> dict[str, str]:
        """
        @return: the special uses there are, by the mailbox's name.
        """
        infos = self.wait(self.account.listMailboxes())
        return {info.name: info.specialUse for info in infos if info.specialUse}

    def test_severalUses(self) -> None:
        """A mailbox can be made for several special uses; none may be another's already."""
        self.wait(self.account.deleteMailbox("Sent"))
        self.wait(self.account.deleteMailbox("Drafts"))
        self.wait(self.account.createMailbox("Both", "\\Drafts \\Sent"))
        self.assertEqual(self.uses()["Both"], "\\Drafts \\Sent")
        for use in ("\\Sent", "\\Important \\Drafts"):
            error = self.assertFails(self.account.createMailbox("More", use), AlreadyExists)
            self.assertEqual(error.imapCode, "USEATTR")
        self.wait(self.account.createMailbox("More", "\\Important"))

    def test_setSpecialUse(self) -> None:
        """Who had the use has it no more; others keep theirs."""
        self.wait(self.account.createMailbox("a"))
        before = self.uses()
        others = self.wait(self.account.setSpecialUse("a", "\\Junk \\Sent"))
        self.assertEqual(list(others), ["Junk", "Sent"])
        del before["Junk"], before["Sent"]
        self.assertEqual(self.uses(), {**before, "a": "\\Junk \\Sent"})
        self.assertEqual(list(self.wait(self.account.setSpecialUse("Junk", "\\Junk"))), ["a"])
        self.assertEqual(self.uses(), {**before, "a": "\\Sent", "Junk": "\\Junk"})
        self.assertEqual(list(self.wait(self.account.setSpecialUse("a", "\\Sent"))), [])
        self.assertEqual(list(self.wait(self.account.setSpecialUse("a", None))), [])
        self.assertEqual(self.uses(), {**before, "Junk": "\\Junk"})

    def test_setSpecialUseNowhere(self) -> None:
        """A mailbox is needed; when there is none nobody loses anything."""
        self.wait(self.account.createMailbox("b/c"))
        self.wait(self.account.deleteMailbox("b"))
        before = self.uses()
        self.assertFails(self.account.setSpecialUse("a", "\\Junk"), NoSuchMailbox)
        self.assertFails(self.account.setSpecialUse("b", "\\Junk"), MailboxNotSelectable)
        self.assertEqual(self.uses(), before)

    def test_accountRemoved(self) -> None:
        """When the account is gone there is nothing to ask."""
        self.wait(self.store.directory.removeAccount(self.account.address))
        self.assertFails(self.account.setSpecialUse("INBOX", None), NoSuchAccount)


class MetadataAccountContract(StorageContract):
    """
    Metadata entries.
    """

    account: Any
    store: Any

    def make(self, *names: str) -> None:
        """
        Make mailboxes.
        """
        for name in names:
            self.wait(self.account.createMailbox(name))

    def entries(self, mailboxName: str = "", reader: str | None = None) -> Mapping[str, bytes]:
        """
        @return: all entries with their values.
        """
        sizes = dict(self.wait(self.account.metadataSizes(mailboxName, reader)))
        values = dict(self.wait(self.account.getMetadata(mailboxName, set(sizes), reader)))
        self.assertEqual(sizes, {name: len(value) for name, value in values.items()})
        return values

    def put(
        self,
        values: Mapping[str, bytes | None],
        mailboxName: str = "",
        limit: int = MANY,
        reader: str | None = None,
    ) -> int:
        """
        @return: the modSeq of the change.
        """
        modSeq: int = self.wait(self.account.setMetadata(mailboxName, values, limit, reader))
        return modSeq

    def test_highestModSeq(self) -> None:
        """
        A change is one of the mailbox, with its modSeq, of no message in it (RFC 7162 §3.2).
        """
        self.make("a", "b")
        mailbox, other = (self.wait(self.account.openMailbox(name)) for name in ("a", "b"))
        self.append(mailbox, b"one")
        before = self.wait(mailbox.status())
        untouched = self.wait(other.status())
        calls: list[None] = []
        stop = mailbox.watch(lambda: calls.append(None))
        for values in ({"/shared/comment": b"x"}, {"/private/comment": b"y"}):
            modSeq = self.put(values, "a")
            self.assertEqual(self.wait(mailbox.status()).highestModSeq, modSeq)
        stop()
        self.assertTrue(calls)
        changes = self.wait(mailbox.changesSince(before.highestModSeq))
        self.assertEqual((list(changes.uids), changes.highestModSeq), ([], modSeq))
        self.assertEqual(changes.vanished, NumberSet())
        self.assertEqual(self.wait(other.status()), untouched)
        self.put({"/shared/comment": b"x"})
        self.assertEqual(self.wait(mailbox.status()), before._replace(highestModSeq=modSeq))

    def changes(self, modSeq: int, reader: str | None = None) -> list[tuple[str, str]]:
        """
        @return: what was changed after that, without its modSeq.
        """
        found = self.wait(self.account.metadataChangesSince(modSeq, reader))
        return [change[1:] for change in found[1]]

    def modSeq(self) -> int:
        """
        @return: where to go on.
        """
        modSeq: int = self.wait(self.account.metadataChangesSince(0))[0]
        return modSeq

    def test_provides(self) -> None:
        """The account is what the interface says."""
        self.assertProvides(IMetadataAccount, self.account)

    def test_metadata(self) -> None:
        """Entries are set, replaced and removed; a value is any octets, or none."""
        self.make("a")
        for name in ("", "a", "INBOX"):
            self.assertEqual(self.entries(name), {})
            values = {"/private/comment": bytes(range(256)), "/shared/comment": b""}
            self.put(values, name)
            self.assertEqual(self.entries(name), values)
            self.put({"/shared/comment": b"x" * 100_000, "/private/x/y": b"new"}, name)
            self.put({"/private/comment": None, "/private/never": None}, name)
            self.assertEqual(
                self.entries(name), {"/shared/comment": b"x" * 100_000, "/private/x/y": b"new"}
            )
            asked = ["/private/x/y", "/private/x", "/shared/none"]
            found = self.wait(self.account.getMetadata(name, asked))
            self.assertEqual(dict(found), {"/private/x/y": b"new"})

    def test_readers(self) -> None:
        """Private entries are each reader's own, shared ones everybody's."""
        other = self.wait(self.store.openAccount(self.addAccount("other").accountId)).accountId
        self.make("a")
        self.put({"/private/comment": b"mine", "/shared/comment": b"first"}, "a")
        self.put({"/private/comment": b"yours", "/shared/comment": b"ours"}, "a", reader=other)
        mine, yours = self.entries("a"), self.entries("a", other)
        self.assertEqual(mine, {"/private/comment": b"mine", "/shared/comment": b"ours"})
        self.assertEqual(yours, {"/private/comment": b"yours", "/shared/comment": b"ours"})
        self.assertEqual(self.entries("a", self.account.accountId), mine)
        at = self.modSeq()
        self.put({"/private/comment": None}, "a", reader=other)
        self.assertEqual(self.entries("a"), mine)
        self.assertEqual(self.changes(at), [])
        self.assertEqual(self.changes(at, other), [("a", "/private/comment")])

    def test_limit(self) -> None:
        """More entries than allowed aren't added, and nothing else is changed then."""
        self.make("a")
        other = self.wait(self.store.openAccount(self.addAccount("other").accountId)).accountId
        self.put({"/private/a": b"1", "/shared/b": b"2"}, "a", 2)
        for values in ({"/private/c": b"3"}, {"/private/a": b"9", "/private/c": b"3"}):
            error = self.assertFails(self.account.setMetadata("a", values, 2), CannotDoThat)
            self.assertEqual(error.imapCode, "METADATA TOOMANY")
        self.assertEqual(self.entries("a"), {"/private/a": b"1", "/shared/b": b"2"})
        # What is there may be changed and removed all the same, and replaced by another.
        self.put({"/private/a": b"7"}, "a", 1)
        self.put({"/private/a": None, "/private/c": b"3"}, "a", 2)
        self.put({"/private/c": None}, "a", 0)
        self.assertEqual(self.entries("a"), {"/shared/b": b"2"})
        self.put({"/private/a": b"theirs"}, "a", 2, reader=other)
        self.put({"/private/a": b"mine"}, "a", 2)

    def test_follow(self) -> None:
        """Entries follow the mailbox, and go with it."""
        self.make("a/b")
        for name in ("a", "a/b"):
            self.put({"/private/comment": name.encode()}, name)
        self.wait(self.account.renameMailbox("a", "x"))
        self.assertEqual(self.entries("x/b"), {"/private/comment": b"a/b"})
        self.assertEqual(self.entries("x"), {"/private/comment": b"a"})
        self.wait(self.account.deleteMailbox("x/b"))
        self.make("x/b")
        self.assertEqual(self.entries("x/b"), {})
        for name in ("a", "a/b"):
            self.assertFails(self.account.metadataSizes(name), NoSuchMailbox)
            self.assertFails(self.account.getMetadata(name, ["/private/c"]), NoSuchMailbox)
            self.assertFails(self.account.setMetadata(name, {}, 1), NoSuchMailbox)

    def test_renameInbox(self) -> None:
        """RFC 5464 §4.1: INBOX keeps them, and the new mailbox has them too."""
        self.put({"/private/comment": b"in", "/shared/gone": b"x"}, "INBOX")
        self.put({"/shared/gone": None}, "INBOX")
        self.wait(self.account.renameMailbox("INBOX", "old"))
        for name in ("INBOX", "old"):
            self.assertEqual(self.entries(name), {"/private/comment": b"in"})

    def test_notSelectable(self) -> None:
        """RFC 5464 §4.1: names that only hold children can have entries, of their own."""
        self.make("a/b")
        self.put({"/private/comment": b"old"}, "a")
        self.wait(self.account.deleteMailbox("a"))
        self.assertEqual(self.entries("a"), {})
        self.put({"/private/comment": b"name"}, "a")
        self.assertEqual(self.entries("a"), {"/private/comment": b"name"})
        self.make("a")
        self.assertEqual(self.entries("a"), {})
        self.assertSound()

    def test_changes(self) -> None:
        """Each change is told after it, with what was removed, under the mailbox's present name."""
        self.make("a")
        first = self.modSeq()
        self.assertEqual(self.changes(first), [])
        second = self.put({"/private/comment": b"1", "/shared/x": b"2"}, "a")
        self.assertGreater(second, first)
        self.put({"/private/filters/values/f": b"ALL"})
        self.wait(self.account.renameMailbox("a", "b"))
        self.put({"/shared/x": None}, "b")
        self.put({"/shared/never": None}, "b")
        server = ("", "/private/filters/values/f")
        self.assertEqual(
            self.changes(first), [("b", "/private/comment"), server, ("b", "/shared/x")]
        )
        self.assertEqual(self.changes(second), [server, ("b", "/shared/x")])
        at, found = self.wait(self.account.metadataChangesSince(second))
        self.assertEqual(self.changes(at), [])
        self.assertTrue(all(isinstance(each, MetadataChange) for each in found))
        self.assertTrue(all(second < each.modSeq <= at for each in found))
        self.wait(self.account.deleteMailbox("b"))
        self.assertEqual(self.changes(first), [server])

    def test_removedAreBounded(self) -> None:
        """Entries that come and go don't fill the store; the latest ones removed are told."""
        at = self.modSeq()
        for number in range(20):
            names = [f"/private/{number}/{n}" for n in range(20)]
            self.put(dict.fromkeys(names, b"x"))
            self.put(dict.fromkeys(names, None))
        self.assertEqual(self.entries(), {})
        told = self.changes(at)
        self.assertIn(("", "/private/19/19"), told)

    def test_metadataIsTold(self) -> None:
        """Who watches the account hears of it."""
        told: list[str] = []
        self.account.watch(told.append)
        self.put({"/private/comment": b"x"}, "INBOX")
        self.waitUntil(lambda: "" in told)

    def test_accountRemoved(self) -> None:
        """Nothing is left when the account is gone."""
        self.put({"/private/comment": b"x"}, "INBOX")
        self.wait(self.store.directory.removeAccount(self.account.address))
        for call in (
            self.account.metadataSizes("INBOX"),
            self.account.getMetadata("", ["/private/comment"]),
            self.account.setMetadata("INBOX", {"/private/comment": b"y"}, MANY),
            self.account.metadataChangesSince(0),
        ):
            self.assertFails(call, NoSuchAccount)
