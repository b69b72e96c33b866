"""
What the tests of delivery share: a store with two accounts, in memory, where the time of day stands
still; and a queue over it, whose other servers are made up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.smtp.support import TODAY, WatchedStore, now
from twisted_mailstack.delivery.queue import QueueRunner, QueueSettings, Report
from twisted_mailstack.delivery.schedule import DELAYS, RetrySchedule
from twisted_mailstack.errors import DestinationUnavailable
from twisted_mailstack.interfaces import (
    IMessageContent,
    IRelay,
    IRelayConnection,
    ISpool,
    IStagedContent,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import (
    AttemptResult,
    DestinationState,
    Outcome,
    QueuedMessage,
    QueuedRecipient,
    QueueFilter,
)
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient

INFO = ConnectionInfo("192.0.2.1", 50000, "smtp")
PREFIX = b"Return-Path: <s@far.test>\r\nDelivered-To: alice@example.test\r\n"


def envelope(
    reversePath: str | None = "s@far.test",
    authenticated: str | None = None,
    **parameters: str | None,
) -> Envelope:
    """
    @return: an envelope.
    """
    return Envelope(
        INFO,
        "client.test",
        None if reversePath is None else Address.parse(reversePath),
        None if authenticated is None else Address.parse(authenticated),
        parameters,
        "Q1",
    )


def to(address: str) -> Recipient:
    """
    @return: a recipient.
    """
    return Recipient(Address.parse(address), {})


class DirectoryTestCase(SynchronousTestCase):
    """
    A store with the domain example.test, in which alice and bob are.
    """

    def makeStore(self) -> WatchedStore:
        """
        @return: an empty one.
        """
        return WatchedStore(now=lambda: TODAY)

    def setUp(self) -> None:
        """Make it."""
        self.store = self.makeStore()
        self.directory = self.store.directory
        now(self.directory.addDomain("example.test"))
        for name in ("alice", "bob"):
            self.addAccount(f"{name}@example.test")

    def addAccount(self, address: str) -> None:
        """
        Make an account.
        """
        now(self.directory.addAccount(Address.parse(address), None))

    def alias(self, address: str, *targets: str) -> None:
        """
        Make an alias.
        """
        now(
            self.directory.setAlias(
                Address.parse(address), [Address.parse(target) for target in targets]
            )
        )

    def inbox(self, address: str) -> list[bytes]:
        """
        @return: the messages of an account.
        """
        record = now(self.directory.findAccount(Address.parse(address)))
        assert record is not None
        entries = self.store.accounts[record.accountId].boxes["INBOX"].entries
        return [entry.message.prefix + entry.message.data for entry in entries]


# --- the queue ---------------------------------------------------------------------------------

TAKEN = AttemptResult(250, "2.0.0", "OK", "mx.test")
LATER = AttemptResult(451, "4.2.0", "Not now", "mx.test")
NEVER = AttemptResult(550, "5.1.1", "No such user", "mx.test")
BROKEN = AttemptResult(451, "4.4.2", "It closed the connection", "mx.test")


@implementer(IRelayConnection)
class MadeUpConnection:
    """
    A connection to a server that is made up.

    @ivar sent: how many messages it was given.
    """

    def __init__(self, network: Network, destination: str) -> None:
        self.network = network
        self.destination = destination
        self.usable = True
        self.closed = False
        self.wanted = False
        self.sent = 0

    def accepts(self, message: QueuedMessage) -> bool:
        """See L{IRelayConnection}."""
        return self.usable and self.network.accepts(message)

    async def send(
        self, message: QueuedMessage, content: IMessageContent
    ) -> Sequence[AttemptResult]:
        """See L{IRelayConnection}."""
        assert self.usable and not self.closed, "it is used when it is gone"
        self.sent += 1
        network = self.network
        network.attempts.append((network.clock.seconds(), self.destination, message))
        try:
            await network.pause(network.sending, self.destination)
            results = [network.answer(message, each) for each in message.recipients]
        except BaseException:
            self.usable = False
            raise
        if any(each is BROKEN for each in results):
            self.usable = False
        for recipient, result in zip(message.recipients, results, strict=True):
            if result.delivered:
                network.delivered[message.queueId, str(recipient.address)] += 1
        return results

    async def close(self) -> None:
        """See L{IRelayConnection}."""
        assert not self.closed, "it is closed twice"
        self.closed = True
        self.network.open[self.destination] -= 1


@implementer(IRelay)
class Network:
    """
    All other servers.

    @ivar down: destinations that can't be reached, and with what error.
    @ivar connecting: seconds it takes to connect to a destination; C{None} for ever;
        C{sending}: to send.
    @ivar connects: each attempt to connect, when and whereto.
    @ivar attempts: each message that was sent, when and whereto.
    @ivar delivered: how often a message (by queue id) got to an address.
    @ivar open: connections by destination; C{most}: the most there were, C{*} in all.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.down: dict[str, Exception] = {}
        self.connecting: dict[str, float | None] = {}
        self.sending: dict[str, float | None] = {}
        self.connects: list[tuple[float, str]] = []
        self.connections: list[MadeUpConnection] = []
        self.attempts: list[tuple[float, str, QueuedMessage]] = []
        self.delivered: Counter[tuple[str, str]] = Counter()
        self.open: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.answer: Callable[[QueuedMessage, QueuedRecipient], AttemptResult] = (
            lambda message, recipient: TAKEN
        )
        self.accepts: Callable[[QueuedMessage], bool] = lambda message: True

    def pause(self, times: dict[str, float | None], destination: str) -> Deferred[Any]:
        """
        @return: fires when a step is over.
        """
        seconds = times.get(destination, times.get("*", 0.0))
        if seconds is None:
            return Deferred()
        return deferLater(self.clock, seconds)

    def destinationOf(self, reversePath: Address | None, address: Address) -> str:
        """See L{IRelay}."""
        return address.domain

    async def connect(self, destination: str, message: QueuedMessage) -> IRelayConnection:
        """See L{IRelay}."""
        self.connects.append((self.clock.seconds(), destination))
        self.open[destination] += 1
        self.most[destination] = max(self.most[destination], self.open[destination])
        self.most["*"] = max(self.most["*"], sum(self.open.values()))
        try:
            await self.pause(self.connecting, destination)
            if destination in self.down:
                raise self.down[destination]
        except BaseException:
            self.open[destination] -= 1
            raise
        connection = MadeUpConnection(self, destination)
        self.connections.append(connection)
        return connection

    def connected(self, destination: str) -> list[float]:
        """
        @return: when it was tried to connect to a destination.
        """
        return [at for at, name in self.connects if name == destination]


