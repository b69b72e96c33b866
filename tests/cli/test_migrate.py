"""
Reading an account on another server, by IMAP, into one here.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, now
from tests.imap.test_client import Pair
from twisted_mailstack.cli import migrate
from twisted_mailstack.cli.migrate import Migration
from twisted_mailstack.errors import DestinationUnavailable, OverQuota
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.conversation import FakeWire
from twisted_mailstack.wire.stream import Stream


class MigrationTests(SynchronousTestCase):
    """What is there comes here."""

    def setUp(self) -> None:
        """Two servers."""
        self.there = Server()
        self.here = Server()
        self.told: list[str] = []

    def migrate(self, below: str = "", without: tuple[str, ...] = ()) -> Migration:
        """
        @return: a run that is over.
        """
        pair = Pair(self.there)
        client = pair.login()
        pair.session.capabilities -= set(without)
        migration = Migration(client, self.here.account, below, tell=self.told.append)
        pair.do(migration.run())
        return migration

    def rows(self, name: str, account: IAccount | None = None) -> list[tuple[Any, ...]]:
        """
        @return: flags, date, zone and octets of each message.
        """
        opened = now((account or self.here.account).openMailbox(name))
        columns = (
            *(Attribute.FLAGS, Attribute.INTERNAL_DATE, Attribute.ZONE),
            Attribute.CONTENT,
        )
        return [tuple(row[1:]) for row in now(opened.fetch(NumberSet([(1, 99)]), columns))]

    def test_everything(self) -> None:
        """Messages come octet for octet, with flags, keywords, dates and zones, in their order."""
        self.there.deliver(MESSAGE, flags=["\\Seen", "$Forwarded"], date=784_111_777, zone=-480)
        self.there.deliver(b"Subject: no id\r\n\r\n\xff\r\nno end", date=5)
        self.there.deliver(b"Subject: x\r\n\r\nx", "Sent")
        now(self.there.account.createMailbox("Pr\u00f6jekte/Alt"))
        self.there.deliver(b"Subject: y\r\n\r\ny", "Pr\u00f6jekte/Alt", ["\\Deleted", "\\Draft"])
        migration = self.migrate()
        self.assertEqual((migration.imported, migration.present, migration.failed), (4, 0, 0))
        for name in ("INBOX", "Sent", "Pr\u00f6jekte/Alt"):
            self.assertEqual(self.rows(name), self.rows(name, self.there.account))
        subscribed = {i.name for i in now(self.here.account.listMailboxes()) if i.subscribed}
        self.assertIn("Pr\u00f6jekte/Alt", subscribed)

    def test_readOnly(self) -> None:
        """The other account stays as it is."""
        self.there.deliver()
        before = self.rows("INBOX", self.there.account)
        self.migrate()
        self.assertEqual(self.rows("INBOX", self.there.account), before)
        status = now(now(self.there.account.openMailbox("INBOX")).status())
        self.assertEqual(status.recent, 1)

    def test_again(self) -> None:
        """What was read before isn't read again; what is new is."""
        for date in (1, 2, 2):
            self.there.deliver(MESSAGE, date=date)
        self.there.deliver(b"Subject: no id\r\n\r\nx", date=3)
        self.migrate()
        self.there.deliver(MESSAGE, date=2)
        self.there.deliver(b"Subject: no id\r\n\r\nlonger", date=3)
        migration = self.migrate()
        self.assertEqual((migration.imported, migration.present), (2, 4))
        self.assertEqual(len(self.rows("INBOX")), 6)
        self.assertEqual(self.migrate().imported, 0)

    def test_specialUse(self) -> None:
        """What is for sent mail there goes where sent mail is here, whatever it is called."""
        now(self.there.account.renameMailbox("Sent", "Gesendet"))
        self.there.deliver(mailbox="Gesendet")
        self.migrate()
        self.assertEqual(len(self.rows("Sent")), 1)
        self.assertNotIn("Gesendet", {i.name for i in now(self.here.account.listMailboxes())})

    def test_below(self) -> None:
        """All of it goes below a mailbox if that is wanted."""
        self.there.deliver()
        self.there.deliver(mailbox="Sent")
        self.migrate("Old")
        self.assertEqual([len(self.rows(name)) for name in ("Old/INBOX", "Old/Sent")], [1, 1])
        self.assertEqual(self.rows("INBOX"), [])

    def test_large(self) -> None:
        """Large messages are streamed, small ones come many at a time."""
        self.patch(migrate, "BATCH_OCTETS", 100)
        self.patch(migrate, "BATCH", 3)
        for number in range(10):
            self.there.deliver(b"Subject: %d\r\n\r\n" % number + b"x" * 10 * number, date=number)
        self.migrate()
        self.assertEqual(self.rows("INBOX"), self.rows("INBOX", self.there.account))

    def test_withoutExtensions(self) -> None:
        """A server that can't do more than RFC 3501 is enough."""
        self.there.deliver()
        names = ("LIST-EXTENDED", "IMAP4REV2", "SPECIAL-USE", "LITERAL+", "UNSELECT", "CONDSTORE")
        self.assertEqual(self.migrate(without=names).imported, 1)

    def test_refused(self) -> None:
        """What isn't taken here is named, and keeps nothing else back."""
        self.there.deliver(MESSAGE)
        self.there.deliver(mailbox="Sent")
        real = self.here.account.openMailbox

        async def openMailbox(name: str) -> Any:
            if name == "Sent":
                raise DestinationUnavailable("not now")
            return await real(name)

        self.patch(self.here.account, "openMailbox", openMailbox)
        migration = self.migrate()
        self.assertEqual((migration.imported, migration.failed), (1, 1))
        self.assertEqual(self.told, ["Sent: not now"])

    def test_overQuota(self) -> None:
        """A full account ends it."""
        self.there.deliver()
        record = now(self.here.store.directory.listAccounts())[0]
        now(self.here.store.directory.setQuota(record.address, 10, None))
        pair = Pair(self.there)
        migration = Migration(pair.login(), self.here.account, tell=self.told.append)
        self.assertRaises(OverQuota, pair.do, migration.run())


class OtherServerTests(SynchronousTestCase):
    """Servers that are not like ours."""

    def test_delimiter(self) -> None:
        """Levels are separated by what separates them here; what isn't one there stays none."""
        here = Server()
        pair = Pair(here)
        wire = FakeWire("imap", True)
        pair.session.stream = Stream(wire, here.clock)
        pair.session.usable = True
        pair.session.capabilities = frozenset({"IMAP4REV1"})
        migration = Migration(pair.client, here.account, tell=print)
        results = pair.start(migration.run())
        stream = pair.session.stream
        stream.received(
            b'* LIST () "." INBOX\r\n* LIST () "." INBOX.a/b.c\r\n'
            b'* LIST (\\NoSelect) "." x\r\na1 OK\r\n'
        )
        for tag in (b"a2", b"a3"):
            stream.received(b"* 0 EXISTS\r\n%b OK [READ-ONLY] done\r\n" % tag)
        self.assertEqual(len(results), 1)
        names = [info.name for info in now(here.account.listMailboxes())]
        self.assertIn("INBOX/a_b/c", names)
        self.assertNotIn("x", names)
