"""
C{mailstack check}: whatever is damaged is found and named in an operator's words.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import MailError, StoreDamaged
from twisted_mailstack.interfaces import IMovableMailbox
from twisted_mailstack.model.flags import DELETED, SEEN
from twisted_mailstack.model.records import AccountPolicy, Damage, Placement
from twisted_mailstack.storage.sql import check
from twisted_mailstack.storage.sql.schema import CHUNK, PIECES
from twisted_mailstack.storage.sql.store import FILE, SQLMailStore
from twisted_mailstack.testing.contracts.base import start

INBOX = "alice@example.test, mailbox INBOX"
#: In SQL: alice's INBOX, and a message of hers there.
OF_INBOX = (
    "account = 1 AND mailbox = (SELECT mailbox FROM mailbox WHERE account = 1 AND name = 'INBOX')"
)


def message(uid: int) -> str:
    """
    @return: a condition on C{message} or C{entry}, for a UID of INBOX.
    """
    return f"account = 1 AND message = (SELECT message FROM entry WHERE {OF_INBOX} AND uid = {uid})"


def content(uid: int) -> str:
    """
    @return: the content's number of a UID of INBOX, as an expression.
    """
    return f"(SELECT content FROM message WHERE {message(uid)})"


class Damaged(SQLStore):
    """
    A store with something of everything: in alice's INBOX UID 1 (large, also in Sent and in bob's
    INBOX), 2 (small, with a prefix), 5 and 6; 3 and 4 were expunged.
    """

    LARGE = b"Subject: large\r\n\r\n" + b"0123456789" * 60_000

    def setUp(self) -> None:
        """Fill it."""
        super().setUp()
        bob = self.addAccount("bob")
        places = [
            Placement(self.account.accountId, "INBOX", b"To: alice\r\n"),
            Placement(bob.accountId, "INBOX", b"To: bob\r\n", frozenset({SEEN})),
        ]
        self.inbox = self.mailbox("INBOX")
        self.deliver(self.LARGE, *places)
        self.deliver(b"Subject: small\r\n\r\nbody", places[0])
        for number in range(3, 7):
            self.append(self.inbox, b"Subject: %d\r\n\r\n" % number, (SEEN, "k"))
        self.wait(self.inbox.copyMessages(self.numbers(1), self.mailbox("Sent")))
        self.wait(self.inbox.expunge(self.numbers(3, 4), False))
        self.addFlags(self.inbox, (5,), DELETED)
        self.wait(self.store.directory.setAlias(self.address("info"), [self.address("alice")]))
        self.assertSound()

    def damage(self, *statements: str) -> None:
        """
        Change the database behind the store's back.
        """
        connection = sqlite3.connect(Path(self.path) / FILE, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                changed = connection.execute(statement).rowcount
                self.assertTrue(changed, f"nothing is damaged by {statement}")
            connection.execute("COMMIT")
        finally:
            connection.close()

    def findings(self) -> list[Damage]:
        """
        @return: what the check finds.
        """
        return list(self.wait(self.store.check()))

    def assertFound(self, where: str, what: str, *statements: str) -> None:
        """
        After the statements, that is found, and where it is.
        """
        self.damage(*statements)
        found = self.findings()
        self.assertIn(Damage(where, what), found)


class CheckTests(Damaged, SynchronousTestCase):
    """
    Every kind of thing that is stored, damaged on purpose.
    """

    # --- counters ------------------------------------------------------------------------------

    def test_mailboxCounters(self) -> None:
        """Every counter of a mailbox is compared with what there is."""
        for column, name, right in (
            ("messages", "messages", 4),
            ("unseen", "unseen messages", 2),
            ("deleted", "deleted messages", 1),
            ("recent", "recent messages", 4),
            ("octets", "octets", 11 + len(self.LARGE) + 11 + 22 + 14 + 14),
        ):
            change = f"UPDATE mailbox SET {column} = {column} + %d WHERE {OF_INBOX}"
            self.assertFound(INBOX, f"counts {right + 7} {name}, has {right}", change % 7)
            self.damage(change % -7)
        self.assertSound()

    def test_accountCounters(self) -> None:
        """So are an account's, with its mailboxes."""
        self.assertFound(
            "bob@example.test",
            f"counts 3 messages and {9 + len(self.LARGE)} octets, its mailboxes 1 and"
            f" {9 + len(self.LARGE)}",
            "UPDATE account SET messages = 3 WHERE folded = 'bob'",
        )

    def test_uidNext(self) -> None:
        """A UID that would be given again."""
        self.assertFound(
            INBOX,
            "has a UID 6, but the next is said to be 6",
            f"UPDATE mailbox SET uid_next = 6 WHERE {OF_INBOX}",
        )

    def test_recentUid(self) -> None:
        """Recent messages that can't be."""
        self.assertFound(
            INBOX,
            "recent from UID 99 on, the next is 7",
            f"UPDATE mailbox SET recent_uid = 99 WHERE {OF_INBOX}",
        )

    def test_modSeqs(self) -> None:
        """Changes that nobody would be told of."""
        (highest,) = self.store.reader.execute(
            f"SELECT mod_seq FROM mailbox WHERE {OF_INBOX}"
        ).fetchone()
        self.assertFound(
            INBOX,
            f"a message has modSeq {highest + 5}, the mailbox only {highest}",
            f"UPDATE entry SET mod_seq = {highest + 5} WHERE {OF_INBOX} AND uid = 2",
        )
        self.assertFound(
            INBOX,
            f"has modSeq {highest}, its account only 1",
            "UPDATE account SET mod_seq = 1 WHERE account = 1",
        )
        self.assertFound(
            INBOX,
            f"an expunge has modSeq {highest + 9}, the mailbox only {highest}",
            f"UPDATE vanished SET mod_seq = {highest + 9} WHERE {OF_INBOX}",
        )

    def test_ids(self) -> None:
        """Ids and uidValidities that would be given, or are, twice."""
        (highest,) = self.store.reader.execute(
            "SELECT max(thread) FROM message WHERE account = 1"
        ).fetchone()
        self.assertFound(
            "alice@example.test",
            f"the next id is said to be {highest}, {highest} is in use",
            f"UPDATE account SET next_id = {highest} WHERE account = 1",
        )
        twice = Damage(
            "alice@example.test", "two of its mailboxes have, or will have, one UIDVALIDITY"
        )
        self.damage("UPDATE account SET uid_validity = uid_validity - 1 WHERE account = 1")
        self.assertIn(twice, self.findings())
        self.damage(
            "UPDATE account SET uid_validity = uid_validity + 1 WHERE account = 1",
            f"UPDATE mailbox SET uid_validity = uid_validity + 1 WHERE {OF_INBOX}",
        )
        self.assertIn(twice, self.findings())

    # --- entries and messages ------------------------------------------------------------------

    def test_vanishedAndThere(self) -> None:
        """A message that is there and said to be expunged."""
        self.assertFound(
            f"{INBOX}, UID 5",
            "is there, and noted as expunged",
            f"UPDATE vanished SET last = 5 WHERE {OF_INBOX}",
        )

    def test_vanished(self) -> None:
        """Notes of expunged messages that can't be."""
        for first, last in ((4, 3), (3, 7), (3, 400)):
            self.assertFound(
                INBOX,
                f"the note that UIDs {first} to {last} were expunged is wrong",
                f"UPDATE vanished SET first = {first}, last = {last} WHERE {OF_INBOX}",
            )
        self.assertFound(
            INBOX,
            "the note that UIDs 3 to 4 were expunged is wrong",
            f"UPDATE vanished SET first = 3, last = 4 WHERE {OF_INBOX}",
            "INSERT INTO vanished SELECT account, mailbox, 4, 4, mod_seq FROM vanished",
        )

    def test_flags(self) -> None:
        """Flags that are none."""
        for text in ("\\\\Sene", "b a", "a  b", " ", "a a", "\\\\Recent", "\\\\seen"):
            text = text.replace("\\\\", "\\")
            self.assertFound(
                f"{INBOX}, UID 2",
                f"its flags can't be read: {text!r}",
                f"UPDATE entry SET flags = '{text}' WHERE {OF_INBOX} AND uid = 2",
            )

    def test_entryWithoutMessage(self) -> None:
        """A line in a mailbox whose message is gone."""
        self.assertFound(
            f"{INBOX}, UID 2", "its message is missing", f"DELETE FROM message WHERE {message(2)}"
        )

    def test_entryMissing(self) -> None:
        """A message that is in no mailbox any more."""
        self.assertFound(
            "alice@example.test, a message in no mailbox",
            "counts 1 copies, has 0",
            f"DELETE FROM entry WHERE {OF_INBOX} AND uid = 2",
        )
        self.assertIn(Damage(INBOX, "counts 4 messages, has 3"), self.findings())

    def test_copies(self) -> None:
        """A message that would go too early, or never."""
        self.assertFound(
            f"{INBOX}, UID 1; alice@example.test, mailbox Sent, UID 1",
            "counts 1 copies, has 2",
            f"UPDATE message SET copies = 1 WHERE {message(1)}",
        )

    def test_mailboxMissing(self) -> None:
        """Messages of a mailbox that is gone."""
        sent = "(SELECT mailbox FROM mailbox WHERE account = 1 AND name = 'Sent')"
        (number,) = self.store.reader.execute(f"SELECT {sent}").fetchone()
        self.assertFound(
            f"alice@example.test, mailbox {number}, UID 1",
            "belongs to no mailbox",
            f"DELETE FROM mailbox WHERE account = 1 AND mailbox = {sent}",
        )

    def test_mailboxNotSelectable(self) -> None:
        """Messages where none can be."""
        self.assertFound(
            "alice@example.test, mailbox Sent, UID 1",
            "is in a mailbox that can't hold messages",
            "UPDATE mailbox SET selectable = 0 WHERE account = 1 AND name = 'Sent'",
        )

    def test_accountMissing(self) -> None:
        """All that is left of an account that is gone."""
        self.damage("DELETE FROM account WHERE folded = 'bob'")
        found = self.findings()
        for what in ("6 mailboxes", "1 messages", "6 subscriptions"):
            self.assertIn(Damage("account A2", f"does not exist, but has {what}"), found)
        self.assertIn(Damage("account A2, mailbox INBOX, UID 1", "belongs to no mailbox"), found)

    def test_access(self) -> None:
        """Rights that can't be read, of mailboxes and accounts that are gone."""
        self.assertFound(
            INBOX,
            "the rights of anyone can't be read: 'lq'",
            "INSERT INTO access SELECT account, mailbox, 'anyone', 'lq' FROM mailbox"
            f" WHERE {OF_INBOX} AND name = 'INBOX'",
        )
        self.assertFound(
            "alice@example.test",
            "anyone has rights in a mailbox 999 that isn't there",
            "INSERT INTO access VALUES (1, 999, 'anyone', 'l')",
        )
        self.assertFound(
            "account A9",
            "does not exist, but has 1 rights of others",
            "INSERT INTO access VALUES (9, 1, 'anyone', 'l')",
        )
        self.assertFound(
            "account A9",
            "does not exist, but has 1 public names",
            "INSERT INTO published VALUES (9, 'office')",
        )

    def test_inboxMissing(self) -> None:
        """An account that can't get mail."""
        self.assertFound(
            "bob@example.test",
            "has no INBOX",
            "UPDATE mailbox SET name = 'inbox' WHERE account = 2 AND name = 'INBOX'",
        )

    def test_domainMissing(self) -> None:
        """Accounts and aliases of a domain that is gone."""
        self.damage("DELETE FROM domain")
        found = self.findings()
        for name in ("alice", "bob", "info"):
            self.assertIn(
                Damage(f"{name}@example.test", "is in example.test, which is no domain of ours"),
                found,
            )

    # --- octets --------------------------------------------------------------------------------

    def everywhere(self) -> str:
        """
        @return: where UID 1 is.
        """
        return (
            f"{INBOX}, UID 1; alice@example.test, mailbox Sent, UID 1;"
            " bob@example.test, mailbox INBOX, UID 1"
        )

    def test_chunkMissing(self) -> None:
        """Octets in the middle of a message that are gone."""
        self.assertFound(
            self.everywhere(),
            f"has {len(self.LARGE) - CHUNK} of {len(self.LARGE)} octets",
            f"DELETE FROM chunk WHERE piece = {content(1)} * {PIECES} + 1",
        )
        self.assertFails(self.wait(self.inbox.openMessage(1)).read(CHUNK, 100), StoreDamaged)

    def test_flippedOctet(self) -> None:
        """One octet of a large or of a small message that is another."""
        for uid, where in ((1, self.everywhere()), (2, f"{INBOX}, UID 2")):
            first = f"piece = {content(uid)} * {PIECES}"
            self.assertFound(
                where,
                "its octets are not those that were stored",
                "UPDATE chunk SET data = CAST(substr(data, 1, 8) || 'X' || substr(data, 10)"
                f" AS BLOB) WHERE {first}",
            )

    def test_chunksSwapped(self) -> None:
        """Octets that are all there, in the wrong order."""
        piece = f"{content(1)} * {PIECES}"
        self.assertFound(
            self.everywhere(),
            "its octets are not those that were stored",
            f"UPDATE chunk SET piece = 9 WHERE piece = {piece}",
            f"UPDATE chunk SET piece = {piece} WHERE piece = {piece} + 1",
            f"UPDATE chunk SET piece = {piece} + 1 WHERE piece = 9",
        )

    def test_octetsOfAnotherKind(self) -> None:
        """Octets that are no octets."""
        self.assertFound(
            f"{INBOX}, UID 2",
            "its octets can't be read: a bytes-like object is required, not 'str'",
            f"UPDATE chunk SET data = 'text' WHERE piece = {content(2)} * {PIECES}",
        )

    def test_contentMissing(self) -> None:
        """A message all of whose octets are gone."""
        self.assertFound(
            f"{INBOX}, UID 2",
            "its octets are missing",
            f"DELETE FROM content WHERE content = {content(2)}",
        )
        self.assertIn(
            "octets that belong to no message", [damage.what for damage in self.findings()]
        )

    def test_octets(self) -> None:
        """A size that is wrong."""
        self.assertFound(
            f"{INBOX}, UID 2",
            "says 23 octets, has 22",
            f"UPDATE message SET octets = octets + 1 WHERE {message(2)}",
        )

    def test_contentCopies(self) -> None:
        """Octets that would be removed too early, or never."""
        self.assertFound(
            f"{INBOX}, UID 2",
            "its octets count 0 uses, have 1",
            f"UPDATE content SET copies = 0 WHERE content = {content(2)}",
        )

    def test_prefix(self) -> None:
        """Header lines of one copy that are others."""
        self.assertFound(
            f"{INBOX}, UID 2",
            "its first header lines are not those that were stored",
            "UPDATE message SET prefix = CAST(replace(prefix, 'alice', 'alicf') AS BLOB)"
            f" WHERE {message(2)}",
        )

    def test_details(self) -> None:
        """What FETCH would show, and isn't so."""
        for column in check.SUMMARY.replace(" ", "").split(","):
            (value,) = self.store.reader.execute(
                f"SELECT {column} FROM content WHERE content = {content(2)}"
            ).fetchone()
            other = "x'7f'" if isinstance(value, bytes) else "'y'" if isinstance(value, str) else 7
            self.assertFound(
                f"{INBOX}, UID 2",
                "what is shown of it (envelope, structure) is not what was found in it",
                f"UPDATE content SET {column} = {other} WHERE content = {content(2)}",
            )
            connection = sqlite3.connect(Path(self.path) / FILE)
            with connection:
                connection.execute(
                    f"UPDATE content SET {column} = ? WHERE content = {content(2)}", (value,)
                )
            connection.close()
            self.assertSound()

    def test_orphan(self) -> None:
        """Octets that nobody refers to."""
        self.assertFound(
            "content 77",
            "octets that belong to no message",
            f"INSERT INTO chunk VALUES (77 * {PIECES}, x'00')",
        )

    # --- how it is told ------------------------------------------------------------------------

    def test_notTooMany(self) -> None:
        """A list that a person can read: it ends somewhere."""
        self.patch(check, "MAX_FINDINGS", 3)
        self.damage("UPDATE message SET octets = octets + 1, copies = 9")
        self.assertEqual(len(self.findings()), 3)

    def test_changesNothing(self) -> None:
        """Not even a damaged store is changed by looking at it."""
        self.damage("UPDATE message SET octets = octets + 1, copies = 9", "DELETE FROM domain")
        before = self.store.reader.execute("PRAGMA data_version").fetchone()
        found = self.findings()
        self.assertEqual(self.findings(), found)
        self.assertEqual(self.store.reader.execute("PRAGMA data_version").fetchone(), before)


