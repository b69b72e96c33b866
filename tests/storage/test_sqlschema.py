"""
The schema: how an older database becomes a current one, and what is refused.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import StoreDamaged
from twisted_mailstack.storage.sql.schema import MIGRATIONS, upgrade
from twisted_mailstack.storage.sql.store import FILE

#: What a later release might do: a table, a column, and data moved.
NEXT = """
ALTER TABLE account ADD COLUMN locale TEXT NOT NULL DEFAULT '';
CREATE TABLE note (account INTEGER PRIMARY KEY, text TEXT NOT NULL);
INSERT INTO note SELECT account, local_part FROM account;
"""


def schema(connection: sqlite3.Connection) -> list[object]:
    """
    @return: all that is defined, and the version.
    """
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    return [*rows, connection.execute("PRAGMA user_version").fetchone()]


class UpgradeTests(SynchronousTestCase):
    """
    Migrations.
    """

    def setUp(self) -> None:
        """A current database with an account in it."""
        self.path = self.mktemp()
        self.connection = self.connect()
        upgrade(self.connection)
        self.connection.execute(
            "INSERT INTO account (domain, folded, local_part, uid_validity) VALUES"
            " ('example.test', 'alice', 'Alice', 1)"
        )

    def connect(self) -> sqlite3.Connection:
        """
        @return: a connection, closed after the test.
        """
        connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(connection.close)
        return connection

    def test_version(self) -> None:
        """The version is the number of migrations."""
        self.assertEqual(schema(self.connection)[-1], (len(MIGRATIONS),))

    def test_stepByStep(self) -> None:
        """A database that got each migration with its own release is like a new one."""
        self.path = self.mktemp()
        steps = self.connect()
        for number in range(1, len(MIGRATIONS) + 1):
            upgrade(steps, MIGRATIONS[:number])
            self.assertEqual(schema(steps)[-1], (number,))
        self.assertEqual(schema(steps), schema(self.connection))

    def test_upgrade(self) -> None:
        """An older database gets what it lacks, and keeps what it has."""
        upgrade(self.connection, (*MIGRATIONS, NEXT))
        self.assertEqual(schema(self.connection)[-1], (len(MIGRATIONS) + 1,))
        self.assertEqual(
            self.connection.execute(
                "SELECT local_part, locale, text FROM account NATURAL JOIN note"
            ).fetchall(),
            [("Alice", "", "Alice")],
        )

    def test_passwords(self) -> None:
        """Passwords of older databases are the accounts' main credentials; nobody else gets one."""
        self.path = self.mktemp()
        older = self.connect()
        upgrade(older, MIGRATIONS[:9])
        older.executescript(
            "INSERT INTO account (domain, folded, local_part, password, uid_validity) VALUES"
            " ('example.test', 'alice', 'alice', '$argon2id$\"it''s\"', 1),"
            " ('example.test', 'bob', 'bob', NULL, 1)"
        )
        upgrade(older)
        self.assertEqual(
            older.execute(
                "SELECT account, credential, kind, name, secrets, services, expires, last_used"
                " FROM credential"
            ).fetchall(),
            [(1, 1, "password", "", '{"argon2id":"$argon2id$\\"it\'s\\""}', None, None, None)],
        )
        self.assertEqual(
            older.execute("SELECT credentials FROM account ORDER BY account").fetchall(),
            [(1,), (0,)],
        )
        # They may be the fingerprint of a password: nothing keeps them besides.
        columns = [row[1] for row in older.execute("PRAGMA table_info (account)")]
        self.assertNotIn("password", columns)

    def test_again(self) -> None:
        """A current one is left alone: nothing is written, so it may be opened by many."""
        before = schema(self.connection)
        reader = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, isolation_level=None)
        self.addCleanup(reader.close)
        upgrade(reader)
        self.assertEqual(schema(self.connection), before)
        # Not even the writer's lock is taken.
        self.connection.execute("BEGIN IMMEDIATE")
        upgrade(self.connect())
        self.connection.execute("COMMIT")

    def test_oneTransaction(self) -> None:
        """Others see the old schema or the new one, nothing between."""
        seen: list[object] = []
        other = self.connect()

        def look(statement: str) -> None:
            if not statement.startswith(("BEGIN", "PRAGMA")):
                seen.append(schema(other)[-1])

        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.set_trace_callback(look)
        upgrade(self.connection, (*MIGRATIONS, NEXT))
        self.connection.set_trace_callback(None)
        self.assertEqual(set(seen), {(len(MIGRATIONS),)})
        self.assertEqual(schema(other)[-1], (len(MIGRATIONS) + 1,))

    def test_failing(self) -> None:
        """A migration that fails leaves the database as it was, of several the first, too."""
        before = schema(self.connection)
        for broken in ("CREATE TABLE account (x)", "INSERT INTO nowhere VALUES (1)", "nonsense"):
            self.assertRaises(
                sqlite3.OperationalError,
                upgrade,
                self.connection,
                (*MIGRATIONS, NEXT, f"CREATE TABLE a (b); {broken}"),
            )
            self.assertFalse(self.connection.in_transaction)
            self.assertEqual(schema(self.connection), before)
        upgrade(self.connection, (*MIGRATIONS, NEXT))

    def test_newer(self) -> None:
        """A database of a newer release is refused, and not touched; it is said why."""
        upgrade(self.connection, (*MIGRATIONS, NEXT))
        before = schema(self.connection)
        error = self.assertRaises(StoreDamaged, upgrade, self.connection)
        self.assertIn(f"version {len(MIGRATIONS) + 1}", error.text)
        self.assertIn(f"knows {len(MIGRATIONS)}", error.text)
        self.assertIn("newer release", error.text)
        self.assertEqual(schema(self.connection), before)

    def test_anotherProcessWasFaster(self) -> None:
        """Two that upgrade at the same time: the second finds it done."""
        later = (*MIGRATIONS, NEXT)
        other = self.connect()

        class Slow(sqlite3.Connection):
            def execute(self, statement: str, *arguments: object) -> sqlite3.Cursor:
                if statement == "BEGIN IMMEDIATE":
                    upgrade(other, later)
                return super().execute(statement, *arguments)

        connection = sqlite3.connect(self.path, isolation_level=None, factory=Slow)
        self.addCleanup(connection.close)
        upgrade(connection, later)
        self.assertEqual(schema(connection)[-1], (len(later),))


