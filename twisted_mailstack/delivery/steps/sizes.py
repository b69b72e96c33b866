# -*- test-case-name: tests.delivery.steps.test_sizes -*-
"""
C{sizes}: how large a message may be for some recipients, or from some accounts, where that is less
than for the whole server (RFC 1870).

What the client declares is looked at early; what comes is, in the end. A message that is too large
for one of its recipients is refused then, since there is one reply for all (RFC 5321 §4.1.1.4).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.delivery.step import StepProblem, StepRecord, StepServices
from twisted_mailstack.errors import MessageTooLarge, SyntaxProblem
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import Address, foldLocalPart, parseDomain
from twisted_mailstack.model.records import Envelope, Recipient


@dataclass(frozen=True, kw_only=True)
class SizesSettings:
    """
    @ivar recipients: octets by recipients' address or domain; the address goes first.
    @ivar senders: octets by the address or domain of accounts that send.
    """

    recipients: Mapping[str, int] = field(default_factory=dict)
    senders: Mapping[str, int] = field(default_factory=dict)


class Sizes(PolicyStep):
    """
    See the module.
    """

    def __init__(self, settings: SizesSettings) -> None:
        """
        @raise StepProblem: if an address or a domain isn't one, or a size can't be.
        """
        self._recipients = _table(settings.recipients)
        self._senders = _table(settings.senders)

    def reversePath(self, envelope: Envelope) -> None:
        """See L{IPolicyStep}."""
        self._checkSender(envelope, _declared(envelope))

    def recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        """See L{IPolicyStep}."""
        self._checkRecipient(recipient, _declared(envelope))

    def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        self._checkSender(envelope, content.summary.size)
        for recipient in recipients:
            self._checkRecipient(recipient, content.summary.size)
        return b""

    def _checkSender(self, envelope: Envelope, octets: int) -> None:
        if envelope.authenticated is not None:
            limit = _limit(self._senders, envelope.authenticated)
            if limit is not None and octets > limit:
                raise MessageTooLarge(f"You may send messages of at most {limit} octets")

    def _checkRecipient(self, recipient: Recipient, octets: int) -> None:
        limit = _limit(self._recipients, recipient.address)
        if limit is not None and octets > limit:
            # RFC 3463 §3.3: X.2.3, longer than an administrative limit for the mailbox
            raise MessageTooLarge(
                f"{recipient.address} takes messages of at most {limit} octets",
                enhancedStatus="5.2.3",
            )


def _declared(envelope: Envelope) -> int:
    return int(envelope.parameters.get("SIZE") or 0)


def _limit(table: Mapping[tuple[str, str], int], address: Address) -> int | None:
    limit = table.get((foldLocalPart(address.localPart), address.domain))
    return table.get(("", address.domain)) if limit is None else limit


def _table(limits: Mapping[str, int]) -> Mapping[tuple[str, str], int]:
    table = {}
    for text, octets in limits.items():
        if octets < 1:
            raise StepProblem(f"{text}: a message has at least one octet")
        try:
            if "@" in text:
                address = Address.parse(text)
                table[foldLocalPart(address.localPart), address.domain] = octets
            else:
                table["", parseDomain(text)] = octets
        except SyntaxProblem as problem:
            raise StepProblem(f"{text!r}: {problem.text}") from None
    return table


def _make(settings: SizesSettings, services: StepServices) -> Sizes | None:
    return Sizes(settings) if settings.recipients or settings.senders else None


STEP = StepRecord(name="sizes", settings=SizesSettings, make=_make)