class SoundTests(Damaged, SynchronousTestCase):
    """
    Nothing is called damage that is none.
    """

    def test_afterEverything(self) -> None:
        """After moves, renames, removals and a second look."""
        self.wait(IMovableMailbox(self.inbox).moveMessages(self.numbers(1, 5), self.inbox))
        self.wait(self.account.renameMailbox("INBOX", "a/b"))
        self.wait(self.account.deleteMailbox("Sent"))
        self.wait(self.store.directory.removeAccount(self.address("bob")))
        self.mailbox("a/b/c")
        self.wait(self.account.deleteMailbox("a"))
        self.wait(self.account.renameMailbox("a", "d"))
        self.assertSound()

    def test_whileSomethingIsDelivered(self) -> None:
        """A message of which half is written, or all, and that is placed nowhere yet."""
        writer = self.store.newContent()
        waiting = writer.write(self.LARGE)
        if waiting is not None:
            self.wait(waiting)
        self.assertSound()
        writer.write(self.LARGE)
        staged = self.wait(writer.finish())
        self.assertSound()
        self.wait(self.store.deliver(staged, [Placement("A1", "INBOX")], 0))
        self.assertSound()
        self.wait(self.inbox.expunge(None, False))
        self.assertSound()
        staged.discard()
        self.assertSound()

    def test_whileEverythingChanges(self) -> None:
        """All of it is of one instant, however much is changed meanwhile."""
        staged = self.stage()
        places = [Placement("A1", "INBOX"), Placement("A2", "INBOX")]
        pending = []
        for number in range(10):
            pending.append(start(self.store.check()))
            for _ in range(5):
                pending.append(start(self.store.deliver(staged, places, 0)))
            pending.append(start(self.inbox.expunge(self.numbers(number), False)))
        for each in pending:
            result = self.wait(each)
            self.assertNotIn("Damage", repr(result))


