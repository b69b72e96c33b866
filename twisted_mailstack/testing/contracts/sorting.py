# -*- test-case-name: tests.storage.test_sqlsorting -*-
"""
Sorting and threading by a storage.
"""

from __future__ import annotations

from twisted_mailstack.errors import NoSuchMailbox
from twisted_mailstack.interfaces import IMailbox, ISortingMailbox
from twisted_mailstack.model.header import Header
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.model.sorting import (
    SortCriterion,
    SortKey,
    SortValues,
    ThreadRow,
    sortValues,
)
from twisted_mailstack.testing.contracts.base import EVERYTHING, StorageContract

#: What a message is sorted by, and what these have of it: two of them are equal.
_FIELDS = (
    (SortKey.SUBJECT, "Subject: {}"),
    (SortKey.FROM, "From: <{}@x.example>"),
    (SortKey.TO, "To: <{}@x.example>"),
    (SortKey.CC, "Cc: <{}@x.example>"),
    (SortKey.DISPLAYFROM, 'From: "{}" <y@x.example>'),
    (SortKey.DISPLAYTO, 'To: "{}" <y@x.example>'),
)


class SortingMailboxContract(StorageContract):
    """
    What L{ISortingMailbox} promises.
    """

    def setUp(self) -> None:
        """
        An empty mailbox.
        """
        super().setUp()
        self.inbox = self.mailbox("INBOX")

    def sorting(self, mailbox: IMailbox | None = None) -> ISortingMailbox:
        """
        @return: INBOX, or that mailbox.
        """
        return ISortingMailbox(mailbox or self.inbox)

    def sorted(self, *criteria: SortCriterion, uids: NumberSet = EVERYTHING) -> list[int]:
        """
        @return: the UIDs in their order.
        """
        return list(self.wait(self.sorting().sortMessages(uids, criteria)))

    def test_provides(self) -> None:
        """A mailbox that can sort says so."""
        self.assertProvides(ISortingMailbox, self.inbox)

    def test_fields(self) -> None:
        """Each text is compared by its key; equal ones stay ascending, also if reversed."""
        values = ("beta", "Alpha", "BETA", "\u00e4ther", "_")
        for key, field in _FIELDS:
            mailbox = self.inbox = self.mailbox(key.value)
            for value in values:
                self.append(mailbox, f"{field.format(value)}\r\n\r\n".encode())
            self.append(mailbox, b"X-Nothing: x\r\n\r\n")
            self.assertEqual(self.sorted(SortCriterion(key)), [6, 2, 4, 1, 3, 5], key)
            self.assertEqual(self.sorted(SortCriterion(key, True)), [5, 1, 3, 4, 2, 6], key)

    def test_numbers(self) -> None:
        """Octets and both dates; without a Date field INTERNALDATE counts."""
        for date, arrival, body in (
            ("Date: Thu, 01 Jan 1970 00:00:30 +0000", 5, "xxx"),
            ("Date: Thu, 01 Jan 1970 01:00:10 +0100", 20, "x"),
            ("X-Date:                               -", 20, "xx"),
        ):
            self.append(self.inbox, f"{date}\r\n\r\n{body}".encode(), date=arrival)
        self.assertEqual(self.sorted(SortCriterion(SortKey.DATE)), [2, 3, 1])
        self.assertEqual(self.sorted(SortCriterion(SortKey.ARRIVAL)), [1, 2, 3])
        self.assertEqual(self.sorted(SortCriterion(SortKey.ARRIVAL, True)), [2, 3, 1])
        sizes = {uid: len(self.message(self.inbox, uid)) for uid in self.uids(self.inbox)}
        self.assertEqual(
            self.sorted(SortCriterion(SortKey.SIZE)), sorted(sizes, key=lambda uid: sizes[uid])
        )

    def test_several(self) -> None:
        """The first criterion counts, then the second."""
        for number, subject in enumerate("babab"):
            self.append(self.inbox, f"Subject: {subject}\r\n\r\n".encode(), date=number)
        self.assertEqual(
            self.sorted(SortCriterion(SortKey.SUBJECT), SortCriterion(SortKey.ARRIVAL, True)),
            [4, 2, 5, 3, 1],
        )
        self.assertEqual(self.sorted(), [1, 2, 3, 4, 5])

    def test_some(self) -> None:
        """Only those that were asked for, and are there."""
        for subject in "dcba":
            self.append(self.inbox, f"Subject: {subject}\r\n\r\n".encode())
        self.wait(self.inbox.expunge(NumberSet.of([2]), False))
        by = SortCriterion(SortKey.SUBJECT)
        self.assertEqual(self.sorted(by), [4, 3, 1])
        self.assertEqual(self.sorted(by, uids=NumberSet.of([1, 2, 4, 99])), [4, 1])
        self.assertEqual(self.sorted(by, uids=NumberSet.of([2])), [])
        self.assertEqual(self.sorted(by, uids=NumberSet()), [])

    def test_prefix(self) -> None:
        """Lines in front of a message that a delivery put there count for its size alone."""
        self.deliver(b"Subject: a\r\n\r\nbody\r\n")
        ((uid, size),) = [
            (uid, len(self.message(self.inbox, uid))) for uid in self.uids(self.inbox)
        ]
        self.append(self.inbox, b"Subject: b\r\n\r\n" + b"x" * size)
        self.assertEqual(self.sorted(SortCriterion(SortKey.SIZE)), [uid, uid + 1])
        self.assertEqual(self.sorted(SortCriterion(SortKey.SUBJECT)), [uid, uid + 1])

    def test_threadRows(self) -> None:
        """What threads each message, as it is found in its header."""
        headers = (
            "Message-ID: <a@x>\r\nSubject: Re: Hello\r\nDate: Thu, 01 Jan 1970 00:00:30 +0000",
            "Message-ID: <b@x>\r\nReferences: <c@x> <a@x>\r\nSubject: x",
            "In-Reply-To: <a@x>",
        )
        expected = []
        for number, header in enumerate(headers, 1):
            data = f"{header}\r\n\r\n".encode()
            uid = self.append(self.inbox, data, date=number)
            values: SortValues = sortValues(Header(data))
            sent = number if values.sentDate is None else values.sentDate
            expected.append(
                ThreadRow(
                    *(uid, sent, number, values.subject, values.isReply),
                    *(values.identity, values.references),
                )
            )
        for uids, wanted in (
            (EVERYTHING, expected),
            (NumberSet.of([1, 3, 99]), [expected[0], expected[2]]),
            (NumberSet(), []),
        ):
            found = self.wait(self.sorting().threadRows(uids))
            self.assertEqual(
                [row._replace(references=tuple(row.references)) for row in found], wanted
            )

    def test_copied(self) -> None:
        """A copy is sorted like its original, in another account too."""
        for subject in "cab":
            self.append(self.inbox, f"Subject: {subject}\r\n\r\n".encode())
        for account in (None, self.addAccount("bob")):
            other = self.mailbox("other", account)
            self.wait(self.inbox.copyMessages(EVERYTHING, other))
            found = self.wait(
                self.sorting(other).sortMessages(EVERYTHING, [SortCriterion(SortKey.SUBJECT)])
            )
            self.assertEqual(list(found), [2, 3, 1])
        self.assertSound()

    def test_deleted(self) -> None:
        """A mailbox that was deleted can't be sorted."""
        other = self.mailbox("other")
        self.wait(self.account.deleteMailbox("other"))
        for uids in (EVERYTHING, NumberSet(), NumberSet.of([1])):
            self.assertFails(self.sorting(other).sortMessages(uids, []), NoSuchMailbox)
            self.assertFails(self.sorting(other).threadRows(uids), NoSuchMailbox)
