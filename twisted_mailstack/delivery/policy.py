# -*- test-case-name: tests.delivery.test_policy -*-
"""
Policies: who has a say in whether mail is taken, in the configured order.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Collection, Sequence

from zope.interface import implementer

from twisted_mailstack.errors import MailError
from twisted_mailstack.interfaces import IPolicyStep, IStagedContent
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient


@implementer(IPolicyStep)
class PolicyStep:
    """
    Accepts everything: what a step inherits for the stages it doesn't care about.
    """

    def connection(self, info: ConnectionInfo) -> Awaitable[None] | None:
        """See L{IPolicyStep}."""
        return None

    def reversePath(self, envelope: Envelope) -> Awaitable[None] | None:
        """See L{IPolicyStep}."""
        return None

    def recipient(self, envelope: Envelope, recipient: Recipient) -> Awaitable[None] | None:
        """See L{IPolicyStep}."""
        return None

    def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> Awaitable[bytes] | bytes:
        """See L{IPolicyStep}."""
        return b""


class Policies:
    """
    Asks steps in order; the first refusal decides.
    """

    def __init__(self, steps: Sequence[IPolicyStep] = ()) -> None:
        self._steps = tuple(steps)

    async def connection(self, info: ConnectionInfo) -> None:
        """
        @raise MailError: if a step refuses.
        """
        for step in self._steps:
            if (waiting := step.connection(info)) is not None:
                await waiting

    async def reversePath(self, envelope: Envelope) -> None:
        """
        @raise MailError: if a step refuses.
        """
        for step in self._steps:
            if (waiting := step.reversePath(envelope)) is not None:
                await waiting

    async def recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        """
        @raise MailError: if a step refuses.
        """
        for step in self._steps:
            if (waiting := step.recipient(envelope, recipient)) is not None:
                await waiting

    async def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """
        @return: header lines to put in front, the last step's first.
        @raise MailError: if a step refuses.
        """
        lines = b""
        for step in self._steps:
            found = step.message(envelope, recipients, content)
            if not isinstance(found, bytes):
                found = await found
            if found and not found.endswith(b"\r\n"):
                # It would run into the next field: rather no message than a damaged one.
                raise ValueError(f"{step!r} gave header lines without CRLF at the end")
            lines = found + lines
        return lines


#: Octets of a header that policies look at.
MAX_HEADER = 1024 * 1024


async def readHeader(content: IStagedContent) -> bytes:
    """
    @return: the message's header, of one that is very long the beginning.
    """
    return await content.read(0, min(content.summary.headerSize, MAX_HEADER))


#   A hop is a Received field (RFC 5321 §6.3).
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)


class HopLimit(PolicyStep):
    """
    Refuses mail that goes round in circles (RFC 5321 §6.3).
    """

    def __init__(self, limit: int = 100) -> None:
        """
        @param limit: a message that came with so many Received fields is refused. RFC 5321 §6.3
            wants at least 100.
        """
        self._limit = limit

    async def _count(self, content: IStagedContent) -> bytes:
        header = await readHeader(content)
        # Our own is one of them. Where the word isn't so often, neither is the field; that is a
        # tenth of looking for lines.
        if (
            header.lower().count(b"received") > self._limit
            and len(_RECEIVED.findall(header)) > self._limit
        ):
            raise MailError("Too many hops", smtpCode=554, enhancedStatus="5.4.6")
        return b""

    def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> Awaitable[bytes] | bytes:
        """See L{IPolicyStep}."""
        # A header that short can't have so many fields: nearly all mail needs no look.
        if content.summary.headerSize < self._limit * len("Received:\r\n"):
            return b""
        return self._count(content)
