"""
The search index of the SQL store: it never hides a match, whatever happens to it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import MailError
from twisted_mailstack.interfaces import IMailbox, IMailStore
from twisted_mailstack.model.message import summarise
from twisted_mailstack.model.mime import unpackStructure
from twisted_mailstack.model.records import SMALL_MESSAGE, Placement
from twisted_mailstack.model.searchtext import headerTexts
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.model.text import fold, partText
from twisted_mailstack.storage.sql import index
from twisted_mailstack.storage.sql.index import AccountIndex
from twisted_mailstack.storage.sql.indexer import DELAY
from twisted_mailstack.storage.sql.store import SQLMailStore
from twisted_mailstack.testing import contracts


class IndexedStore(SQLStore):
    """
    Makes stores with indexes.
    """

    def makeStore(self) -> IMailStore:
        """See the contract."""
        return SQLMailStore(
            self.place(), self.clock, self.calls.callFromThread, now=self.now, index=True
        )


class IndexedSearchableTests(
    IndexedStore, contracts.SearchableMailboxContract, SynchronousTestCase
):
    """Candidates."""


class PlainSearchableTests(SQLStore, contracts.SearchableMailboxContract, SynchronousTestCase):
    """Candidates, of a store without indexes."""


class IndexedAccountTests(IndexedStore, contracts.SearchableAccountContract, SynchronousTestCase):
    """Candidates of all mailboxes."""

    def test_indexed(self) -> None:
        """What is indexed and doesn't match is no candidate; what isn't indexed yet is."""
        inbox, other = self.mailbox("INBOX"), self.mailbox("other")
        for mailbox in (inbox, other):
            self.append(mailbox, b"Subject: x\r\n\r\nbeta\r\n")
        self.append(inbox, b"Subject: x\r\n\r\nalpha\r\n")
        account: Any = self.account
        self.assertIsNone(self.wait(account.candidates(["alpha"])))
        store: Any = self.store
        connection = store.connect()
        self.addCleanup(connection.close)
        AccountIndex(Path(self.path), account.number).update(connection)
        self.append(other, b"Subject: x\r\n\r\ngamma\r\n")
        found = self.wait(account.candidates(["alpha"]))
        self.assertEqual(found[inbox.mailboxId], NumberSet.of([2]))
        self.assertEqual(found[other.mailboxId], NumberSet.of([2]))


class PlainAccountTests(SQLStore, contracts.SearchableAccountContract, SynchronousTestCase):
    """Candidates of all mailboxes, of a store without indexes."""


class IndexedMailboxTests(IndexedStore, contracts.MailboxContract, SynchronousTestCase):
    """Mailboxes, with an index kept up."""


class IndexTests(IndexedStore, SynchronousTestCase):
    """
    What is a candidate, at each moment of an index's life.
    """

    store: Any

    def setUp(self) -> None:
        """INBOX has nothing yet, and nothing is indexed unless a test says so."""
        super().setUp()
        self.inbox: Any = self.mailbox("INBOX")
        self.account: Any
        self.index = AccountIndex(Path(self.path), self.account.number)

    def update(self, rebuild: bool = False) -> None:
        """
        Index all there is.
        """
        self.wait(self.store.updateIndexes([self.account.accountId], rebuild))

    def candidates(
        self, *texts: str, inHeader: bool = True, inBody: bool = True, box: IMailbox | None = None
    ) -> list[int] | None:
        """
        @return: UIDs, C{None} for all.
        """
        found: NumberSet | None = self.wait(
            (box or self.inbox).candidates(texts, inHeader, inBody)  # type: ignore[union-attr]
        )
        return None if found is None else found.select(range(1, 1000))

    def test_substrings(self) -> None:
        """The messages that have all texts; in the header, in the body, or anywhere."""
        self.append(self.inbox, b"Subject: Alpha\r\n\r\nbeta gamma\r\n")
        self.append(self.inbox, b"Subject: beta\r\n\r\nalpha delta\r\n")
        self.append(self.inbox, b"Subject: other\r\n\r\nnothing\r\n")
        self.update()
        self.assertEqual(self.candidates("alpha"), [1, 2])
        self.assertEqual(self.candidates("ALPHA", inBody=False), [1])
        self.assertEqual(self.candidates("alpha", inHeader=False), [2])
        self.assertEqual(self.candidates("alpha", "gamma"), [1])
        self.assertEqual(self.candidates("ta gam"), [1])
        self.assertEqual(self.candidates("epsilon"), [])

    def test_short(self) -> None:
        """Texts of less than three characters say nothing."""
        self.append(self.inbox, b"Subject: ab\r\n\r\n")
        self.update()
        for text in ("", "a", "ab"):
            self.assertEqual(self.candidates(text), None)
        self.assertEqual(self.candidates("a", "subject"), [1])

    def test_folded(self) -> None:
        """Length may change by folding: sharp s, dotted I, ligatures, marks."""
        body = "Stra\u00dfe \u0130stanbul \ufb01ne caf\u00e9 \u1e9e"
        self.append(self.inbox, f"Subject: x\r\n\r\n{body}\r\n".encode())
        self.append(self.inbox, b"Subject: y\r\n\r\nz\r\n")
        self.update()
        for text in ("strasse", "STRA\u00dfE", "\u0130st", "fine", "cafe\u0301", "CAF\u00c9"):
            self.assertEqual(self.candidates(text), [1], text)
        # Two characters that are three once they are folded.
        self.assertEqual(self.candidates("a\u00df"), [1])

    def test_specialCharacters(self) -> None:
        """Quotes, operators and wild cards of the index's own language are characters."""
        self.append(self.inbox, b'Subject: x\r\n\r\nsay "no" AND (not*) ^col:umn a-b\r\n')
        self.update()
        for text in ('"no"', "AND", "(not*)", "^col:", "a-b", '" A'):
            self.assertEqual(self.candidates(text), [1], text)
        for text in ("no OR x", '""""', "NEAR(a)", "umn*"):
            self.assertEqual(self.candidates(text), [], text)

    def test_strangeCharacters(self) -> None:
        """A NUL ends no text, and characters beyond the first plane are characters."""
        body = "before\0behind \U0001f600\U0001f601\U0001f602 \ufffe\uffff."
        self.append(self.inbox, f"Subject: x\r\n\r\n{body}\r\n".encode())
        self.update()
        for text in ("before", "behind", "\U0001f600\U0001f601\U0001f602", "\ufffe\uffff."):
            self.assertEqual(self.candidates(text), [1], text)
        self.append(self.inbox, b"Subject: in\0side\r\n\r\n")
        self.update()
        self.assertEqual(self.candidates("side"), [2])

    def test_everywhere(self) -> None:
        """A text that most messages have says nothing; with another one, that one counts."""
        self.patch(index, "FEW", 3)
        for number in range(20):
            self.append(self.inbox, b"Subject: alpha%02d\r\n\r\n" % number)
        self.update()
        self.assertEqual(self.candidates("alpha"), None)
        self.assertEqual(self.candidates("alpha", "a17"), [18])
        self.assertEqual(self.candidates("a03"), [4])

    def test_new(self) -> None:
        """What isn't indexed yet is a candidate."""
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.append(self.inbox, b"Subject: beta\r\n\r\n")
        self.update()
        self.append(self.inbox, b"Subject: gamma\r\n\r\n")
        self.assertEqual(self.candidates("alpha"), [1, 3])
        self.update()
        self.assertEqual(self.candidates("alpha"), [1])

    def test_whileItIsBuilt(self) -> None:
        """After each slice, all that match are candidates."""
        for number in range(20):
            self.append(self.inbox, b"Subject: %s\r\n\r\n" % (b"alpha" if number % 3 else b"beta"))
        matching = {uid for uid in range(1, 21) if (uid - 1) % 3}
        self.patch(index, "SLICE", 3)
        seen = set()
        connection = self.store.connect()
        self.addCleanup(connection.close)
        while self.index.update(connection):
            found = self.candidates("alpha")
            assert found is not None
            self.assertEqual(matching - set(found), set())
            seen.add(len(found))
        self.assertEqual(set(self.candidates("alpha") or ()), matching)
        self.assertTrue(len(seen) > 3)

    def test_mailboxes(self) -> None:
        """An account has one index; copied and moved messages need nothing new."""
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.append(self.inbox, b"Subject: beta\r\n\r\n")
        self.update()
        other = self.mailbox("other")
        self.wait(self.inbox.copyMessages(NumberSet.of([2]), other))
        self.wait(self.inbox.moveMessages(NumberSet.of([1]), other))
        self.assertEqual(self.candidates("alpha", box=other), [2])
        self.assertEqual(self.candidates("beta", box=other), [1])
        self.assertEqual(self.candidates("alpha"), [])
        bob: Any = self.mailbox("INBOX", self.addAccount("bob"))
        self.append(bob, b"Subject: alpha\r\n\r\n")
        self.assertEqual(self.wait(bob.candidates(["nothing"])), None)

    def test_expunged(self) -> None:
        """What is gone is found by nobody; an index with much of it is made anew."""
        self.patch(index, "MAX_GONE", 3)
        for _ in range(12):
            self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.append(self.inbox, b"Subject: beta\r\n\r\n")
        self.update()
        self.wait(self.inbox.expunge(NumberSet.of(range(1, 13)), False))
        self.assertEqual(self.candidates("alpha"), [])
        self.append(self.inbox, b"Subject: gamma\r\n\r\n")
        self.append(self.inbox, b"Subject: gamma\r\n\r\n")
        before = self.rows()
        self.wait(self.inbox.expunge(NumberSet.of([14]), False))
        self.update()
        self.assertTrue(self.rows() < before)
        self.assertEqual(self.candidates("beta"), [13])
        self.assertEqual(self.candidates("gamma"), [15])

    def rows(self) -> int:
        """
        @return: how many documents are indexed.
        """
        connection = sqlite3.connect(self.index.file)
        (count,) = connection.execute(
            "SELECT count(*) FROM document WHERE document MATCH 'sub'"
        ).fetchone()
        connection.close()
        return int(count)

    def test_prefix(self) -> None:
        """The lines that were put in front of a message are part of its header."""
        self.deliver(
            b"Subject: x\r\n\r\nbody\r\n",
            Placement(self.account.accountId, "INBOX", b"Delivered-To: alice\r\n"),
        )
        self.update()
        self.assertEqual(self.candidates("delivered-to: alice", inBody=False), [1])
        self.assertEqual(self.candidates("body", inHeader=False), [1])

    def test_parts(self) -> None:
        """Names of attachments and enclosed headers belong to the body."""
        self.append(
            self.inbox,
            b"Subject: outer\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
            b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninnertext\r\n"
            b"--b\r\nContent-Type: image/png\r\n"
            b"Content-Disposition: attachment; filename*=utf-8''caf%C3%A9.png\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n",
        )
        self.update()
        for text in ("subject: inner", "innertext", "caf\u00e9.png"):
            self.assertEqual(self.candidates(text, inHeader=False), [1], text)
            self.assertEqual(self.candidates(text, inBody=False), [], text)
        self.assertEqual(self.candidates("subject: outer", inHeader=False), [])

    def test_large(self) -> None:
        """A large message is indexed; a huge one is always a candidate."""
        self.append(
            self.inbox, b"Subject: large\r\n\r\n" + b"x" * SMALL_MESSAGE * 2 + b"needle\r\n"
        )
        self.append(self.inbox, b"Subject: huge\r\n\r\n" + b"y " * index.MAX_INDEXED)
        self.append(self.inbox, b"Subject: marks\r\n\r\n" + "\u0301".encode() * 300_000)
        self.update()
        self.assertEqual(self.candidates("needle"), [1, 2, 3])
        self.assertEqual(self.candidates("nowhere"), [2, 3])

    def test_damagedMessage(self) -> None:
        """A message that can't be read doesn't keep the others from being indexed."""
        for number in range(3):
            self.append(self.inbox, b"Subject: alpha%d\r\n\r\n" % number)
        connection = self.store.connect()
        connection.execute("DELETE FROM chunk WHERE piece / 65536 = 2")
        connection.execute("UPDATE content SET structure = '[' WHERE content = 3")
        connection.close()
        self.update()
        self.assertEqual(self.candidates("alpha0"), [1, 2, 3])
        self.assertEqual(self.candidates("beta"), [2, 3])

    def test_damagedIndex(self) -> None:
        """A damaged file hides nothing, and is made anew in the background."""
        for number in range(30):
            self.append(self.inbox, b"Subject: alpha%d\r\n\r\nbody\r\n" % number)
        self.update()
        self.assertEqual(self.candidates("alpha17"), [18])
        octets = bytearray(self.index.file.read_bytes())
        octets[1024:] = b"\xff" * (len(octets) - 1024)
        self.index.file.write_bytes(octets)
        self.assertEqual(self.candidates("alpha17"), None)
        self.waitUntil(lambda: self.candidates("alpha17") == [18])
        self.index.file.write_bytes(b"this is no database at all, is it?" * 100)
        self.assertEqual(self.candidates("alpha17"), None)
        self.waitUntil(lambda: self.candidates("alpha17") == [18])
        self.assertSound()

    def test_otherVersion(self) -> None:
        """An index of another release, or of another Unicode, isn't used, but made anew."""
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.update()
        connection = sqlite3.connect(self.index.file)
        connection.execute("UPDATE state SET version = '0'")
        connection.commit()
        connection.close()
        self.assertEqual(self.candidates("beta"), None)
        self.update()
        self.assertEqual(self.candidates("beta"), [])

    def test_restoredDatabase(self) -> None:
        """An index that is newer than the database isn't used: the ids may be others'."""
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.update()
        connection = self.store.connect()
        connection.execute("UPDATE account SET mod_seq = mod_seq - 1")
        self.assertEqual(self.candidates("beta"), None)
        connection.execute("UPDATE account SET mod_seq = mod_seq + 1, next_id = 2")
        self.assertEqual(self.candidates("beta"), None)
        connection.execute("UPDATE account SET next_id = 1000")
        self.assertEqual(self.candidates("beta"), [])
        # Others have come since, as many.
        connection.execute("UPDATE content SET checksum = checksum + 1")
        self.assertEqual(self.candidates("beta"), None)
        connection.close()

    def test_background(self) -> None:
        """Some time after a delivery it is indexed, without anybody asking."""
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.assertEqual(self.candidates("beta"), None)
        self.waitUntil(lambda: self.candidates("beta") == [])
        self.append(self.inbox, b"Subject: gamma\r\n\r\n")
        self.assertEqual(self.candidates("beta"), [2])
        self.waitUntil(lambda: self.candidates("beta") == [])

    def test_restart(self) -> None:
        """A store that is started goes on where the last one stopped; files of nobody go."""
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.update()
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.wait(self.store.stop())
        nobody = AccountIndex(Path(self.path), 999)
        nobody.file.write_bytes(b"")
        self.store = self.startStore()
        self.inbox = self.wait(
            self.wait(self.store.openAccount(self.account.accountId)).openMailbox("INBOX")
        )
        self.assertEqual(self.candidates("beta"), [2])
        self.waitUntil(lambda: self.candidates("beta") == [])
        self.assertFalse(nobody.file.exists())

    def test_removedAccount(self) -> None:
        """An index goes with its account."""
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.update()
        self.wait(self.store.directory.removeAccount(self.address("alice")))
        self.waitUntil(lambda: not self.index.file.exists())

    def test_stopped(self) -> None:
        """A store that stops leaves no work behind."""
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.wait(self.store.stop())
        self.calls.run()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(2 * DELAY)

    def test_interrupted(self) -> None:
        """A slice that ends amidst leaves the index as it was, and is made again."""
        for number in range(5):
            self.append(self.inbox, b"Subject: alpha%d\r\n\r\n" % number)
        self.patch(index, "SLICE", 2)
        connection = self.store.connect()
        self.addCleanup(connection.close)
        self.index.update(connection)
        found = index._documents
        seen: list[int] = []

        def broken(database: sqlite3.Connection, content: int, *row: Any) -> Any:
            seen.append(content)
            if content == 4 and seen.count(4) == 1:
                raise RuntimeError("the power fails")
            return found(database, content, *row)

        self.patch(index, "_documents", broken)
        self.assertRaises(RuntimeError, self.index.update, connection)
        self.assertEqual(self.candidates("beta"), [3, 4, 5])
        self.update()
        self.assertEqual(self.candidates("beta"), [])
        self.assertEqual(self.candidates("alpha3"), [4])
        self.assertSound()

    def test_brokenIndexer(self) -> None:
        """A defect in the indexer is logged, and keeps nobody from finding anything."""
        with patch.object(index, "_documents", lambda *_: 1 // 0):
            self.append(self.inbox, b"Subject: alpha\r\n\r\n")
            self.waitUntil(lambda: self.flushLoggedErrors(ZeroDivisionError))
        self.assertEqual(self.candidates("alpha"), None)
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.waitUntil(lambda: self.candidates("beta") == [])

    def test_busy(self) -> None:
        """While another process is about it, it is left alone and can be read."""
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.update()
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        other = sqlite3.connect(self.index.file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        error = self.assertFails(self.store.updateIndexes([self.account.accountId]), Exception)
        self.assertIn("locked", str(error))
        self.assertEqual(self.candidates("beta"), [2])
        other.execute("COMMIT")
        other.close()
        self.update()
        self.assertEqual(self.candidates("beta"), [])

    def test_check(self) -> None:
        """A check finds an index that hides messages, and says what to do."""
        for _ in range(3):
            self.append(self.inbox, b"Subject: alpha\r\n\r\nbody\r\n")
        self.update()
        self.assertSound()
        connection = sqlite3.connect(self.index.file)
        connection.execute("UPDATE state SET up_to = up_to + 100")
        connection.commit()
        connection.close()
        with patch.object(self.store.indexer, "changed"):
            self.append(self.inbox, b"Subject: gamma\r\n\r\n")
            connection = self.store.connect()
            connection.execute("UPDATE account SET next_id = next_id + 200")
            connection.close()
            (damage,) = self.wait(self.store.check())
        self.assertIn("mailstack index --rebuild", damage.what)
        self.update(rebuild=True)
        self.assertEqual(self.wait(self.store.check()), [])

    def test_notSupported(self) -> None:
        """A SQLite that can't index doesn't keep the store from starting, and nothing is hidden."""
        self.wait(self.store.stop())
        with patch.object(index, "_TABLES", ("", "", "CREATE VIRTUAL TABLE t USING nothing")):
            self.store = self.startStore()
            account = self.wait(self.store.openAccount(self.account.accountId))
            self.inbox = self.wait(account.openMailbox("INBOX"))
            self.append(self.inbox, b"Subject: alpha\r\n\r\n")
            self.assertEqual(self.candidates("alpha"), None)
            error = self.assertFails(self.store.updateIndexes([account.accountId]), MailError)
            self.assertIn("SQLite", error.text)

    def test_permissions(self) -> None:
        """Others on the machine can't read what is in the mail."""
        self.append(self.inbox, b"Subject: alpha\r\n\r\n")
        self.update()
        self.assertEqual(self.index.file.stat().st_mode & 0o077, 0)
        self.assertEqual(self.index.file.parent.stat().st_mode & 0o077, 0)


_CHARACTERS = st.one_of(
    st.sampled_from(
        "abcABC \u00df\u0130\u0131\u0301\u0327\u00e9\ufb01\u1e9e\u03a3\u03c2\u00c5\u212b"
    ),
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n\0"),
)
_TEXTS = st.text(_CHARACTERS, max_size=12)


class PropertyTests(IndexedStore, SynchronousTestCase):
    """
    Whatever is in messages and whatever is searched for, no match is hidden.
    """

    def test_nothingIsHidden(self) -> None:
        """Each message in which the text occurs, as searches compare it, is a candidate."""
        inbox: Any = self.mailbox("INBOX")
        self.store: Any
        account: Any = self.account
        stored: dict[int, bytes] = {}

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(st.tuples(_TEXTS, _TEXTS), min_size=1, max_size=3), st.data())
        def check(messages: list[tuple[str, str]], data: st.DataObject) -> None:
            for subject, body in messages:
                octets = (
                    f"Subject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                    f"\r\n{body}\r\n"
                ).encode()
                stored[self.append(inbox, octets)] = octets
            self.wait(self.store.updateIndexes([account.accountId]))
            source = data.draw(st.sampled_from([text for pair in messages for text in pair]))
            if source and data.draw(st.booleans()):
                begin = data.draw(st.integers(0, len(source) - 1))
                wanted = source[begin : data.draw(st.integers(begin, len(source)))]
            else:
                wanted = data.draw(_TEXTS)
            if data.draw(st.booleans()):
                wanted = wanted.swapcase()
            for inHeader, inBody in ((True, False), (False, True), (True, True)):
                found = self.wait(inbox.candidates([wanted], inHeader, inBody))
                if found is None:
                    self.assertTrue(len(fold(wanted)) < 3)
                    continue
                for uid, octets in stored.items():
                    if uid not in found:
                        self.assertFalse(occurs(octets, wanted, inHeader, inBody), (wanted, octets))

        check()


def occurs(octets: bytes, wanted: str, inHeader: bool, inBody: bool) -> bool:
    """
    @return: whether the text occurs, as a search without an index finds it.
    """
    root = unpackStructure(summarise(octets).structure)
    texts = list(headerTexts(octets[: root.bodyOffset], root)) if inHeader else []
    texts += [partText(octets[root.bodyOffset :], root)] if inBody else []
    return any(fold(wanted) in fold(text) for text in texts)
