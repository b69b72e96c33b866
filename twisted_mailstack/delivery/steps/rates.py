# -*- test-case-name: tests.delivery.steps.test_rates -*-
"""
C{rates}: how fast a network of clients, or an account, may come. What exceeds a rate is put off
with a temporary refusal; an honest client tries again.

A network is a /24 of IPv4 or a /64 of IPv6; who is logged in counts as the account, wherever the
connection is from. Clients on this machine are exempt. Counted in memory, by each process for
itself; for limits that hold over restarts and processes see C{account-limits}. How many connections
a client may have at a time is a limit of the listening port (C{limits.connections-per-peer}).
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.delivery.step import (
    Buckets,
    Exemptions,
    Network,
    Rate,
    StepRecord,
    StepServices,
    clientNetwork,
)
from twisted_mailstack.errors import MailError
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient


@dataclass(frozen=True, kw_only=True)
class RatesSettings:
    """
    C{None} is no limit.

    @ivar connections: of a network; C{messages} and C{recipients} likewise, of those that are not
        logged in.
    @ivar accountMessages: of an account; C{accountRecipients} likewise.
    @ivar exempt: networks of clients that may come as fast as they like.
    """

    connections: Rate | None = None
    messages: Rate | None = None
    recipients: Rate | None = None
    accountMessages: Rate | None = None
    accountRecipients: Rate | None = None
    exempt: tuple[Network, ...] = ()


class Rates(PolicyStep):
    """
    See the module.
    """

    def __init__(self, settings: RatesSettings, services: StepServices) -> None:
        def buckets(rate: Rate | None) -> Buckets | None:
            return None if rate is None else Buckets(rate, services.clock.seconds)

        self._connections = buckets(settings.connections)
        self._messages = buckets(settings.messages)
        self._recipients = buckets(settings.recipients)
        self._accountMessages = buckets(settings.accountMessages)
        self._accountRecipients = buckets(settings.accountRecipients)
        self._exemptions = Exemptions(settings.exempt)

    def connection(self, info: ConnectionInfo) -> None:
        """See L{IPolicyStep}."""
        # RFC 5321 §4.2.2: 421 goes with closing.
        self._takeClient(self._connections, info, "connections", 421)

    def reversePath(self, envelope: Envelope) -> None:
        """See L{IPolicyStep}."""
        self._take(self._messages, self._accountMessages, envelope, "messages")

    def recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        """See L{IPolicyStep}."""
        self._take(self._recipients, self._accountRecipients, envelope, "recipients")

    def _take(
        self, client: Buckets | None, account: Buckets | None, envelope: Envelope, what: str
    ) -> None:
        if envelope.authenticated is None:
            self._takeClient(client, envelope.connection, what, 450)
        elif account is not None and not account.take(str(envelope.authenticated).casefold()):
            raise _tooMany(what, str(envelope.authenticated), 450)

    def _takeClient(
        self, buckets: Buckets | None, info: ConnectionInfo, what: str, code: int
    ) -> None:
        if buckets is None:
            return
        address = self._exemptions.client(info.peer)
        if address is not None and not buckets.take(network := clientNetwork(address)):
            raise _tooMany(what, network, code)


def _tooMany(what: str, whose: str, code: int) -> MailError:
    return MailError(
        f"Too many {what} from {whose}, try later", smtpCode=code, enhancedStatus="4.7.0"
    )


def _make(settings: RatesSettings, services: StepServices) -> Rates | None:
    limits = (
        *(settings.connections, settings.messages, settings.recipients),
        *(settings.accountMessages, settings.accountRecipients),
    )
    return Rates(settings, services) if any(limits) else None


STEP = StepRecord(name="rates", settings=RatesSettings, make=_make)