class CredentialTests(Damaged, SynchronousTestCase):
    """
    What accounts log in with.
    """

    def test_credentials(self) -> None:
        """Credentials and rules that can't be read, or whose id would return, are named."""
        alice = self.account.address
        self.wait(self.store.directory.setPassword(alice, "$argon2id$x"))
        self.wait(self.store.directory.addAppPassword(alice, "Phone", {"ssha256": "x"}))
        self.wait(self.store.directory.setPolicy(alice, AccountPolicy(networks=("::/0",))))
        self.assertSound()
        self.damage("UPDATE credential SET secrets = '[]' WHERE kind = 'password'")
        self.damage("UPDATE credential SET secrets = '{\"x\": 1' WHERE kind = 'app'")
        self.damage("UPDATE account SET credentials = 1 WHERE account = 1")
        self.damage("UPDATE account_policy SET networks = '192.0.2.1/24'")
        self.damage(
            "INSERT INTO login VALUES (77, 1, 1, '', '', '', '', 1, ''),"
            " (0, 1, 1, '', '', '', '', 1, '')"
        )
        self.assertEqual(
            {(each.where, each.what.partition(";")[0]) for each in self.findings()},
            {
                ("account A77", "does not exist, but has 1 logins"),
                (str(alice), "its password can't be read"),
                (str(alice), "its app password Phone can't be read"),
                (
                    str(alice),
                    "its app password Phone has an id that another one would get, too",
                ),
                (str(alice), "may log in from '192.0.2.1/24', which is no network"),
            },
        )


