"""
Every built-in policy, with as much to do as it can have, keeps what a policy promises.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.delivery.steps.support import StepTestCase
from twisted_mailstack.delivery.registry import STEPS
from twisted_mailstack.delivery.step import Rate
from twisted_mailstack.delivery.steps.dnsbl import BlockList
from twisted_mailstack.delivery.steps.headers import CHECKS
from twisted_mailstack.interfaces import IPolicyStep
from twisted_mailstack.testing.contracts.delivery import PolicyStepContract

BUSY = Rate(2, 3600)
#: By name, settings with which a step refuses what it can.
STRICT: dict[str, dict[str, Any]] = {
    "rates": {
        "connections": BUSY,
        "messages": BUSY,
        "recipients": BUSY,
        "accountMessages": BUSY,
        "accountRecipients": BUSY,
    },
    "dnsbl": {"lists": (BlockList("zen.test"), BlockList("down.test")), "reject": 9, "mark": 1},
    "reverse-dns": {"action": "reject"},
    "helo": {"ours": True, "qualified": True, "resolves": True},
    "own-sender": {},
    "qualified-domains": {},
    "sizes": {"recipients": {"example.test": 50}, "senders": {"example.test": 50}},
    "greylisting": {"enabled": True},
    "hop-limit": {},
    "delivered-to": {},
    "header-checks": {"checks": tuple(CHECKS)},
    "account-limits": {
        "messagesPerHour": 3,
        "messagesPerDay": 3,
        "recipientsPerHour": 3,
        "recipientsPerDay": 3,
    },
}


class AllTests(SynchronousTestCase):
    """
    The tests below.
    """

    def test_all(self) -> None:
        """No policy is left out."""
        self.assertEqual(set(STRICT), {record.name for record in STEPS})


def _tests(name: str) -> type[SynchronousTestCase]:
    (record,) = [record for record in STEPS if record.name == name]

    def makeStep(case: StepTestCase) -> IPolicyStep:
        case.dns.answers["1.2.0.192.zen.test", "A"] = ("127.0.0.2",)
        case.dns.failing.add("1.2.0.192.down.test")
        return case.make(record, **STRICT[name])

    words = "".join(word.capitalize() for word in name.split("-"))
    return type(
        f"{words}ContractTests",
        (PolicyStepContract, StepTestCase),
        {"makeStep": makeStep, "__module__": __name__, "__doc__": f"C{{{name}}}."},
    )


for _each in STRICT:
    _made = _tests(_each)
    globals()[_made.__name__] = _made
del _made
