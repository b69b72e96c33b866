# -*- test-case-name: tests.delivery.steps.test_deliveredto -*-
"""
C{delivered-to}: mail that comes back to an address which it was delivered to before, found by the
field that final delivery puts in front (RFC 9228), after one round and not after a hundred.

So it is where mail is sent on as it stands: by an alias to a server whose user sends it back, or by
a program that reads a mailbox. The whole message is refused if one of its recipients had it: had
the others not had it either, their sender is told; if it were taken, they would get it with every
round.
"""

from __future__ import annotations

from collections.abc import Collection

from twisted_mailstack.delivery.policy import PolicyStep, readHeader
from twisted_mailstack.delivery.step import NoSettings, StepRecord
from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.header import Header, decodeText
from twisted_mailstack.model.records import Envelope, Recipient

_FIELD = b"delivered-to"


class DeliveredTo(PolicyStep):
    """
    See the module.
    """

    async def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        header = await readHeader(content)
        # Few messages have such a field, and this is a tenth of looking for lines.
        if _FIELD not in header.lower():
            return b""
        had = {_key(address) for address in _addresses(Header(header))}
        for recipient in recipients:
            if _key(recipient.address) in had:
                raise MailError(
                    f"Mail loop: {recipient.address} has had this message",
                    smtpCode=554,
                    enhancedStatus="5.4.6",
                )
        return b""


def _addresses(header: Header) -> Collection[Address]:
    found = []
    for value in header.getAll(_FIELD):
        text = decodeText(value).removeprefix("<").removesuffix(">")
        try:
            found.append(Address.parse(text))
        except SyntaxProblem:
            # What others write there need be no address.
            continue
    return found


def _key(address: Address) -> tuple[str, str]:
    return foldLocalPart(address.localPart), address.domain


STEP = StepRecord(
    name="delivered-to",
    settings=NoSettings,
    make=lambda settings, services: DeliveredTo(),
)
