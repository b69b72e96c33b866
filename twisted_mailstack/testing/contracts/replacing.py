# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{IReplacingMailbox} promises.
"""

from __future__ import annotations

from twisted_mailstack.errors import MessageExpunged, NoSuchMailbox, OverQuota
from twisted_mailstack.interfaces import IMailbox, IReplacingMailbox
from twisted_mailstack.model.flags import DRAFT, SEEN
from twisted_mailstack.model.records import AppendResult, Attribute
from twisted_mailstack.testing.contracts.base import StorageContract


class ReplacingMailboxContract(StorageContract):
    """
    REPLACE as one step (RFC 8508).
    """

    def setUp(self) -> None:
        """
        Two mailboxes, the first with three messages.
        """
        super().setUp()
        self.inbox = self.mailbox("INBOX")
        self.other = self.mailbox("other")
        self.found = [self.append(self.inbox, b"%d" % number, (SEEN,)) for number in range(3)]

    def replace(
        self, uid: int, destination: IMailbox, data: bytes = b"new", source: IMailbox | None = None
    ) -> AppendResult:
        """
        @return: the result of C{replaceMessage}.
        """
        staged = self.stage(data)
        try:
            message = staged, frozenset((DRAFT, "k")), 12345, 60
            mailbox = IReplacingMailbox(source or self.inbox)
            return self.wait(mailbox.replaceMessage(uid, destination, message))
        finally:
            staged.discard()

    def test_provides(self) -> None:
        """A mailbox that can replace says so."""
        self.assertProvides(IReplacingMailbox, self.inbox)

    def test_replace(self) -> None:
        """In the same mailbox: the new one with what it was given, and nothing of the old one."""
        old = self.fetch(self.inbox, Attribute.MESSAGE_ID)[1][1]
        at = self.wait(self.inbox.status()).highestModSeq
        self.seconds += 1000
        result = self.replace(self.found[1], self.inbox)
        self.assertEqual(result.uidValidity, self.wait(self.inbox.status()).uidValidity)
        self.assertEqual(list(result.uids), [self.found[2] + 1])
        self.assertEqual(self.uids(self.inbox), [self.found[0], self.found[2], *result.uids])
        columns = (
            *(Attribute.CONTENT, Attribute.FLAGS, Attribute.INTERNAL_DATE, Attribute.ZONE),
            *(Attribute.SAVE_DATE, Attribute.MESSAGE_ID, Attribute.OCTETS),
        )
        row = self.fetch(self.inbox, *columns)[-1]
        self.assertEqual(row[1:6], (b"new", {DRAFT, "k"}, 12345, 60, int(self.seconds)))
        self.assertEqual(row[7], 3)
        # RFC 8508 §4.6: "different EMAILIDs for both".
        self.assertNotEqual(row[6], old)
        changes = self.wait(self.inbox.changesSince(at))
        self.assertEqual(changes.vanished.select(self.found), [self.found[1]])
        self.assertEqual(list(changes.uids), list(result.uids))
        self.assertSound()

    def test_elsewhere(self) -> None:
        """Into another mailbox."""
        result = self.replace(self.found[0], self.other)
        self.assertEqual(list(result.uids), self.uids(self.other))
        self.assertEqual(self.uids(self.inbox), self.found[1:])
        self.assertSound()

    def test_gone(self) -> None:
        """What isn't there isn't replaced, and nothing is added."""
        for uid in (99, self.found[0]):
            if uid != 99:
                self.wait(self.inbox.expunge(self.numbers(uid), False))
            staged = self.stage(b"new")
            message = staged, frozenset((SEEN,)), 0, 0
            mailbox = IReplacingMailbox(self.inbox)
            self.assertFails(mailbox.replaceMessage(uid, self.inbox, message), MessageExpunged)
            staged.discard()
            self.assertEqual(self.uids(self.other), [])
        self.assertEqual(self.uids(self.inbox), self.found[1:])
        self.assertSound()

    def test_quota(self) -> None:
        """Only what is needed more counts; what doesn't fit removes nothing."""
        directory = self.store.directory
        self.wait(directory.setQuota(self.account.address, 3, 3))
        for destination in (self.inbox, self.other):
            staged = self.stage(b"22")
            message = staged, frozenset((SEEN,)), 0, 0
            mailbox = IReplacingMailbox(self.inbox)
            uid = self.uids(self.inbox)[0]
            before = self.uids(self.inbox)
            self.assertFails(mailbox.replaceMessage(uid, destination, message), OverQuota)
            staged.discard()
            self.assertEqual(self.uids(self.inbox), before)
            self.assertEqual(self.replace(uid, destination, b"2").uidValidity > 0, True)
            self.assertSound()

    def test_toAnotherAccount(self) -> None:
        """There it needs room of its own."""
        account = self.addAccount("bob")
        theirs = self.mailbox("INBOX", account)
        self.wait(self.store.directory.setQuota(account.address, 3, 1))
        self.replace(self.found[0], theirs)
        self.assertEqual(len(self.uids(theirs)), 1)
        staged = self.stage(b"")
        message = staged, frozenset((SEEN,)), 0, 0
        mailbox = IReplacingMailbox(self.inbox)
        self.assertFails(mailbox.replaceMessage(self.found[1], theirs, message), OverQuota)
        staged.discard()
        self.assertEqual(self.uids(self.inbox), self.found[1:])
        self.assertSound()

    def test_deleted(self) -> None:
        """Neither mailbox may be gone."""
        self.wait(self.account.deleteMailbox("other"))
        staged = self.stage(b"new")
        message = staged, frozenset((SEEN,)), 0, 0
        mailbox = IReplacingMailbox(self.inbox)
        self.assertFails(mailbox.replaceMessage(self.found[0], self.other, message), NoSuchMailbox)
        self.assertEqual(self.uids(self.inbox), self.found)
        gone = IReplacingMailbox(self.other)
        self.assertFails(gone.replaceMessage(1, self.inbox, message), NoSuchMailbox)
        staged.discard()
        self.assertEqual(self.uids(self.inbox), self.found)
        self.assertSound()
