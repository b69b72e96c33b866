# -*- test-case-name: tests.delivery.test_localrelay -*-
"""
The way from the spool into our own accounts: for copies that could not be made when their message
was accepted, since an account was full, or that were to wait (RFC 4865).
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.notification import MAX_HEADER, Notifier
from twisted_mailstack.delivery.queue import Report
from twisted_mailstack.errors import MailError, NoSuchAccount
from twisted_mailstack.interfaces import (
    IDirectory,
    IMessageContent,
    IRelay,
    IRelayConnection,
    ISpool,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import LOCAL, AttemptResult, QueuedMessage
from twisted_mailstack.model.records import Placement


@implementer(IRelay, IRelayConnection)
class LocalRelay:
    """
    Delivers to accounts. There is nothing to connect to, so it is its own connection.
    """

    log = Logger()

    def __init__(
        self, spool: ISpool, directory: IDirectory, dispatch: Dispatch, notifier: Notifier
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

    def accepts(self, message: QueuedMessage) -> bool:
        """See L{IRelayConnection}."""
        return True

    async def close(self) -> None:
        """See L{IRelayConnection}."""

    async def send(
        self, message: QueuedMessage, content: IMessageContent
    ) -> Sequence[AttemptResult]:
        """See L{IRelayConnection}. The copies are made and their recipients final in one step."""
        placements: list[tuple[int, Placement]] = []
        results: dict[int, AttemptResult] = {}
        for recipient in message.recipients:
            account = await self._directory.findAccount(recipient.address)
            if account is None:
                results[recipient.number] = _result(NoSuchAccount())
                continue
            placement = self._dispatch.placement(
                account, recipient.address, message.reversePath, b""
            )
            placements.append((recipient.number, placement))
        wishes = [
            recipient
            for recipient in message.recipients
            if self._notifier.wants(message, recipient, "delivered")
        ]
        header = b""
        if wishes:
            # Read before it may be gone.
            header = await content.read(0, min(content.structure.bodyOffset, MAX_HEADER))
        placed = await self._spool.place(message.spoolId, placements, int(self._dispatch.now()))
        # It tells of successes itself, since the message leaves the spool with its last copy.
        done = AttemptResult(250, "2.1.5", "Delivered", notifies=True)
        for (number, _), error in zip(placements, placed, strict=True):
            results[number] = done if error is None else _result(error)
        now = int(self._dispatch.now())
        reports = [
            Report(recipient, "delivered", done, now)
            for recipient in wishes
            if results[recipient.number] is done
        ]
        if reports:

            async def read(offset: int, length: int) -> bytes:
                return header[offset : offset + length]

            try:
                await self._notifier.tell(message, reports, read, len(header), len(header))
            except CancelledError:
                raise
            except Exception:
                # It is delivered all the same.
                self.log.failure("{queueId}: notifying failed", queueId=message.queueId)
        return [results[recipient.number] for recipient in message.recipients]


def _result(error: Exception) -> AttemptResult:
    if isinstance(error, MailError):
        return AttemptResult(error.smtpCode, error.enhancedStatus, error.text)
    return AttemptResult(451, "4.3.0", "Internal error")
