# -*- test-case-name: tests.storage.test_maildrop -*-
"""
What L{IMaildropAccount} promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from twisted_mailstack.errors import NoSuchAccount, NoSuchMailbox
from twisted_mailstack.interfaces import (
    IMailbox,
    IMaildropAccount,
    IMaildropSurvey,
    IMovableMailbox,
)
from twisted_mailstack.model.records import NEVER, Attribute, MaildropSettings, MaildropSurvey
from twisted_mailstack.testing.contracts.base import EVERYTHING, StorageContract


class MaildropAccountContract(StorageContract):
    """
    What POP3 wants to know of an account.
    """

    def setUp(self) -> None:
        """
        Two messages in INBOX, one in another mailbox.
        """
        super().setUp()
        self.assertProvides(IMaildropAccount, self.account)
        self.maildrop: IMaildropAccount = IMaildropAccount(self.account)
        self.inbox = self.mailbox("INBOX")
        self.other = self.mailbox("other")
        self.first, self.second = self.append(self.inbox), self.append(self.inbox)
        self.third = self.append(self.other)

    def messageIds(self, mailbox: IMailbox) -> list[str]:
        """
        @return: of what is there.
        """
        return [row[1] for row in self.fetch(mailbox, Attribute.MESSAGE_ID)]

    def uniqueIds(self, mailbox: IMailbox) -> list[str]:
        """
        @return: of what is there.
        """
        messageIds = self.messageIds(mailbox)
        found = self.wait(self.maildrop.uniqueIds(messageIds))
        return [found[each] for each in messageIds]

    def assign(self, values: Mapping[str, str]) -> list[str]:
        """
        @return: the MESSAGE_IDs that have them.
        """
        return sorted(self.wait(self.maildrop.assignUniqueIds(values)))

    # --- settings ------------------------------------------------------------------------------

    def test_settings(self) -> None:
        """The defaults at first, then what was set; each account has its own."""
        self.assertEqual(self.wait(self.maildrop.maildropSettings()), MaildropSettings())
        wanted = MaildropSettings(True, ("other", 'gr\u00fc\u00dfe/"x"'), True)
        self.wait(self.maildrop.setMaildropSettings(wanted))
        self.assertEqual(self.wait(self.maildrop.maildropSettings()), wanted)
        bob = IMaildropAccount(self.addAccount("bob"))
        self.assertEqual(self.wait(bob.maildropSettings()), MaildropSettings())
        self.wait(self.maildrop.setMaildropSettings(MaildropSettings()))
        self.assertEqual(self.wait(self.maildrop.maildropSettings()), MaildropSettings())
        self.assertSound()

    def test_ownPolicy(self) -> None:
        """A delay between logins, and for how long mail is kept: 0 is something else than none."""
        for delay, days in ((0, 0), (3600, NEVER), (None, 30), (900, None)):
            wanted = MaildropSettings(loginDelay=delay, expireDays=days)
            self.wait(self.maildrop.setMaildropSettings(wanted))
            self.assertEqual(self.wait(self.maildrop.maildropSettings()), wanted)

    def test_survey(self) -> None:
        """The directory knows the extremes of what accounts have of their own, at once."""
        directory = IMaildropSurvey(self.store.directory)

        def found() -> MaildropSurvey:
            return self.wait(directory.surveyMaildrops())

        self.assertEqual(found(), MaildropSurvey())
        self.wait(self.maildrop.setMaildropSettings(MaildropSettings(loginDelay=60)))
        self.assertEqual(found(), MaildropSurvey((60, 60), None))
        bob = self.addAccount("bob")
        self.wait(IMaildropAccount(bob).setMaildropSettings(MaildropSettings(True)))
        self.assertEqual(found(), MaildropSurvey((60, 60), None))
        self.wait(
            IMaildropAccount(bob).setMaildropSettings(
                MaildropSettings(loginDelay=0, expireDays=NEVER)
            )
        )
        self.wait(self.maildrop.setMaildropSettings(MaildropSettings(loginDelay=60, expireDays=0)))
        self.assertEqual(found(), MaildropSurvey((0, 60), (0, NEVER)))
        self.wait(self.store.directory.removeAccount(bob.address))
        self.assertEqual(found(), MaildropSurvey((60, 60), (0, 0)))
        self.wait(self.maildrop.setMaildropSettings(MaildropSettings()))
        self.assertEqual(found(), MaildropSurvey())

    # --- what was retrieved --------------------------------------------------------------------

    def retrieved(self, at: int) -> set[str]:
        """
        @return: the MESSAGE_IDs of what was retrieved until then.
        """
        return set(self.wait(self.maildrop.retrievedUntil(at)))

    def test_retrieved(self) -> None:
        """Remembered since the first time, wherever the message goes, until it is gone."""
        first, second = self.messageIds(self.inbox)
        (third,) = self.messageIds(self.other)
        self.assertEqual(self.retrieved(2**40), set())
        self.wait(self.maildrop.noteRetrieved([first, third], 100))
        self.wait(self.maildrop.noteRetrieved([first, second], 200))
        self.wait(self.maildrop.noteRetrieved([], 1))
        for at, expected in (
            (99, set()),
            (100, {first, third}),
            (199, {first, third}),
            (200, {first, second, third}),
        ):
            self.assertEqual(self.retrieved(at), expected)
        self.wait(self.inbox.copyMessages(self.numbers(self.first), self.other))
        self.wait(self.inbox.expunge(None, onlyDeleted=False))
        self.assertEqual(self.retrieved(200), {first, third})
        self.wait(self.other.expunge(None, onlyDeleted=False))
        self.assertEqual(self.retrieved(200), set())
        self.wait(self.maildrop.noteRetrieved([first, "nonsense", "E99999-1", ""], 1))
        self.append(self.inbox)
        self.assertEqual(self.retrieved(200), set())
        self.assertSound()

    def test_retrievedByOthers(self) -> None:
        """Each account's own, of one message that two accounts got, too."""
        bob = self.addAccount("bob")
        self.append(self.mailbox("INBOX", bob))
        self.wait(self.maildrop.noteRetrieved(self.messageIds(self.inbox), 1))
        his = IMaildropAccount(bob)
        self.wait(his.noteRetrieved(self.messageIds(self.inbox), 1))
        self.assertEqual(list(self.wait(his.retrievedUntil(1))), [])

    # --- unique-ids ----------------------------------------------------------------------------

    def test_uniqueIds(self) -> None:
        """RFC 1939 \u00a77: 1 to 70 characters of 0x21 to 0x7E, another for each message."""
        found = self.uniqueIds(self.inbox) + self.uniqueIds(self.other)
        self.assertEqual(len(set(found)), 3)
        for each in found:
            self.assertRegex(each, r"\A[!-~]{1,70}\Z")
        self.assertEqual(self.uniqueIds(self.inbox), found[:2])
        self.assertEqual(self.wait(self.maildrop.uniqueIds([])), {})

    def test_everyMessage(self) -> None:
        """Of many messages too, the given ones among them."""
        for _ in range(300):
            self.append(self.inbox, b"x: y\r\n\r\n")
        messageIds = self.messageIds(self.inbox)
        self.assign({messageIds[150]: "here"})
        found = self.uniqueIds(self.inbox)
        self.assertEqual(len(set(found)), 302)
        self.assertEqual(found[150], "here")
        self.assertEqual(found[0], self.uniqueIds(self.inbox)[0])
        many = [f"x{number}" for number in range(300)]
        self.assertEqual(set(self.wait(self.maildrop.knownUniqueIds([*many, "here"]))), {"here"})

    def test_movedBack(self) -> None:
        """A message that goes to another mailbox and comes back has the same; so has a copy."""
        first, second = self.uniqueIds(self.inbox)
        IMovableMailbox(self.inbox)
        inbox, other = cast(Any, self.inbox), cast(Any, self.other)
        self.wait(inbox.moveMessages(self.numbers(self.first), self.other))
        self.assertEqual(self.uniqueIds(self.other)[1], first)
        (_, uid) = self.uids(self.other)
        self.wait(other.moveMessages(self.numbers(uid), self.inbox))
        self.assertEqual(self.uniqueIds(self.inbox), [second, first])
        self.wait(self.inbox.copyMessages(self.numbers(self.second), self.other))
        self.assertEqual(self.uniqueIds(self.other)[1], second)

    def test_neverAgain(self) -> None:
        """What is removed leaves its unique-id to nobody."""
        before = set(self.uniqueIds(self.inbox))
        self.wait(self.inbox.expunge(None, onlyDeleted=False))
        for _ in range(3):
            self.append(self.inbox)
        self.assertEqual(before & set(self.uniqueIds(self.inbox)), set())

    def test_assign(self) -> None:
        """Given ones are what is shown from then on, wherever the message goes."""
        messageId, other = self.messageIds(self.inbox)
        before = self.uniqueIds(self.inbox)[1]
        value = "!" + 68 * "x" + "~"
        self.assertEqual(self.assign({messageId: value}), [messageId])
        self.assertEqual(self.uniqueIds(self.inbox), [value, before])
        self.assertEqual(self.assign({messageId: value}), [messageId])
        self.assertEqual(
            set(self.wait(self.maildrop.knownUniqueIds([value, "y", before]))), {value}
        )
        self.wait(self.inbox.copyMessages(self.numbers(self.first), self.other))
        self.assertEqual(self.uniqueIds(self.other)[1], value)
        self.assertSound()
        self.wait(self.inbox.expunge(self.numbers(self.first), onlyDeleted=False))
        self.wait(self.other.expunge(None, onlyDeleted=False))
        # It is gone, and known.
        self.assertEqual(set(self.wait(self.maildrop.knownUniqueIds([value]))), {value})
        self.assertEqual(self.assign({other: value}), [])
        self.assertEqual(self.uniqueIds(self.inbox), [before])
        self.assertSound()

    def test_assignOnce(self) -> None:
        """None gets another's, a second one, or one that was nobody's but is ours to give."""
        first, second = self.messageIds(self.inbox)
        own = self.uniqueIds(self.inbox)
        self.assertEqual(self.assign({first: "a", second: "a"}), [first])
        self.assertEqual(self.assign({first: "b"}), [])
        self.assertEqual(self.assign({second: own[0]}), [])
        self.assertEqual(self.assign({second: own[1]}), [second])
        self.assertEqual(self.uniqueIds(self.inbox), ["a", own[1]])
        self.assertEqual(self.assign({"nonsense": "c", "E99999-1": "d", "": "e"}), [])
        self.assertEqual(set(self.wait(self.maildrop.knownUniqueIds(["b", "c", "d", "e"]))), set())

    def test_othersAccount(self) -> None:
        """Each account has its own; MESSAGE_IDs of others get nothing."""
        bob = self.addAccount("bob")
        self.append(self.mailbox("INBOX", bob))
        ours, theirs = self.messageIds(self.inbox), self.messageIds(self.mailbox("INBOX", bob))
        his = IMaildropAccount(bob)
        self.assertEqual(list(self.wait(his.assignUniqueIds({ours[0]: "x"}))), [])
        self.assertEqual(self.assign({ours[0]: "x"}), [ours[0]])
        self.assertEqual(list(self.wait(his.assignUniqueIds({theirs[0]: "x"}))), [theirs[0]])

    # --- removing ------------------------------------------------------------------------------

    def test_expunge(self) -> None:
        """Of several mailboxes at once; what isn't there is passed over."""
        gone = self.mailbox("gone")
        self.append(gone)
        self.wait(self.account.deleteMailbox("gone"))
        done = self.wait(
            self.maildrop.removeMessages(
                [
                    (self.inbox, self.numbers(self.first, 99)),
                    (gone, EVERYTHING),
                    (self.other, EVERYTHING),
                ],
                None,
            )
        )
        self.assertEqual(done, 2)
        self.assertEqual((self.uids(self.inbox), self.uids(self.other)), ([self.second], []))
        self.assertEqual(self.wait(self.maildrop.removeMessages([], None)), 0)
        self.assertSound()

    def test_move(self) -> None:
        """To another mailbox, with their flags; what is there already is expunged."""
        trash = self.mailbox("Trash")
        old = self.append(trash)
        self.addFlags(self.inbox, [self.second], "\\Flagged")
        uniqueIds = self.uniqueIds(self.inbox)
        done = self.wait(
            self.maildrop.removeMessages(
                [
                    (self.inbox, EVERYTHING),
                    (self.other, self.numbers(self.third)),
                    (trash, self.numbers(old)),
                ],
                trash,
            )
        )
        self.assertEqual(done, 4)
        self.assertEqual((self.uids(self.inbox), self.uids(self.other)), ([], []))
        self.assertEqual(self.uniqueIds(trash)[:2], uniqueIds)
        self.assertEqual(len(self.uids(trash)), 3)
        self.assertIn("\\Flagged", self.flags(trash)[self.uids(trash)[1]])
        self.assertSound()

    def test_noDestination(self) -> None:
        """If the destination isn't there nothing is done."""
        trash = self.mailbox("Trash")
        self.wait(self.account.deleteMailbox("Trash"))
        self.assertFails(
            self.maildrop.removeMessages([(self.inbox, EVERYTHING)], trash), NoSuchMailbox
        )
        self.assertEqual(self.uids(self.inbox), [self.first, self.second])
        self.assertSound()

    def test_told(self) -> None:
        """Who watches the mailboxes is told."""
        told: list[str] = []
        for name in ("INBOX", "other", "Trash"):
            self.addCleanup(self.mailbox(name).watch(partial(told.append, name)))
        self.wait(
            self.maildrop.removeMessages(
                [(self.inbox, EVERYTHING), (self.other, EVERYTHING)], self.mailbox("Trash")
            )
        )
        self.waitUntil(lambda: set(told) == {"INBOX", "other", "Trash"})

    def test_removed(self) -> None:
        """After the account was removed nothing can be done."""
        (messageId, _) = self.messageIds(self.inbox)
        self.assign({messageId: "x"})
        self.wait(self.maildrop.setMaildropSettings(MaildropSettings(True)))
        self.wait(self.store.directory.removeAccount(self.account.address))
        for awaitable in (
            self.maildrop.maildropSettings(),
            self.maildrop.setMaildropSettings(MaildropSettings()),
            self.maildrop.uniqueIds([messageId]),
            self.maildrop.assignUniqueIds({messageId: "y"}),
            self.maildrop.knownUniqueIds(["x"]),
            self.maildrop.removeMessages([(self.inbox, EVERYTHING)], None),
            self.maildrop.noteRetrieved([messageId], 1),
            self.maildrop.retrievedUntil(1),
        ):
            self.assertFails(awaitable, NoSuchAccount)
        self.assertSound()
