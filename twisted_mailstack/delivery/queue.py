# -*- test-case-name: tests.delivery.test_queue -*-
"""
The queue: takes mail out of the spool and hands it to relays, destination by destination.

Everything is per destination: connection failures postpone the destination and not its messages, so
a dead domain with a hundred thousand messages costs what one with one message costs; connections
are limited per destination and shared out in turn, so a busy one delays nobody else. A temporary
reply to one recipient postpones that recipient alone (RFC 5321 §4.5.4.1).

How many connections a destination gets adapts: one until it has answered, one more while messages
get through, fewer when connections are refused. Memory holds a few dozen recipients of each
destination that is being worked on, never the queue.

One process runs the queue of a spool; others that try go on trying, so that one takes over when the
first ends.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import count
from time import time
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twisted_mailstack.delivery.schedule import RetrySchedule
from twisted_mailstack.errors import DestinationUnavailable, MailError, MessageExpunged
from twisted_mailstack.interfaces import IRelay, IRelayConnection, ISpool
from twisted_mailstack.model.address import formatPath
from twisted_mailstack.model.queue import (
    AttemptResult,
    Outcome,
    QueuedMessage,
    QueuedRecipient,
)

#: Recipients of a destination that are loaded at a time.
LOAD = 50
#: Recipients of one message in one transaction (RFC 5321 §4.5.3.1.8: every server takes 100).
MAX_RECIPIENTS = 100
#: Seconds between looks at what is overdue, and between attempts to become the one who runs the
#: queue.
LOOK = 30.0
#: Overdue recipients that are looked at in one go.
OVERDUE = 500
#: Messages that a connection may send while others wait for one.
QUANTUM = 20
#: Seconds after which a result that could not be written is tried to be written again.
SETTLE_AGAIN = 5.0


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """
    @ivar maxConnections: to all destinations.
    @ivar maxPerDestination: to one of them.
    @ivar firstPerDestination: to one that has answered, until more is known.
    @ivar messagesPerConnection: until a new one is made.
    @ivar linger: seconds that a connection waits for the next message.
    """

    maxConnections: int = 100
    maxPerDestination: int = 20
    firstPerDestination: int = 5
    messagesPerConnection: int = 1000
    linger: float = 2.0


class Report:
    """
    What is to be told to a message's sender of one recipient (RFC 3464 §2.3).

    @ivar recipient: whom it is about.
    @ivar action: C{failed}, C{delayed}, C{delivered}, C{relayed} or C{expanded}.
    @ivar result: what was said of it last.
    """

    __slots__ = ("action", "recipient", "result")

    def __init__(self, recipient: QueuedRecipient, action: str, result: AttemptResult) -> None:
        self.recipient = recipient
        self.action = action
        self.result = result


class Notifies(Protocol):
    """
    Writes to senders: L{twisted_mailstack.delivery.notification.Notifier}.
    """

    def wants(self, message: QueuedMessage, recipient: QueuedRecipient, action: str) -> bool:
        """
        @return: whether the sender is to be told (RFC 3461 §4.1, §6.2).
        """

    async def notify(
        self, message: QueuedMessage, reports: Sequence[Report], settled: Sequence[Outcome]
    ) -> None:
        """
        Tell the sender, and settle the outcomes, in one step.
        """


@dataclass(eq=False)
class Destination:
    """
    One destination that is being worked on, or waits.

    @ivar due: when something of it may be tried, as far as is known; C{None}: nothing known.
    @ivar retryAt: not before.
    @ivar failures: connection failures in a row.
    @ivar lastReply: of the last one.
    @ivar window: connections that it may have now.
    @ivar proven: whether it has answered since it last could not be reached.
    @ivar active: connections that it has.
    @ivar jobs: messages that are loaded.
    @ivar taken: recipients that are loaded, being sent or being settled.
    @ivar idle: connections that wait for a message.
    """

    name: str
    window: float = 1.0
    due: int | None = None
    retryAt: int = 0
    failures: int = 0
    lastReply: str = ""
    proven: bool = False
    active: int = 0
    loading: bool = False
    jobs: deque[QueuedMessage] = field(default_factory=deque)
    taken: set[tuple[int, int]] = field(default_factory=set)
    idle: list[Deferred[None]] = field(default_factory=list)


class QueueRunner:
    """
    Runs the queue of one spool.

    @ivar attempts: messages handed to relays since it was started.
    @ivar delivered: recipients that got through; C{deferred} and C{failed} likewise.
    """

    log = Logger()

    def __init__(
        self,
        spool: ISpool,
        relayFor: Callable[[str], IRelay],
        notifier: Notifies,
        clock: IReactorTime,
        settings: QueueSettings | None = None,
        schedule: RetrySchedule | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        """
        @param relayFor: given a destination's name, the way there.
        @param notifier: tells senders.
        @param clock: for timers.
        @param now: seconds since 1970.
        """
        self._spool = spool
        self._relayFor = relayFor
        self._notifier = notifier
        self._clock = clock
        self._settings = settings or QueueSettings()
        self._schedule = schedule or RetrySchedule()
        self._now = now
        self._destinations: dict[str, Destination] = {}
        # Those that may want a connection now, in turn, and those that will later.
        self._ready: dict[Destination, None] = {}
        self._later: list[tuple[int, int, Destination]] = []
        self._numbers = count()
        self._active = 0
        self._hungry = False
        self._release: Callable[[], None] | None = None
        self._stopWatching: Callable[[], None] | None = None
        self._turn: IDelayedCall | None = None
        self._look: IDelayedCall | None = None
        self._alarm: IDelayedCall | None = None
        self._stopping = True
        self._looking = False
        self._working: set[Deferred[None]] = set()
        self.attempts = self.delivered = self.deferred = self.failed = 0

    @property
    def running(self) -> bool:
        """Whether it is this one that takes mail out."""
        return self._release is not None

    @property
    def connections(self) -> int:
        """How many there are."""
        return self._active

    # --- starting and stopping -----------------------------------------------------------------

    def start(self) -> None:
        """
        Begin, as soon as nobody else runs this queue.
        """
        self._stopping = False
        self._lookAround()

    async def stop(self, patience: float = 5.0) -> None:
        """
        Begin nothing more. Returns when all that is known of attempts is settled; the spool must be
        there until then.

        @param patience: seconds that messages on their way have to get through; then their
            connections are cut, and they wait for the next start.
        """
        self._stopping = True
        for timer in (self._turn, self._look, self._alarm):
            if timer is not None and timer.active():
                timer.cancel()
        if self._stopWatching is not None:
            self._stopWatching()
            self._stopWatching = None
        for destination in self._destinations.values():
            _wake(destination)

        def cut() -> None:
            for work in list(self._working):
                work.cancel()

        timer = self._clock.callLater(patience, cut)
        while self._working:
            await DeferredList(list(self._working))
        if timer.active():
            timer.cancel()
        if self._release is not None:
            self._release()
            self._release = None

    def _lookAround(self) -> None:
        # Every LOOK seconds: take over a queue that nobody runs, and see what is overdue.
        if self._stopping:
            return
        self._look = self._clock.callLater(LOOK, self._lookAround)
        if self._release is None:
            self._release = self._spool.lockQueue()
            if self._release is None:
                return
            self._stopWatching = self._spool.watch(self._changed)
            self._changed(None)
        if not self._looking:
            self._looking = True
            self._spawn(self._checkOverdue())

    def _spawn(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except CancelledError:
                pass
            except Exception:
                self.log.failure("the queue stumbled")

        done = ensureDeferred(guarded())
        if not done.called:
            self._working.add(done)
            done.addBoth(lambda _: self._working.discard(done))

    # --- what there is to do -------------------------------------------------------------------

    def _changed(self, names: Collection[str] | None) -> None:
        if self._stopping:
            return
        if names is None:
            self._spawn(self._learn())
            return
        now = int(self._now())
        for name in names:
            destination = self._known(name)
            # Due now, or later: loading it tells.
            destination.due = now
            self._consider(destination)

    async def _learn(self) -> None:
        for state in await self._spool.destinations():
            destination = self._known(state.name)
            destination.due = state.due
            destination.retryAt = state.retryAt
            destination.failures = state.failures
            destination.lastReply = state.lastReply
            self._consider(destination)

    def _known(self, name: str) -> Destination:
        destination = self._destinations.get(name)
        if destination is None:
            destination = self._destinations[name] = Destination(name)
        return destination

    def _consider(self, destination: Destination) -> None:
        """
        A destination may want a connection, now or later.
        """
        if self._stopping or (not destination.jobs and destination.due is None):
            return
        when = max(destination.due or 0, destination.retryAt)
        if destination.jobs:
            when = destination.retryAt
        if when > self._now():
            heapq.heappush(self._later, (when, next(self._numbers), destination))
            if self._later[0][2] is destination:
                self._setAlarm()
        elif destination.idle:
            destination.idle.pop().callback(None)
        else:
            self._ready[destination] = None
            if self._turn is None:
                self._turn = self._clock.callLater(0, self._takeTurns)

    def _setAlarm(self) -> None:
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = None
        if self._later:
            delay = max(0.0, self._later[0][0] - self._now())
            self._alarm = self._clock.callLater(delay, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = self._now()
        rung = set()
        while self._later and self._later[0][0] <= now:
            rung.add(heapq.heappop(self._later)[2])
        for destination in rung:
            # Its time may have changed since.
            self._consider(destination)
        self._setAlarm()

    def _takeTurns(self) -> None:
        # Each gets a connection in turn, until there are as many as there may be.
        self._turn = None
        self._hungry = False
        while self._ready and not self._stopping:
            if self._active >= self._settings.maxConnections:
                self._hungry = True
                return
            destination = next(iter(self._ready))
            del self._ready[destination]
            if self._mayStart(destination):
                destination.active += 1
                self._active += 1
                self._spawn(self._work(destination))
                if destination.jobs and self._mayStart(destination):
                    self._ready[destination] = None

    def _mayStart(self, destination: Destination) -> bool:
        if destination.retryAt > self._now() or destination.idle:
            return False
        # One connection finds out whether it can be reached, and one loads.
        if destination.active and not (destination.proven and destination.jobs):
            return False
        return destination.active < int(destination.window)

    # --- sending -------------------------------------------------------------------------------

    async def _work(self, destination: Destination) -> None:
        settings = self._settings
        connection: IRelayConnection | None = None
        sent = 0
        try:
            while message := await self._next(destination, connection is not None):
                if message.mustNotBeLate and message.expires <= self._now():
                    late = AttemptResult(554, "5.4.7", "Delivery time expired")
                    self._finish(destination, message, [late] * len(message.recipients))
                    continue
                if connection is not None and (
                    sent >= settings.messagesPerConnection or not connection.accepts(message)
                ):
                    old, connection, sent = connection, None, 0
                    await old.close()
                if connection is None:
                    try:
                        connection = await self._connect(destination, message)
                    except DestinationUnavailable as error:
                        destination.jobs.appendleft(message)
                        await self._unreachable(destination, error)
                        break
                    except MailError as error:
                        self._finish(destination, message, _same(error, message))
                        continue
                sent += 1
                await self._send(destination, connection, message)
                if self._hungry and sent >= QUANTUM:
                    # Others wait for a connection; this destination gets in line again.
                    break
        finally:
            destination.active -= 1
            self._active -= 1
            if not destination.active:
                self._unload(destination)
            self._consider(destination)
            if self._hungry and self._turn is None and not self._stopping:
                self._turn = self._clock.callLater(0, self._takeTurns)
            if connection is not None:
                await connection.close()
            await self._rest(destination)

    async def _connect(self, destination: Destination, message: QueuedMessage) -> IRelayConnection:
        try:
            connection = await self._relayFor(destination.name).connect(destination.name, message)
        except MailError:
            raise
        except CancelledError:
            self._letGo(destination, message)
            raise
        except Exception:
            self.log.failure("{destination}: connecting failed", destination=destination.name)
            raise DestinationUnavailable("Internal error") from None
        if destination.failures:
            destination.failures = destination.retryAt = 0
            destination.lastReply = ""
            await self._spool.postpone(destination.name, 0, 0, "")
        if not destination.proven:
            destination.proven = True
            destination.window = float(
                min(self._settings.firstPerDestination, self._settings.maxPerDestination)
            )
            self._consider(destination)
        return connection

    async def _unreachable(self, destination: Destination, error: MailError) -> None:
        if destination.active > 1 and destination.proven:
            # Others of ours are connected: it takes fewer at a time.
            destination.window = max(1.0, float(destination.active - 1))
            return
        now = int(self._now())
        destination.failures += 1
        destination.proven = False
        destination.window = 1.0
        destination.retryAt = now + self._schedule.delay(destination.failures)
        destination.lastReply = f"{error.smtpCode} {error.enhancedStatus} {error.text}"
        self.log.info(
            "{destination}: unreachable, next attempt in {delay} s: {reply}",
            destination=destination.name,
            delay=destination.retryAt - now,
            reply=destination.lastReply,
        )
        await self._spool.postpone(
            destination.name, destination.retryAt, destination.failures, destination.lastReply
        )

    async def _send(
        self, destination: Destination, connection: IRelayConnection, message: QueuedMessage
    ) -> None:
        self.attempts += 1
        results: Sequence[AttemptResult]
        try:
            content = await self._spool.openContent(message.spoolId)
            results = await connection.send(message, content)
        except MessageExpunged:
            # An operator removed it meanwhile.
            self._letGo(destination, message)
            return
        except CancelledError:
            self._letGo(destination, message)
            raise
        except MailError as error:
            results = _same(error, message)
        except Exception:
            self.log.failure("{queueId}: an attempt failed", queueId=message.queueId)
            results = [AttemptResult(451, "4.3.0", "Internal error")] * len(message.recipients)
        if any(result.delivered for result in results):
            window = destination.window
            destination.window = min(self._settings.maxPerDestination, window + 1 / window)
        self._finish(destination, message, results)

    async def _next(self, destination: Destination, mayWait: bool) -> QueuedMessage | None:
        while not self._stopping:
            if destination.jobs:
                message = destination.jobs.popleft()
                if destination.jobs and destination not in self._ready:
                    self._consider(destination)
                return message
            due = destination.due
            if due is not None and due <= self._now() and not destination.loading:
                await self._load(destination)
                if destination.jobs:
                    continue
            if not mayWait or self._hungry:
                return None
            mayWait = False
            news: Deferred[None] = Deferred()
            destination.idle.append(news)
            timer = self._clock.callLater(self._settings.linger, _fire, news)
            try:
                await news
            finally:
                if timer.active():
                    timer.cancel()
                if news in destination.idle:
                    destination.idle.remove(news)
        return None

    async def _load(self, destination: Destination) -> None:
        destination.loading = True
        try:
            now = int(self._now())
            # What arrives from here on sets it again.
            destination.due = None
            taken = destination.taken
            messages = await self._spool.due(destination.name, now, LOAD + len(taken))
            for message in messages:
                fresh = [r for r in message.recipients if (message.spoolId, r.number) not in taken]
                taken.update((message.spoolId, each.number) for each in fresh)
                for start in range(0, len(fresh), MAX_RECIPIENTS):
                    some = tuple(fresh[start : start + MAX_RECIPIENTS])
                    destination.jobs.append(message._replace(recipients=some))
            if destination.jobs:
                # There may be more.
                destination.due = now
        finally:
            destination.loading = False

    def _unload(self, destination: Destination) -> None:
        # Nobody works on it: nothing of it is kept in memory.
        while destination.jobs:
            self._letGo(destination, destination.jobs.popleft())
            destination.due = int(self._now())

    def _letGo(self, destination: Destination, message: QueuedMessage) -> None:
        for recipient in message.recipients:
            destination.taken.discard((message.spoolId, recipient.number))

    async def _rest(self, destination: Destination) -> None:
        # When nothing of it is under way any more: when is the next of it due, if there is any?
        if destination.active or destination.taken or destination.due is not None:
            return
        earliest = await self._spool.earliest(destination.name)
        if destination.active or destination.taken or destination.due is not None:
            return
        if earliest is not None:
            destination.due = earliest
            self._consider(destination)
        elif not destination.proven and not destination.failures:
            self._destinations.pop(destination.name, None)

    # --- results -------------------------------------------------------------------------------

    def _finish(
        self,
        destination: Destination,
        message: QueuedMessage,
        results: Sequence[AttemptResult],
    ) -> None:
        # Settled while the next message goes out: the spool has it until then.
        self._spawn(self._settle(destination, message, results))

    async def _settle(
        self,
        destination: Destination,
        message: QueuedMessage,
        results: Sequence[AttemptResult],
    ) -> None:
        now = int(self._now())
        outcomes: list[Outcome] = []
        reports: list[Report] = []
        for recipient, result in zip(message.recipients, results, strict=True):
            outcome, report = self._judge(message, recipient, result, now)
            outcomes.append(outcome)
            if report is not None:
                reports.append(report)
            self._tell(destination, message, recipient, result, outcome, now)
        while True:
            try:
                await self._write(message, reports, outcomes)
                break
            except CancelledError:
                raise
            except Exception:
                # As long as it isn't written it must not be sent again, so it stays taken.
                self.log.failure("{queueId}: a result can't be written", queueId=message.queueId)
                if self._stopping:
                    return
                again: Deferred[None] = Deferred()
                self._clock.callLater(SETTLE_AGAIN, _fire, again)
                await again
        self._letGo(destination, message)
        later = [each.nextAttempt for each in outcomes if each.nextAttempt is not None]
        if later and (destination.due is None or min(later) < destination.due):
            destination.due = min(later)
            self._consider(destination)
        await self._rest(destination)

    async def _write(
        self, message: QueuedMessage, reports: Sequence[Report], outcomes: Sequence[Outcome]
    ) -> None:
        if reports:
            await self._notifier.notify(message, reports, outcomes)
        else:
            await self._spool.settle(outcomes)

    def _judge(
        self,
        message: QueuedMessage,
        recipient: QueuedRecipient,
        result: AttemptResult,
        now: int,
    ) -> tuple[Outcome, Report | None]:
        key = (message.spoolId, recipient.number)
        wants = self._notifier.wants
        if result.delivered:
            self.delivered += 1
            report = None
            if not result.notifies and wants(message, recipient, "delivered"):
                report = Report(recipient, "relayed" if result.remote else "delivered", result)
            return Outcome(*key, True, result.line), report
        if result.temporary and now < message.expires:
            self.deferred += 1
            attempts = recipient.attempts + 1
            # One last attempt when it expires.
            again = max(now + 1, min(now + self._schedule.delay(attempts), message.expires))
            return Outcome(*key, False, result.line, again, attempts), None
        self.failed += 1
        report = Report(recipient, "failed", result)
        return Outcome(*key, True, result.line), (
            report if wants(message, recipient, "failed") else None
        )

    def _tell(
        self,
        destination: Destination,
        message: QueuedMessage,
        recipient: QueuedRecipient,
        result: AttemptResult,
        outcome: Outcome,
        now: int,
    ) -> None:
        self.log.info(
            "{queueId}: {outcome}: from={reversePath} to=<{recipient}> destination={destination}"
            " delay={delay} attempts={attempts} reply={reply!r}",
            queueId=message.queueId,
            outcome=("deferred" if not outcome.final else "sent" if result.delivered else "failed"),
            reversePath=formatPath(message.reversePath),
            recipient=str(recipient.address),
            destination=destination.name,
            delay=now - message.arrived,
            attempts=recipient.attempts + 1,
            reply=result.line,
        )

    # --- what waits for long -------------------------------------------------------------------

    async def _checkOverdue(self) -> None:
        try:
            while not self._stopping and await self._checkSome():
                pass
        finally:
            self._looking = False

    async def _checkSome(self) -> bool:
        """
        @return: whether there may be more.
        """
        now = int(self._now())
        progress = False
        for message in await self._spool.overdue(now, OVERDUE):
            checked = [
                self._checkOne(message, recipient, now)
                for recipient in message.recipients
                if not self._isTaken(message, recipient)
            ]
            outcomes = [outcome for outcome, _ in checked if outcome is not None]
            reports = [report for _, report in checked if report is not None]
            if outcomes:
                await self._write(message, reports, outcomes)
                progress = True
        return progress

    def _isTaken(self, message: QueuedMessage, recipient: QueuedRecipient) -> bool:
        destination = self._destinations.get(recipient.destination)
        key = (message.spoolId, recipient.number)
        return destination is not None and key in destination.taken

    def _checkOne(
        self, message: QueuedMessage, recipient: QueuedRecipient, now: int
    ) -> tuple[Outcome | None, Report | None]:
        key = (message.spoolId, recipient.number)
        destination = self._destinations.get(recipient.destination)
        retryAt = 0 if destination is None else destination.retryAt
        said = recipient.lastReply or ("" if destination is None else destination.lastReply)
        if now < message.expires:
            report = None
            if not recipient.delayNotified and self._notifier.wants(message, recipient, "delayed"):
                result = AttemptResult(451, "4.4.7", said or "No attempt was made yet")
                report = Report(recipient, "delayed", result)
            told = report is not None
            return Outcome(*key, False, checkAt=message.expires, delayNotified=told), report
        if max(recipient.nextAttempt, retryAt) <= now and not message.mustNotBeLate:
            # As after a long pause of the server: the attempt that is due decides.
            return None, None
        self.failed += 1
        result = AttemptResult(
            554, "5.4.7", "Delivery time expired" + (f": {said}" if said else "")
        )
        self.log.info(
            "{queueId}: expired: from={reversePath} to=<{recipient}> reply={reply!r}",
            queueId=message.queueId,
            reversePath=formatPath(message.reversePath),
            recipient=str(recipient.address),
            reply=said,
        )
        wanted = self._notifier.wants(message, recipient, "failed")
        return (
            Outcome(*key, True, result.line),
            Report(recipient, "failed", result) if wanted else None,
        )


def _fire(deferred: Deferred[None]) -> None:
    if not deferred.called:
        deferred.callback(None)


def _wake(destination: Destination) -> None:
    while destination.idle:
        destination.idle.pop().callback(None)


def _same(error: MailError, message: QueuedMessage) -> list[AttemptResult]:
    result = AttemptResult(error.smtpCode, error.enhancedStatus, error.text)
    return [result] * len(message.recipients)
