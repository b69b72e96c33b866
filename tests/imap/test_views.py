"""
Sessions that have one mailbox selected share what they know of it.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from tests.sharing.test_account import ROOT, Shared
from tests.storage.test_memory import MemoryStore
from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import AccessDenied, NoSuchMailbox
from twisted_mailstack.imap.view import View
from twisted_mailstack.imap.views import Views
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.sequence import NumberSet


def columns(view: View) -> tuple[object, ...]:
    """
    @return: all that is the mailbox's.
    """
    return (
        *(list(view.uids), view.flags, list(view.modSeqs)),
        *(view.highestModSeq, view.uidNext, view.keywords),
    )


class ViewsContract:
    """
    Over a store; mixed into a contract of its.
    """

    wait: Any
    mailbox: Any
    append: Any
    account: Any
    assertFails: Any
    assertEqual: Any
    assertIs: Any
    assertIsNot: Any

    def setUp(self) -> None:
        """A mailbox with three messages, one session has it selected."""
        super().setUp()  # type: ignore[misc]
        self.inbox = self.mailbox("INBOX")
        for _ in range(3):
            self.append(self.inbox)
        self.views = Views()
        self.first = self.wait(self.views.open(self.inbox))
        self.forget = self.views.keep(self.inbox, self.first)

    def other(self) -> Any:
        """
        @return: the mailbox, another object for it.
        """
        return self.wait(self.account.openMailbox("INBOX"))

    def flag(self, uid: int, *flags: str) -> None:
        """
        Another session gives a message flags.
        """
        uids = NumberSet.of([uid])
        self.wait(self.inbox.storeFlags(uids, FlagOperation.REPLACE, frozenset(flags)))

    def test_shared(self) -> None:
        """Another one costs nothing as long as they are alike."""
        second = self.wait(self.views.open(self.other()))
        self.assertIs(second.uids, self.first.uids)
        self.assertEqual(columns(second), columns(self.first))

    def test_behind(self) -> None:
        """
        It is as the mailbox is, not as the other session knows it: flags, new messages, keywords,
        and what is gone, if that session holds it back or hasn't heard of it.
        """
        self.wait(self.inbox.expunge(NumberSet.of([1]), onlyDeleted=False))
        self.first.apply(self.wait(self.inbox.changesSince(self.first.highestModSeq)))
        self.wait(self.inbox.expunge(NumberSet.of([2]), onlyDeleted=False))
        self.append(self.inbox)
        self.flag(3, "$New")
        second = self.wait(self.views.open(self.other()))
        self.assertEqual(columns(second), columns(View(self.wait(self.inbox.changesSince(0)))))
        self.assertEqual(list(second.uids), [3, 4])
        self.assertEqual(list(self.first.uids), [1, 2, 3])

    def test_forgotten(self) -> None:
        """When nobody has it selected any more nothing is kept; to forget twice is no error."""
        again = self.views.keep(self.inbox, self.wait(self.views.open(self.inbox)))
        self.forget()
        self.forget()
        again()
        fresh = self.wait(self.views.open(self.other()))
        self.assertIsNot(fresh.uids, self.first.uids)
        self.assertEqual(self.views._known, {})

    def test_otherMailbox(self) -> None:
        """Another mailbox is another one, also if it gets the name."""
        self.wait(self.account.createMailbox("a"))
        self.assertEqual(list(self.wait(self.views.open(self.mailbox("a"))).uids), [])
        opened = self.mailbox("a")
        self.append(opened)
        self.views.keep(opened, self.wait(self.views.open(opened)))
        self.wait(self.account.deleteMailbox("a"))
        self.assertFails(self.views.open(opened), NoSuchMailbox)
        self.wait(self.account.createMailbox("a"))
        self.assertEqual(list(self.wait(self.views.open(self.mailbox("a"))).uids), [])

    def test_alwaysTheMailbox(self) -> None:
        """
        Whatever sessions do and however far each has come, who selects sees the mailbox, and so do
        all once they have caught up.
        """
        for seed in range(40):
            self.drive(Random(seed))

    def drive(self, chance: Random) -> None:
        """
        Random steps of several sessions.
        """
        inbox, known, forgets = self.inbox, [self.first], []
        for _ in range(12):
            view = chance.choice(known)
            what = chance.choice(("append", "flags", "expunge", "look", "tell", "open"))
            uid = chance.choice([*self.first.uids, 1])
            if what == "append":
                self.append(inbox)
            elif what == "flags":
                flags = frozenset(chance.choice([("\\Seen",), (), ("a", "b")]))
                result = self.wait(
                    inbox.storeFlags(NumberSet.of([uid]), FlagOperation.REPLACE, flags)
                )
                for each in result.changed:
                    view.update(*each)
            elif what == "expunge":
                self.wait(inbox.expunge(NumberSet.of([uid]), onlyDeleted=False))
            elif what == "look":
                view.apply(self.wait(inbox.changesSince(view.highestModSeq)))
            elif what == "tell":
                view.expunge()
            else:
                known.append(self.wait(self.views.open(self.other())))
                forgets.append(self.views.keep(inbox, known[-1]))
                whole = columns(View(self.wait(inbox.changesSince(0))))
                self.assertEqual(columns(known[-1]), whole)
        whole = columns(View(self.wait(inbox.changesSince(0))))
        for view in known:
            view.apply(self.wait(inbox.changesSince(view.highestModSeq)))
            view.expunge()
            self.assertEqual(columns(view), whole)
        for forget in forgets:
            forget()


class MemoryViewsTests(ViewsContract, Shared, MemoryStore, SynchronousTestCase):
    """In memory."""

    def test_rights(self) -> None:
        """Who may not read a mailbox isn't shown it because others have it selected."""
        self.append(self.work)
        self.views.keep(self.work, self.wait(self.views.open(self.work)))
        self.grant("lr")
        opened = self.wait(self.bob.openMailbox(f"{ROOT}/Work"))
        self.assertEqual(list(self.wait(self.views.open(opened)).uids), [1])
        self.grant("l")
        self.assertFails(self.views.open(opened), AccessDenied)


class SQLViewsTests(ViewsContract, SQLStore, SynchronousTestCase):
    """In the database."""


class SessionTests(SynchronousTestCase):
    """
    Sessions of one server.
    """

    def test_sessions(self) -> None:
        """
        Another session that selects a mailbox reads nothing but its change log, and no session
        keeps anything when it has gone.
        """
        server = Server()
        server.deliver()
        server.deliver()
        asked: list[int] = []
        mailbox = type(now(server.account.openMailbox("INBOX")))
        changesSince = mailbox.changesSince

        async def counted(self: Any, modSeq: int) -> Any:
            asked.append(modSeq)
            return await changesSince(self, modSeq)

        self.patch(mailbox, "changesSince", counted)
        one = server.select()
        two = server.select("INBOX", "EXAMINE")
        self.assertEqual(asked.count(0), 1)
        two.send(b"b UNSELECT\r\n")
        one.send(b"a LOGOUT\r\n")
        server.select()
        self.assertEqual(asked.count(0), 2)