class RecordingNotifier:
    """
    Tells nobody but the test.

    @ivar told: the queue id, the action and the recipient of each report.
    """

    def __init__(self, spool: ISpool) -> None:
        self._spool = spool
        self.told: list[tuple[str, str, str]] = []
        self.reports: list[Report] = []
        self.problem: Exception | None = None

    def wants(self, message: QueuedMessage, recipient: QueuedRecipient, action: str) -> bool:
        """Failures and delays always, successes if NOTIFY says so."""
        return action in ("failed", "delayed") or "NOTIFY" in recipient.parameters

    async def notify(
        self, message: QueuedMessage, reports: Sequence[Report], settled: Sequence[Outcome]
    ) -> None:
        """See L{twisted_mailstack.delivery.queue.Notifies}."""
        if self.problem is not None:
            raise self.problem
        await self._spool.settle(settled)
        self.reports += reports
        self.told += [
            (message.queueId, report.action, str(report.recipient.address)) for report in reports
        ]


def staged(store: Any, data: bytes) -> IStagedContent:
    """
    @return: a message that was written to a store.
    """
    writer = store.newContent()
    writer.write(data)
    return ensureDeferred(writer.finish()).result  # type: ignore[return-value]


class QueueTestCase(SynchronousTestCase):
    """
    A queue that runs over a spool in memory. Nothing may be left connected after a test.
    """

    def setUp(self) -> None:
        """Make it."""
        self.clock = Clock()
        self.store = WatchedStore(now=self.now)
        self.spool: Any = self.store.spool
        self.network = Network(self.clock)
        self.notifier: Any = RecordingNotifier(self.spool)
        self.numbers = count(1)
        self.runners: list[QueueRunner] = []
        self.addCleanup(self.stopAll)

    def now(self) -> float:
        """The time of day."""
        return TODAY + self.clock.seconds()

    def stopAll(self) -> None:
        """Stop all runners; whatever they wait for is cut."""
        for runner in self.runners:
            stopped = ensureDeferred(runner.stop(0.0))
            self.clock.pump([0, 1, 1, 1])
            self.successResultOf(stopped)
            self.assertEqual(runner.connections, 0)
        self.assertEqual(sum(self.network.open.values()), 0, "connections are left open")
        self.assertEqual(
            [call for call in self.clock.getDelayedCalls() if call.active()], [], "timers are left"
        )

    def runner(
        self, jitter: float = 0.0, delays: Sequence[int] = DELAYS, **settings: Any
    ) -> QueueRunner:
        """
        @param settings: as of L{QueueSettings}.
        @return: one more, not started.
        """
        runner = QueueRunner(
            self.spool,
            lambda destination: self.network,
            self.notifier,
            self.clock,
            QueueSettings(**settings),
            RetrySchedule(delays, jitter),
            self.now,
        )
        self.runners.append(runner)
        return runner

    def start(self, **settings: Any) -> QueueRunner:
        """
        @return: one that runs.
        """
        runner = self.runner(**settings)
        runner.start()
        return runner

    def pass_(self, seconds: float = 0.0, step: float = 1.0) -> None:
        """
        Time goes by, in steps.
        """
        while True:
            for _ in range(20):
                self.clock.advance(0)
            if seconds <= 0:
                return
            self.clock.advance(min(step, seconds))
            seconds -= step

    def queue(
        self,
        *recipients: str,
        size: int = 100,
        parameters: dict[str, str | None] | None = None,
        destination: str | None = None,
        nextAttempt: int | None = None,
        lifetime: int = 5 * 86400,
        warnAfter: int = 4 * 3600,
        **fields: Any,
    ) -> str:
        """
        Put a message into the spool.

        @param parameters: of each recipient.
        @param fields: of L{QueuedMessage}.
        @return: its queue id.
        """
        queueId = f"Q{next(self.numbers)}"
        today = int(self.now())
        message = QueuedMessage(
            queueId,
            Address("sender", "near.test"),
            fields.pop("mail", {}),
            b"Received: here\r\n",
            today,
            today + lifetime,
            tuple(
                QueuedRecipient(
                    *(number, Address.parse(address), parameters or {}),
                    destination or Address.parse(address).domain,
                    today if nextAttempt is None else nextAttempt,
                    today + min(lifetime, warnAfter),
                )
                for number, address in enumerate(recipients)
            ),
        )._replace(**fields)
        content = staged(self.store, b"Subject: x\r\n\r\n" + b"x" * size)
        now(self.spool.accept(content, [], 0, message))
        content.discard()
        return queueId

    def waiting(self) -> list[tuple[str, str]]:
        """
        @return: the queue id and the address of each recipient that is in the spool.
        """
        return [
            (message.queueId, str(each.address))
            for message in now(self.store.spool.select(QueueFilter(), 100_000))
            for each in message.recipients
        ]

    def recipient(self, queueId: str, number: int = 0) -> QueuedRecipient:
        """
        @return: a recipient that is in the spool.
        """
        (message,) = now(self.store.spool.select(QueueFilter((queueId,)), 1))
        (found,) = [each for each in message.recipients if each.number == number]
        return found

    def state(self, name: str) -> DestinationState:
        """
        @return: what the spool knows of a destination.
        """
        (found,) = [each for each in now(self.store.spool.destinations()) if each.name == name]
        return found

    def takeDown(self, destination: str = "far.test") -> None:
        """
        From now on a destination can't be reached.
        """
        self.network.down[destination] = DestinationUnavailable("connection refused")
