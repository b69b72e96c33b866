"""
A table of users in a database.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from zope.interface.verify import verifyObject

from tests.auth.checkers.support import ALICE, BOB, NOBODY, SourceTestCase
from twisted_mailstack.auth.checkers.source import SourceProblem
from twisted_mailstack.auth.checkers.sql import SQLSettings, SQLSource, adapt
from twisted_mailstack.auth.passwords import verifyPassword
from twisted_mailstack.interfaces import IPasswordSource
from twisted_mailstack.model.address import Address

QUERY = "SELECT hash FROM users WHERE name = :name AND domain = :domain"


class SQLTests(SourceTestCase):
    """
    L{SQLSource} with a file of SQLite.
    """

    def setUp(self) -> None:
        """Alice has a hash, Bob none, Eve what is none, and two rows are Twice's."""
        super().setUp()
        self.watchLog()
        self.path = Path(self.mktemp())
        self.fill(self.path, "{PLAIN}secret")
        self.source = self.make(QUERY)

    def fill(self, path: Path, hashed: str) -> None:
        """
        Make a database.
        """
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE users (name TEXT, domain TEXT, hash)")
            database.executemany(
                "INSERT INTO users VALUES (?, 'example.test', ?)",
                [
                    ("alice", hashed),
                    ("bob", None),
                    ("eve", "what is this"),
                    ("blob", b"{PLAIN}secret"),
                    *[("twice", hashed)] * 2,
                ],
            )
        database.close()

    def make(self, query: str, **more: Any) -> SQLSource:
        """
        @return: a source that asks so.
        """
        settings = SQLSettings(query=query, arguments={"database": str(self.path)}, **more)
        source = SQLSource(settings, self.services)
        self.run_(source.start())
        self.addCleanup(lambda: self.run_(source.stop()))
        return source

    def test_interface(self) -> None:
        """It is a source of passwords."""
        verifyObject(IPasswordSource, self.source)

    def test_right(self) -> None:
        """The hash of the row verifies the password; it may be text or octets."""
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.assertIs(self.ask(self.source, ALICE, "wrong"), False)
        self.assertIs(self.ask(self.source, Address("blob", "example.test"), "secret"), True)

    def test_unknown(self) -> None:
        """No row, no hash, what is none and two rows: no, after one hash as for a wrong one."""
        for address in (NOBODY, BOB, Address("eve", "example.test"), Address("alice", "b.test")):
            self.hasher.asked.clear()
            self.assertIs(self.ask(self.source, address, "secret"), False)
            self.assertEqual(self.hasher.asked, [None])
        self.assertIs(self.ask(self.source, Address("twice", "example.test"), "secret"), False)
        first, second = self.logged()
        self.assertIn("eve@example.test: The scheme of the password isn't known", first)
        self.assertIn("more than one row for twice@example.test", second)

    def test_decoy(self) -> None:
        """An unknown name takes a hash of the kind that the others have, which is nobody's."""
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.hasher.asked.clear()
        self.assertIs(self.ask(self.source, NOBODY, "secret"), False)
        (decoy,) = self.hasher.asked
        assert decoy is not None
        self.assertTrue(decoy.startswith("{PLAIN}"))
        self.assertFalse(verifyPassword(decoy, b"secret"))

    def test_injection(self) -> None:
        """What is in a name is never SQL."""
        name = Address("x' OR 'a'='a", "example.test")
        self.assertIs(self.ask(self.source, name, "secret"), False)

    def test_address(self) -> None:
        """:address is the whole of it; a name may stand twice, and texts have colons."""
        source = self.make(
            "SELECT hash, ':nothing' FROM users"
            " WHERE name || '@' || domain = :address AND :address LIKE '%' -- :comment"
        )
        self.assertIs(self.ask(source, ALICE, "secret"), True)
        self.assertIs(self.ask(source, NOBODY, "secret"), False)

    def test_seenAtOnce(self) -> None:
        """A change of the database, and another in its place, hold for the next login."""
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        with sqlite3.connect(self.path) as database:
            database.execute("UPDATE users SET hash = '{PLAIN}new' WHERE name = 'alice'")
        database.close()
        self.assertIs(self.ask(self.source, ALICE, "secret"), False)
        self.assertIs(self.ask(self.source, ALICE, "new"), True)
        other = Path(self.mktemp())
        self.fill(other, "{PLAIN}third")
        other.replace(self.path)
        self.assertIs(self.ask(self.source, ALICE, "third"), True)

    def test_readOnly(self) -> None:
        """The query can't change anything."""
        source = self.make("DELETE FROM users WHERE name = :name")
        self.assertIsNone(self.ask(source, ALICE, "secret"))
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)

    def test_down(self) -> None:
        """A file that isn't there, or is none of SQLite, is no answer; it isn't made."""
        self.path.unlink()
        self.assertIsNone(self.ask(self.source, ALICE, "secret"))
        self.assertFalse(self.path.exists())
        self.path.write_bytes(b"no database" * 100)
        self.assertIsNone(self.ask(self.source, ALICE, "secret"))
        self.assertEqual(len(self.logged()), 2)

    def test_noTable(self) -> None:
        """A query that the database doesn't understand is no answer."""
        source = self.make("SELECT hash FROM elsewhere WHERE name = :name")
        self.assertIsNone(self.ask(source, ALICE, "secret"))
        self.assertIn("no such table: elsewhere", self.logged()[0])

    def test_slow(self) -> None:
        """What takes too long is no answer."""
        self.threads.held = []
        result = self.begin(self.source.verify(ALICE, b"secret"))
        self.clock.advance(10)
        self.failureResultOf(result)

    def test_settings(self) -> None:
        """What can't be used is told when it is read."""
        where = {"database": "x"}
        for given, text in (
            ({"query": ""}, "query must be the SQL"),
            ({"query": "SELECT 1", "arguments": where}, "query must ask for :address"),
            (
                {"query": "SELECT 1 WHERE :user", "arguments": where},
                "query: there is no parameter :user",
            ),
            ({"query": QUERY}, "arguments must name the file"),
        ):
            problem = self.assertRaises(SourceProblem, SQLSettings, **given)
            self.assertIn(text, str(problem))
        settings = SQLSettings(module="no_such_driver", query=QUERY)
        problem = self.assertRaises(SourceProblem, SQLSource, settings, self.services)
        self.assertIn("there is no no_such_driver", str(problem))


