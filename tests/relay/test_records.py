"""
What the relay remembers over restarts.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.relay.mtasts import CachedPolicy
from twisted_mailstack.relay.records import RecordsProblem, RelayRecords
from twisted_mailstack.relay.tlsrpt import SUCCESS, ReportedPolicy, Session

NONE = ReportedPolicy("no-policy-found", "example.org")
STS = ReportedPolicy("sts", "example.org", ("mode: enforce", 'odd: "\u00e4'), ("mx.example.org",))


class RecordsTests(SynchronousTestCase):
    """
    The file.
    """

    def setUp(self) -> None:
        """No file yet."""
        self.path = Path(self.mktemp())
        self.records = self.open()

    def open(self) -> RelayRecords:
        """
        @return: the file, opened by another process as it were.
        """
        made = RelayRecords(self.path)
        self.addCleanup(made.close)
        return made

    def numbers(self, records: RelayRecords, day: str = "2026-10-31") -> dict[Session, int]:
        """
        @return: the counters of a day.
        """
        return dict(records.sessions(day))

    def test_policies(self) -> None:
        """A policy is kept as it came, the domain's last one, until it is forgotten."""
        self.assertIsNone(self.records.loadPolicy("example.org"))
        first = CachedPolicy("example.org", "1", 1000, b"version: STSv1\r\n\xff")
        self.records.savePolicy(first)
        self.records.savePolicy(CachedPolicy("other.test", "x", 1, b""))
        self.assertEqual(self.open().loadPolicy("example.org"), first)
        second = CachedPolicy("example.org", "2", 2000, b"")
        self.records.savePolicy(second)
        self.assertEqual(self.records.loadPolicy("example.org"), second)
        self.records.forgetPolicy("example.org")
        self.records.forgetPolicy("example.org")
        self.assertIsNone(self.open().loadPolicy("example.org"))
        self.assertIsNotNone(self.records.loadPolicy("other.test"))

    def test_counters(self) -> None:
        """Numbers are added to those that are there, whoever reads sees them, in any process."""
        success = Session("2026-10-31", "example.org", NONE, SUCCESS)
        failure = Session("2026-10-31", "example.org", STS, "x", "mx", "192.0.2.1", "why")
        self.records.addSessions({success: 2, failure: 1}, "")
        reader = self.open()
        self.assertEqual(self.numbers(reader), {success: 2, failure: 1})
        self.records.addSessions({success: 3}, "")
        self.assertEqual(self.numbers(reader), {success: 5, failure: 1})
        self.records.close()
        again = self.open()
        again.addSessions({success: 1}, "")
        self.assertEqual(self.numbers(again)[success], 6)

    def test_days(self) -> None:
        """Days are kept apart, and forgotten when nobody wants them any more."""
        for day in ("2026-11-01", "2026-10-30", "2026-10-31"):
            self.records.addSessions({Session(day, "example.org", NONE, SUCCESS): 1}, "")
        self.assertEqual(self.records.days(), ["2026-10-30", "2026-10-31", "2026-11-01"])
        self.records.addSessions({}, "2026-10-31")
        self.assertEqual(self.records.days(), ["2026-10-31", "2026-11-01"])

    def test_allOrNothing(self) -> None:
        """If some of them can't be added none is, and the next attempt works."""
        good = Session("2026-10-31", "example.org", NONE, SUCCESS)
        bad = good._replace(reason=object())  # type: ignore[arg-type]
        self.assertRaises(sqlite3.Error, self.records.addSessions, {good: 1, bad: 1}, "")
        self.assertEqual(self.numbers(self.records), {})
        self.records.addSessions({good: 1}, "")
        self.assertEqual(self.numbers(self.records), {good: 1})

    def test_readerDoesNotBlock(self) -> None:
        """Who reads at length, as a command may, doesn't keep the server from writing."""
        session = Session("2026-10-31", "example.org", NONE, SUCCESS)
        self.records.addSessions({session: 1, session._replace(domain="b.test"): 1}, "")
        reading = self.open().sessions("2026-10-31")
        next(reading)
        self.records.addSessions({session: 1}, "")
        self.assertEqual(len(list(reading)), 1)

    def test_anotherWriter(self) -> None:
        """A file that somebody else holds for long can't be written; later it can."""
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        session = Session("2026-10-31", "example.org", NONE, SUCCESS)
        self.records._database.execute("PRAGMA busy_timeout = 0")
        self.assertRaises(sqlite3.Error, self.records.addSessions, {session: 1}, "")
        other.execute("ROLLBACK")
        self.records.addSessions({session: 1}, "")
        self.assertEqual(self.numbers(self.records), {session: 1})

    def test_unusable(self) -> None:
        """A file that is something else, or can't be made, is named, and what is wrong."""
        path = Path(self.mktemp())
        path.write_bytes(b"no database" * 1000)
        for bad in (path, Path(self.mktemp()) / "missing" / "relay.sqlite"):
            error = self.assertRaises(RecordsProblem, RelayRecords, bad)
            self.assertIn(str(bad), str(error))

    def test_permissions(self) -> None:
        """Nobody else may read it, whatever the process's umask."""
        self.records.addSessions({}, "")
        for path in self.path.parent.glob(self.path.name + "*"):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_otherVersion(self) -> None:
        """A file of a later version isn't touched; it is said what to do."""
        self.records._database.execute("PRAGMA user_version = 2")
        error = self.assertRaises(RecordsProblem, RelayRecords, self.path)
        self.assertIn("delete it", str(error))
