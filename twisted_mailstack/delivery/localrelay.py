# -*- test-case-name: tests.delivery.test_localrelay -*-
"""
The way from the spool into our own accounts: for copies that could not be made when their message
was accepted, since an account was full, or that were to wait (RFC 4865).

It is the way of those recipients, too, that have their copy (L{DELIVERED}) or were expanded
(L{EXPANDED}), and only make a notification. They came into the spool in the same step in which the
copy was made, so no crash comes between a delivery and the news of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from zope.interface import implementer

from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.queue import Notifies
from twisted_mailstack.errors import MailError, NoSuchAccount
from twisted_mailstack.interfaces import (
    IDirectory,
    IMessageContent,
    IRelay,
    IRelayConnection,
    ISpool,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import (
    DELIVERED,
    EXPANDED,
    LOCAL,
    AttemptResult,
    QueuedMessage,
)
from twisted_mailstack.model.records import Placement

_SAID = MappingProxyType({DELIVERED: "Delivered", EXPANDED: "Expanded"})
_DELIVERED_TO = b"Delivered-To:"


@implementer(IRelay, IRelayConnection)
class LocalRelay:
    """
    Delivers to accounts. There is nothing to connect to, so it is its own connection.
    """

    def __init__(
        self, spool: ISpool, directory: IDirectory, dispatch: Dispatch, notifier: Notifies
    ) -> None:
        self._spool = spool
        self._directory = directory
        self._dispatch = dispatch
        self._notifier = notifier

    def destinationOf(self, reversePath: Address | None, address: Address) -> str:
        """See L{IRelay}."""
        return LOCAL

    async def connect(self, destination: str, message: QueuedMessage) -> LocalRelay:
        """See L{IRelay}."""
        return self

    @property
    def wanted(self) -> bool:
        """See L{IRelayConnection}."""
        return False

    def accepts(self, message: QueuedMessage) -> bool:
        """See L{IRelayConnection}."""
        return True

    async def close(self) -> None:
        """See L{IRelayConnection}."""

    async def send(
        self, message: QueuedMessage, content: IMessageContent
    ) -> Sequence[AttemptResult]:
        """See L{IRelayConnection}. The copies are made and their recipients final in one step."""
        if message.recipients[0].arrived:
            # All that is left to do is done with the results.
            return [
                AttemptResult(250, "2.1.5", _SAID[each.destination]) for each in message.recipients
            ]
        placements: list[tuple[int, Placement]] = []
        results: dict[int, AttemptResult] = {}
        added = message.prefix
        if added.startswith(_DELIVERED_TO):
            # Of what an alias passed on to others: here each copy has one of its own.
            added = added[added.index(b"\n") + 1 :]
        for recipient in message.recipients:
            account = await self._directory.findAccount(recipient.address)
            if account is None:
                results[recipient.number] = _result(NoSuchAccount())
                continue
            placement = self._dispatch.placement(
                account, recipient.via or recipient.address, message.reversePath, added
            )
            placements.append((recipient.number, placement))
        told = [
            recipient.number
            for recipient in message.recipients
            if self._notifier.wants(message, recipient, "delivered")
        ]
        placed = await self._spool.place(
            message.spoolId, placements, int(self._dispatch.now()), told
        )
        # Who is to be told of it stands in the spool by now.
        done = AttemptResult(250, "2.1.5", "Delivered", notifies=True)
        for (number, _), error in zip(placements, placed, strict=True):
            results[number] = done if error is None else _result(error)
        return [results[recipient.number] for recipient in message.recipients]


def _result(error: Exception) -> AttemptResult:
    if isinstance(error, MailError):
        return AttemptResult(error.smtpCode, error.enhancedStatus, error.text)
    return AttemptResult(451, "4.3.0", "Internal error")