class AdaptTests(SourceTestCase):
    """
    L{adapt}.
    """

    def test_styles(self) -> None:
        """Each style of PEP 249 gets what it wants; what only looks like a parameter stays."""
        query = "SELECT a::text, ':name', \":name\" FROM u WHERE n = :name AND d LIKE '%' || :name"
        head = "SELECT a::text, ':name', \":name\" FROM u WHERE n = "
        values = {"name": "x", "address": "y"}
        for style, text, given in (
            ("named", query, values),
            ("qmark", f"{head}? AND d LIKE '%' || ?", ("x", "x")),
            ("numeric", f"{head}:1 AND d LIKE '%' || :2", ("x", "x")),
            ("format", f"{head}%s AND d LIKE '%%' || %s", ("x", "x")),
            ("pyformat", f"{head}%(name)s AND d LIKE '%%' || %(name)s", values),
        ):
            adapted, make = adapt(query, style)
            self.assertEqual((adapted, make(values)), (text, given), style)
        self.assertRaises(SourceProblem, adapt, query, "guess")


class DriverTests(SourceTestCase):
    """
    L{SQLSource} with another driver.
    """

    def setUp(self) -> None:
        """A driver with parameters in the style of format, whose connections break."""
        super().setUp()
        self.watchLog()
        self.connected: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.broken: set[int] = set()
        test = self

        class Connection:
            def __init__(self) -> None:
                self.number = len(test.connected)

            def cursor(self) -> Connection:
                if self.number in test.broken:
                    raise RuntimeError("server has gone away")
                return self

            def execute(self, query: str, values: Any) -> None:
                test.log.append(f"{query} {values}")

            def fetchmany(self, most: int) -> list[tuple[str]]:
                return [("{PLAIN}secret",)]

            def close(self) -> None:
                test.log.append("close")

            def rollback(self) -> None:
                test.log.append("rollback")

        module: Any = ModuleType("fake_driver")
        module.paramstyle = "format"

        def connect(**arguments: Any) -> Connection:
            test.connected.append(arguments)
            return Connection()

        module.connect = connect
        self.patch(sys, "modules", {**sys.modules, "fake_driver": module})
        secret = Path(self.mktemp())
        secret.write_text("data base\n")
        self.source = SQLSource(
            SQLSettings(
                module="fake_driver",
                arguments={"host": "db"},
                passwordFile=str(secret),
                query="SELECT h FROM u WHERE n = :name",
            ),
            self.services,
        )

    def test_connection(self) -> None:
        """
        It is made with the arguments and the password of the file, used again, and holds no
        transaction open.
        """
        for _ in range(2):
            self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.assertEqual(self.connected, [{"host": "db", "password": "data base"}])
        asked = "SELECT h FROM u WHERE n = %s ('alice',)"
        # A cursor is the connection here, and is closed.
        self.assertEqual(self.log, [asked, "close", "rollback"] * 2)

    def test_broken(self) -> None:
        """A connection that broke meanwhile is made anew, once; if that breaks, too, no answer."""
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.broken = {1}
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.assertEqual(len(self.connected), 2)
        self.broken = {2, 3}
        self.assertIsNone(self.ask(self.source, ALICE, "secret"))
        self.assertEqual(len(self.connected), 3)
        self.assertIn("server has gone away", self.logged()[0])