class OpeningTests(SQLStore, SynchronousTestCase):
    """
    What an operator is told when a store can't be opened.
    """

    def refused(self) -> str:
        """
        @return: why a second object for the store doesn't start.
        """
        store = self.makeStore()
        error = self.assertFails(store.start(), StoreDamaged)
        # It can be stopped all the same, and has left no lock.
        self.wait(store.stop())
        return error.text

    def test_newer(self) -> None:
        """The message names the file's version, and what to do."""
        self.store.reader.execute("PRAGMA query_only = 0")
        self.store.reader.execute("PRAGMA user_version = 99")
        self.assertIn("it was used with a newer release", self.refused())

    def test_noDatabase(self) -> None:
        """A file that is no database is named."""
        self.wait(self.store.stop())
        file = Path(self.path) / FILE
        file.write_bytes(b"This is no database." * 1000)
        text = self.refused()
        self.assertIn(str(file), text)
        self.assertIn("not a database", text)
        self.assertEqual(list((Path(self.path) / "locks").glob("*-*")), [])

    def test_noDirectory(self) -> None:
        """A path that can't be a directory is named, with the system's reason."""
        self.path = self.mktemp()
        Path(self.path).write_bytes(b"a file")
        text = self.refused()
        self.assertIn(self.path, text)
        self.assertIn("it is no directory", text)

    def test_missingParent(self) -> None:
        """Missing directories are made, for their owner alone."""
        self.path = f"{self.mktemp()}/a/b"
        store = self.startStore()
        self.wait(store.directory.addDomain("x.test"))
        for path in (Path(self.path), *Path(self.path).rglob("*")):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)
