"""
Counters of TLS reports (RFC 8460), and what a report has of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.relay import tlsrpt
from twisted_mailstack.relay.tlsrpt import (
    GATHER,
    SUCCESS,
    ReportedPolicy,
    Session,
    SessionCounter,
    dayOf,
    reportPolicies,
)

NONE = ReportedPolicy("no-policy-found", "example.org")
STS = ReportedPolicy(
    "sts",
    "example.org",
    ("version: STSv1", "mode: enforce", "mx: *.example.org"),
    ("*.example.org",),
)
TLSA = ReportedPolicy("tlsa", "mx.example.net", ("_25._tcp.mx.example.net. IN TLSA 3 1 1 AA",))
#: A moment of 2026-10-31, two seconds before midnight UTC.
EVENING = 1793491198.0


class Counters:
    """
    Durable ones, as long as the test.
    """

    def __init__(self) -> None:
        self.numbers: dict[Session, int] = {}
        self.calls = 0
        self.broken = False
        self.keepFrom = ""

    def addSessions(self, counted: Mapping[Session, int], keepFrom: str) -> None:
        """See ISessionCounters."""
        self.calls += 1
        if self.broken:
            raise OSError("disk full")
        self.keepFrom = keepFrom
        for session, number in counted.items():
            self.numbers[session] = self.numbers.get(session, 0) + number

    def sessions(self, day: str) -> Iterator[tuple[Session, int]]:
        """See ISessionCounters."""
        return ((each, n) for each, n in self.numbers.items() if each.day == day)


class CounterTests(SynchronousTestCase):
    """
    Counting.
    """

    def setUp(self) -> None:
        """Nothing counted yet."""
        self.clock = Clock()
        self.counters = Counters()
        self.time = EVENING
        self.counter = SessionCounter(self.counters, self.clock, lambda: self.time)

    def test_gathered(self) -> None:
        """What is counted becomes durable after some seconds, all in one step."""
        for _ in range(3):
            self.counter.count("example.org", NONE, SUCCESS)
        self.counter.count(
            "example.org", STS, "certificate-expired", "mx.example.org", "192.0.2.1", "over"
        )
        self.assertEqual(self.counters.calls, 0)
        self.clock.advance(GATHER)
        self.assertEqual(
            self.counters.numbers,
            {
                Session("2026-10-31", "example.org", NONE, SUCCESS): 3,
                Session(
                    *("2026-10-31", "example.org", STS, "certificate-expired"),
                    *("mx.example.org", "192.0.2.1", "over"),
                ): 1,
            },
        )
        self.assertEqual((self.counters.calls, self.clock.getDelayedCalls()), (1, []))

    def test_successes(self) -> None:
        """Of successes only the number is of interest, not at which host."""
        self.counter.count("example.org", NONE, SUCCESS, "mx1.example.org", "192.0.2.1")
        self.counter.count("example.org", NONE, SUCCESS, "mx2.example.org", "192.0.2.2")
        self.counter.flush()
        self.assertEqual(list(self.counters.numbers.values()), [2])

    def test_end(self) -> None:
        """At the end all is made durable, and no timer is left."""
        self.counter.count("example.org", NONE, SUCCESS)
        self.counter.flush()
        self.assertEqual(list(self.counters.numbers.values()), [1])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.counter.flush()
        self.assertEqual(self.counters.calls, 1)

    def test_days(self) -> None:
        """Days are those of UTC (RFC 8460 §4.1), whenever the counters are written."""
        self.counter.count("example.org", NONE, SUCCESS)
        self.time += 2
        self.counter.count("example.org", NONE, SUCCESS)
        self.counter.flush()
        self.assertEqual(
            sorted(session.day for session in self.counters.numbers), ["2026-10-31", "2026-11-01"]
        )
        self.assertEqual(self.counters.keepFrom, "2026-10-18")
        self.assertEqual(dayOf(0), "1970-01-01")

    def test_cannotWrite(self) -> None:
        """If they can't be written that is logged, and they are added with the next."""
        self.counters.broken = True
        self.counter.count("example.org", NONE, SUCCESS)
        self.clock.advance(GATHER)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.counters.broken = False
        self.counter.count("example.org", NONE, SUCCESS)
        self.clock.advance(GATHER)
        self.assertEqual(list(self.counters.numbers.values()), [2])

    def test_bound(self) -> None:
        """What can't be written is bounded; what is counted already goes on being counted."""
        self.patch(tlsrpt, "MAX_GATHERED", 2)
        for domain in ("a.test", "b.test", "c.test", "a.test"):
            self.counter.count(domain, NONE, SUCCESS)
        self.counter.flush()
        found = {session.domain: n for session, n in self.counters.numbers.items()}
        self.assertEqual(found, {"a.test": 2, "b.test": 1})


class ReportTests(SynchronousTestCase):
    """
    The policies of a report (RFC 8460 §4.4).
    """

    def session(self, policy: ReportedPolicy, result: str, *where: str) -> Session:
        """
        @return: a counter's name.
        """
        return Session("2026-10-31", "example.org", policy, result, *where)

    def test_report(self) -> None:
        """Successes and failures are summed by policy, and failures told in detail."""
        found = reportPolicies(
            [
                (self.session(STS, SUCCESS), 5326),
                (self.session(STS, "certificate-expired", "mx1.example.org", "192.0.2.1"), 100),
                (
                    self.session(
                        STS, "starttls-not-supported", "mx2.example.org", "2001:db8::2", "none"
                    ),
                    200,
                ),
                (self.session(TLSA, SUCCESS), 1),
                (Session("2026-10-31", "other.test", NONE, "sts-policy-fetch-error"), 3),
            ]
        )
        self.assertEqual(list(found), ["example.org", "other.test"])
        sts, tlsa = found["example.org"]
        self.assertEqual(
            sts,
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": list(STS.lines),
                    "policy-domain": "example.org",
                    "mx-host": ["*.example.org"],
                },
                "summary": {
                    "total-successful-session-count": 5326,
                    "total-failure-session-count": 300,
                },
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "receiving-mx-hostname": "mx1.example.org",
                        "receiving-ip": "192.0.2.1",
                        "failed-session-count": 100,
                    },
                    {
                        "result-type": "starttls-not-supported",
                        "receiving-mx-hostname": "mx2.example.org",
                        "receiving-ip": "2001:db8::2",
                        "failed-session-count": 200,
                        "failure-reason-code": "none",
                    },
                ],
            },
        )
        self.assertEqual(tlsa["policy"]["policy-domain"], "mx.example.net")
        self.assertNotIn("mx-host", tlsa["policy"])
        [other] = found["other.test"]
        self.assertEqual(
            other["failure-details"],
            [{"result-type": "sts-policy-fetch-error", "failed-session-count": 3}],
        )
        json.dumps(found)

    def test_nothing(self) -> None:
        """A day without connections has no reports."""
        self.assertEqual(reportPolicies([]), {})