class FileTests(Damaged, SynchronousTestCase):
    """
    A file of which parts were overwritten.
    """

    def test_everyPage(self) -> None:
        """
        Whichever page is overwritten, either the store isn't opened and the file is named, or the
        check finds something; a message whose octets are hit is named.
        """
        self.wait(self.store.stop())
        file = Path(self.path) / FILE
        whole = file.read_bytes()
        size = int.from_bytes(whole[16:18], "big")
        self.assertEqual(len(whole) % size, 0)
        named = 0
        for page in range(len(whole) // size):
            copy = self.mktemp()
            shutil.copytree(self.path, copy)
            junk = b"\xa5junk" * (size // 5 + 1)
            data = whole[: page * size] + junk[:size] + whole[(page + 1) * size :]
            (Path(copy) / FILE).write_bytes(data)
            store = SQLMailStore(copy, self.clock, self.calls.callFromThread)
            try:
                self.wait(store.start())
            except StoreDamaged as error:
                self.assertIn(f"{copy}/{FILE} can't be opened", error.text)
                continue
            try:
                found = list(self.wait(store.check()))
            finally:
                self.wait(store.stop())
            self.assertTrue(found, f"page {page} of {len(whole) // size}")
            named += any(damage.where.startswith(f"{INBOX}, UID 1;") for damage in found)
            shutil.rmtree(copy)
        # Most of the file is one message.
        self.assertTrue(named > 60, named)

    def test_whatIsLeftCanBeRead(self) -> None:
        """Of a file whose pages are damaged in one message, the others are read."""
        self.wait(self.store.stop())
        file = Path(self.path) / FILE
        data = file.read_bytes()
        at = data.index(b"0123456789" * 100, data.index(b"Subject: large") + 300_000)
        file.write_bytes(data[:at] + b"#" * 100 + data[at + 100 :])
        store = cast(SQLMailStore, self.startStore())
        self.store = store
        account = self.wait(store.openAccount("A1"))
        inbox = self.wait(account.openMailbox("INBOX"))
        self.assertEqual(self.message(inbox, 2), b"To: alice\r\nSubject: small\r\n\r\nbody")
        found = self.findings()
        self.assertEqual([damage.where for damage in found], [CheckTests.everywhere(self)])

    def test_readingIsRefusedPolitely(self) -> None:
        """Who asks for what can't be read is told that the store is damaged, and the log why."""
        self.wait(self.store.stop())
        file = Path(self.path) / FILE
        data = file.read_bytes()
        root = (
            sqlite3.connect(file)
            .execute("SELECT rootpage FROM sqlite_schema WHERE name = 'entry'")
            .fetchone()[0]
        )
        size = int.from_bytes(data[16:18], "big")
        file.write_bytes(data[: (root - 1) * size] + b"\xff" * size + data[root * size :])
        self.store = self.startStore()
        account = self.wait(self.store.openAccount("A1"))
        inbox = self.wait(account.openMailbox("INBOX"))
        for call in (
            lambda: inbox.fetch(self.numbers(1), ()),
            lambda: inbox.changesSince(0),
            lambda: inbox.openMessage(1),
            lambda: inbox.expunge(None, False),
        ):
            error = self.assertFails(call(), MailError)
            self.assertIsInstance(error, StoreDamaged)
            self.assertEqual(error.text, "The stored data is damaged")
        self.assertTrue(self.findings())
