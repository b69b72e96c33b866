"""
Reading what POP3 shows of an account on another server into one here.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.pop3.support import Server, now
from tests.pop3.test_client import Pair
from twisted_mailstack.cli import migratepop3
from twisted_mailstack.cli.migratepop3 import MaildropMigration
from twisted_mailstack.errors import OverQuota
from twisted_mailstack.interfaces import IMaildropAccount
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import NO_FLAGS
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet

FIRST = (
    b"Received: from a by b;\r\n Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    b"Date: Mon, 1 Jan 2001 00:00:00 +0000\r\nMessage-ID: <1@x>\r\n\r\none\r\n.\r\n"
)
SECOND = b"Date: Mon, 1 Jan 2001 00:00:00 +0000\r\nMessage-ID: <2@x>\r\n\r\ntwo\r\n"
THIRD = "Subject: Gr\u00fc\u00dfe\r\n\r\nno id\r\n".encode()


class MigrationTests(SynchronousTestCase):
    """What is there comes here."""

    def setUp(self) -> None:
        """Two servers."""
        self.there, self.here = Server(), Server()
        self.there.put(FIRST, SECOND, THIRD)
        self.told: list[str] = []
        self.inbox = self.here.inbox("bob")
        self.account = IMaildropAccount(self.inbox.account)

    def pair(self, *without: str) -> Pair:
        """
        @return: a client, logged in.
        """
        pair = Pair(self.there)
        pair.login(utf8=True)
        assert pair.session.capabilities is not None
        for name in without:
            del pair.session.capabilities[name]
        return pair

    def migrate(self, *without: str, pair: Pair | None = None) -> tuple[int, int, int]:
        """
        @return: what a run did.
        """
        pair = pair or self.pair(*without)
        migration = MaildropMigration(
            pair.client, self.account, self.inbox, tell=self.told.append, now=lambda: 77.0
        )
        try:
            pair.do(migration.run())
        finally:
            pair.connection.disconnect()
        return migration.imported, migration.present, migration.failed

    def uniqueIds(self, server: Server, name: str) -> list[bytes]:
        """
        @return: what POP3 clients see.
        """
        pair = Pair(server, server.connect())
        pair.do(pair.session.greet())
        pair.do(pair.session.logIn(name.encode(), b"secret"))
        found = [each.uniqueId for each in pair.do(pair.client.listMessages())]
        pair.connection.disconnect()
        return found

    def test_everything(self) -> None:
        """
        Octet for octet, with the dates of their arrival as far as they tell, and their unique-ids:
        so POP3 clients have them already.
        """
        before = self.uniqueIds(self.there, "alice")
        self.assertEqual(self.migrate(), (3, 0, 0))
        self.assertEqual(self.here.messages("bob"), [FIRST, SECOND, THIRD])
        rows = now(self.inbox.fetch(NumberSet([(1, 9)]), (Attribute.INTERNAL_DATE,)))
        self.assertEqual([row[1] for row in rows], [1_700_000_000, 978_307_200, 77])
        self.assertEqual(self.uniqueIds(self.here, "bob"), before)
        self.assertEqual(self.told, [])

    def test_again(self) -> None:
        """What was read before isn't read again, wherever it is now, or if it was deleted."""
        self.migrate()
        now(self.inbox.moveMessages(NumberSet.of([1]), self.here.inbox("bob", "Archive")))
        self.here.expunge(2, name="bob")
        self.there.put(b"Subject: new\r\n\r\n")
        pair = self.pair()
        pair.sent.clear()
        self.assertEqual(self.migrate(pair=pair), (1, 3, 0))
        self.assertEqual(b"".join(pair.sent).count(b"RETR"), 1)
        self.assertEqual(self.migrate(), (0, 4, 0))

    def test_recognised(self) -> None:
        """
        What came by IMAP before, with the same Message-ID and size, isn't read again and gets its
        unique-id; what was only like it is read.
        """
        self.here.put(SECOND, FIRST + b"longer", FIRST, FIRST, name="bob")
        before = self.uniqueIds(self.there, "alice")
        pair = self.pair()
        self.assertEqual(self.migrate(pair=pair), (1, 2, 0))
        found = self.uniqueIds(self.here, "bob")
        self.assertEqual([found[0], found[2], found[4]], [before[1], before[0], before[2]])
        self.assertEqual(len(self.here.messages("bob")), 5)
        self.assertEqual(self.migrate(), (0, 3, 0))

    def test_withoutTOP(self) -> None:
        """Where headers can't be asked for nothing is recognised; the rest is the same."""
        self.here.put(SECOND, name="bob")
        self.assertEqual(self.migrate("TOP"), (3, 0, 0))

    def test_withoutUIDL(self) -> None:
        """A server without unique-ids: what was read before is known by what it is."""

        class Without(Pair):
            def login(self, utf8: bool = False) -> Any:
                client = super().login(utf8)
                listMessages = client.listMessages

                async def stripped() -> Any:
                    return [each._replace(uniqueId=b"") for each in await listMessages()]

                client.listMessages = stripped  # type: ignore[method-assign]
                return client

        for expected in ((3, 0, 0), (0, 3, 0)):
            pair = Without(self.there)
            pair.login(utf8=True)
            self.assertEqual(self.migrate(pair=pair), expected)
        self.assertEqual(len(self.here.messages("bob")), 3)
        self.assertIn("no unique-ids", self.told[0])

    def test_batches(self) -> None:
        """Many are appended a few at a time."""
        for octets in (0, 1 << 30):
            self.setUp()
            self.patch(migratepop3, "BATCH", 2)
            self.patch(migratepop3, "BATCH_OCTETS", octets)
            self.patch(migratepop3, "HEADERS", 2)
            self.there.put(*[b"x: %d\r\n\r\n" % n for n in range(10)], b"")
            self.assertEqual(self.migrate(), (14, 0, 0))
            self.assertEqual(self.here.messages("bob"), self.there.messages())

    def test_refused(self) -> None:
        """A message that can't be had is named; the others come."""
        pair = self.pair()
        self.there.expunge(2)
        self.assertEqual(self.migrate(pair=pair), (2, 0, 1))
        self.assertEqual(self.told, ["message 2: That message was removed by another session"])

    def test_full(self) -> None:
        """A full account ends it; what came before stays, and isn't read again."""
        self.patch(migratepop3, "BATCH", 1)
        address = Address("bob", "example.test")
        now(self.here.store.directory.setQuota(address, None, 2))
        with self.assertRaises(OverQuota):
            self.migrate()
        self.assertEqual(len(self.here.messages("bob")), 2)
        now(self.here.store.directory.setQuota(address, None, None))
        self.assertEqual(self.migrate(), (1, 2, 0))

    def test_oddIds(self) -> None:
        """Unique-ids that break the rules are none of ours."""
        (row,) = now(self.there.inbox().fetch(NumberSet.of([1]), (Attribute.MESSAGE_ID,)))
        account = self.there.inbox().account
        account._maildrop._given[row[1]] = "x" * 71
        self.assertEqual(self.migrate(), (3, 0, 0))
        self.assertEqual(self.migrate(), (0, 3, 0))

    def test_flags(self) -> None:
        """POP3 knows no flags: they are new here."""
        self.migrate()
        rows = now(self.inbox.fetch(NumberSet([(1, 9)]), (Attribute.FLAGS,)))
        self.assertEqual({row[1] for row in rows}, {NO_FLAGS})
