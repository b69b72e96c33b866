"""
``mailstack tls-report``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.cli.support import CommandTestCase
from twisted_mailstack.relay.records import RelayRecords
from twisted_mailstack.relay.security import RECORDS_FILE
from twisted_mailstack.relay.tlsrpt import SUCCESS, ReportedPolicy, Session

STS = ReportedPolicy("sts", "example.org", ("version: STSv1", "mode: enforce"), ("*.example.org",))
NONE = ReportedPolicy("no-policy-found", "xn--bcher-kva.test")


class TLSReportTests(CommandTestCase):
    """
    What was counted, as JSON.
    """

    def setUp(self) -> None:
        """Somebody has counted, and goes on."""
        super().setUp()
        self.data.mkdir(parents=True)

    def count(self, day: str) -> RelayRecords:
        """
        @return: the open file, in which something was counted on a day.
        """
        records = RelayRecords(self.data / RECORDS_FILE)
        self.addCleanup(records.close)
        failed = Session(day, "example.org", STS, "certificate-expired", "mx.example.org", "::1")
        records.addSessions(
            {
                Session(day, "example.org", STS, SUCCESS): 5,
                failed: 2,
                Session(day, "xn--bcher-kva.test", NONE, SUCCESS): 1,
            },
            "2000-01-01",
        )
        return records

    def test_report(self) -> None:
        """
        Each domain has the policies of RFC 8460 §4.4, with the numbers of that day alone; while
        the server has the file open, and without an effect on what it counts.
        """
        records = self.count("2026-10-31")
        before = dict(records.sessions("2026-10-31"))
        records.addSessions({Session("2026-11-01", "example.org", STS, SUCCESS): 7}, "2000-01-01")
        found = json.loads(self.mailstack("tls-report", "2026-10-31"))
        self.assertEqual(list(found), ["example.org", "xn--bcher-kva.test"])
        [entry] = found["example.org"]
        self.assertEqual(
            entry["policy"],
            {
                "policy-type": "sts",
                "policy-domain": "example.org",
                "policy-string": ["version: STSv1", "mode: enforce"],
                "mx-host": ["*.example.org"],
            },
        )
        self.assertEqual(
            entry["summary"],
            {"total-successful-session-count": 5, "total-failure-session-count": 2},
        )
        self.assertEqual(
            entry["failure-details"],
            [
                {
                    "result-type": "certificate-expired",
                    "receiving-mx-hostname": "mx.example.org",
                    "receiving-ip": "::1",
                    "failed-session-count": 2,
                }
            ],
        )
        self.assertEqual(dict(records.sessions("2026-10-31")), before)

    def test_domain(self) -> None:
        """One domain's, by whichever way its name is written."""
        self.count("2026-10-31")
        for name in ("b\u00fccher.test", "XN--BCHER-KVA.test"):
            found = json.loads(self.mailstack("tls-report", "--domain", name, "2026-10-31"))
            self.assertEqual(list(found), ["xn--bcher-kva.test"])
        said = self.mailstack("tls-report", "--domain", "b.test", "2026-10-31", status=1)
        self.assertIn("nothing of b.test was counted on 2026-10-31", said)

    def test_days(self) -> None:
        """Reports are of the day before, unless another is named (RFC 8460 §4.1: days of UTC)."""
        today = datetime.now(UTC).date()
        yesterday = today - timedelta(1)
        records = self.count(str(yesterday))
        whole = self.mailstack("tls-report")
        self.assertEqual(self.mailstack("tls-report", "yesterday"), whole)
        self.assertEqual(self.mailstack("tls-report", str(yesterday)), whole)
        self.assertIn(f"was counted on {today} ", self.mailstack("tls-report", "today", status=1))
        self.assertEqual(self.mailstack("tls-report", "--days"), f"{yesterday}\n")
        records.addSessions({Session(str(today), "b.test", NONE, SUCCESS): 1}, "2000-01-01")
        self.assertEqual(self.mailstack("tls-report", "--days"), f"{yesterday}\n{today}\n")

    def test_notADay(self) -> None:
        """What is no day is refused, with how one is written."""
        for text in ("2026-02-30", "31.10.2026", "tomorrow", ""):
            said = self.mailstack("tls-report", text, status=2)
            self.assertIn("a day like 2026-10-31, today or yesterday", said)

    def test_nothing(self) -> None:
        """A day without connections is told, with the days that there are."""
        self.count("2026-10-31")
        said = self.mailstack("tls-report", "2026-10-30", status=1)
        self.assertIn("nothing was counted on 2026-10-30 (there are 2026-10-31)", said)

    def test_neverRelayed(self) -> None:
        """Where there never was relaying nothing is made, and what to do is said."""
        said = self.mailstack("tls-report", status=1)
        self.assertIn(f"there is no {self.data / RECORDS_FILE}", said)
        self.assertIn("relay.enabled", said)
        self.assertEqual(list(Path(self.data).iterdir()), [])

    def test_damaged(self) -> None:
        """A file that is something else is named."""
        (self.data / RECORDS_FILE).write_bytes(b"no database at all\n" * 100)
        said = self.mailstack("tls-report", status=1)
        self.assertIn(str(self.data / RECORDS_FILE), said)
