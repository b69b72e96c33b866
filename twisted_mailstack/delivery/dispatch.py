# -*- test-case-name: tests.delivery.test_dispatch -*-
"""
Where a message's recipients go: into accounts of ours, or into the spool for others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import time

from twisted_mailstack.interfaces import IRelay
from twisted_mailstack.model.address import Address, ReversePath, formatPath
from twisted_mailstack.model.mailboxname import INBOX
from twisted_mailstack.model.queue import LOCAL, QueuedMessage, QueuedRecipient
from twisted_mailstack.model.records import AccountRecord, Placement, Recipient

#: Seconds that mail waits before it is given up (RFC 5321 §4.5.4.1: at least 4 or 5 days), and
#: before its sender is told of the delay.
LIFETIME = 5 * 86400
WARN_AFTER = 4 * 3600


def deliveredTo(address: Address) -> bytes:
    """
    @return: the field that says by which address a message came (RFC 9228).
    """
    return f"Delivered-To: {address}\r\n".encode()


class Dispatch:
    """
    Makes placements and queued messages.

    @ivar relay: the way to other servers; C{None}: there is none.
    @ivar lifetime: seconds; C{warnAfter} likewise, 0 for no warning.
    """

    def __init__(
        self,
        relay: IRelay | None = None,
        *,
        lifetime: int = LIFETIME,
        warnAfter: int = WARN_AFTER,
        now: Callable[[], float] = time,
    ) -> None:
        self.relay = relay
        self.lifetime = lifetime
        self.warnAfter = warnAfter
        self.now = now

    def placement(
        self, account: AccountRecord, address: Address, reversePath: ReversePath, added: bytes
    ) -> Placement:
        """
        Final delivery (RFC 5321 §4.4).

        @param address: by which the account was reached.
        @param added: header lines of policies.
        """
        head = f"Return-Path: {formatPath(reversePath)}\r\n".encode() + deliveredTo(address)
        return Placement(account.accountId, INBOX, head + added)

    def queued(
        self,
        queueId: str,
        reversePath: ReversePath,
        parameters: Mapping[str, str | None],
        recipients: Iterable[tuple[Recipient, Address | None]],
        *,
        added: bytes = b"",
        origin: str = "",
        notBefore: int = 0,
        expires: int | None = None,
        warnAt: int | None = None,
        priority: int = 0,
    ) -> QueuedMessage:
        """
        @param recipients: each with the address by which it was reached if it is an account of
            ours, which then waits for L{LOCAL}; C{None} for all others.
        @param notBefore: seconds since 1970 before which nothing is tried (RFC 4865).
        @param expires: seconds since 1970; C{None} for the usual lifetime.
        @param warnAt: seconds since 1970; C{None} for the usual time.
        """
        now = int(self.now())
        start = max(now, notBefore)
        # RFC 2852 §3: a late deadline does not make it wait for longer than usual.
        expires = min(start + self.lifetime, start + self.lifetime if expires is None else expires)
        if warnAt is None:
            warnAt = start + self.warnAfter if self.warnAfter else expires
        return QueuedMessage(
            queueId,
            reversePath,
            parameters,
            added,
            now,
            expires,
            tuple(
                QueuedRecipient(
                    number,
                    recipient.address,
                    recipient.parameters,
                    self._destination(reversePath, recipient.address) if via is None else LOCAL,
                    start,
                    min(warnAt, expires),
                    via=None if via == recipient.address else via,
                )
                for number, (recipient, via) in enumerate(recipients)
            ),
            priority,
            origin=origin,
        )

    def _destination(self, reversePath: ReversePath, address: Address) -> str:
        return (
            address.domain if self.relay is None else self.relay.destinationOf(reversePath, address)
        )
