"""
What the tests of the relay have in common: a DNS, and messages.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from zope.interface import implementer

from twisted_mailstack.errors import LookupFailed
from twisted_mailstack.interfaces import IDNSLookup
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.dns import MX, DNSAnswer
from twisted_mailstack.model.queue import QueuedMessage, QueuedRecipient


@implementer(IDNSLookup)
class DNS:
    """
    Says what it was told; of what it wasn't told there are no records.

    @ivar asked: the questions, in order.
    @ivar signed: whether what is added from now on is vouched for.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.signed = False
        self._answers: dict[tuple[str, str], Any] = {}

    def add(self, name: str, kind: str, *records: Any, at: str = "", exists: bool = True) -> None:
        """
        @param at: where the name's aliases lead.
        """
        self._answers[name, kind] = DNSAnswer(records, exists, self.signed, at or name)

    def fail(self, name: str, kind: str) -> None:
        """This can't be looked up."""
        self._answers[name, kind] = LookupFailed(f"DNS lookup of {name} failed")

    def wait(self, name: str, kind: str, answer: Awaitable[DNSAnswer]) -> None:
        """This takes its time."""
        self._answers[name, kind] = answer

    def host(self, name: str, *addresses: str, **settings: Any) -> None:
        """A host with these addresses."""
        for kind in ("A", "AAAA"):
            some = [each for each in addresses if (":" in each) == (kind == "AAAA")]
            self.add(name, kind, *some, **settings)

    def mx(self, domain: str, *records: tuple[int, str]) -> None:
        """A domain with these mail exchangers."""
        self.add(domain, "MX", *(MX(*each) for each in records))

    async def lookup(self, name: str, kind: str) -> DNSAnswer:
        """See IDNSLookup."""
        self.asked.append((name, kind))
        answer = self._answers.get((name, kind))
        if answer is None:
            return DNSAnswer((), True, self.signed, name)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, DNSAnswer):
            return answer
        result: DNSAnswer = await answer
        return result


def message(
    *recipients: str, destination: str = "example.org", **parameters: str | None
) -> QueuedMessage:
    """
    @return: a message as the spool gives it.
    """
    return QueuedMessage(
        "Q1",
        Address("alice", "here.test"),
        parameters,
        b"",
        1000,
        2000,
        tuple(
            QueuedRecipient(number, Address.parse(each), {}, destination, 1000, 1500)
            for number, each in enumerate(recipients or ("bob@example.org",))
        ),
    )
