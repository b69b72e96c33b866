# -*- test-case-name: tests.delivery.test_queue -*-
"""
The queue: takes mail out of the spool and hands it to relays, destination by destination.

Everything is per destination: connection failures postpone the destination and not its messages, so
a dead domain with a hundred thousand messages costs what one with one message costs; connections
are limited per destination and shared out in turn, so a busy one delays nobody else. A temporary
reply to one recipient postpones that recipient alone (RFC 5321 §4.5.4.1).

How many connections a destination gets adapts: one until it has answered, one more while messages
get through, fewer when connections are refused or break. Destinations that could not be reached
lately share a part of all connections, so that however many of them there are, the others go on.
Memory holds a few dozen recipients of each destination that is being worked on, never the queue.

What is known of a destination, in the order of its life:

  - C{due} or C{jobs} say that there is something to do; nothing to do and nobody at work: the spool
    is asked what comes next (L{QueueRunner._rest}), and if nothing does it is forgotten;
  - not yet: it stands in C{_later} until its time;
  - now: it stands in C{_ready} or C{_suspects} until it is its turn, or wakes a connection that
    waits;
  - whoever works on it looks for more before it ends, and at its end puts the destination where it
    belongs (L{QueueRunner._consider}).

One process runs the queue of a spool; others that try go on trying, so that one takes over when the
first ends.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from time import time
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twisted_mailstack.delivery.schedule import RetrySchedule
from twisted_mailstack.errors import (
    DestinationUnavailable,
    HostBusy,
    MailError,
    MessageExpunged,
)
from twisted_mailstack.interfaces import IRelay, IRelayConnection, ISpool
from twisted_mailstack.model.address import formatPath
from twisted_mailstack.model.queue import (
    EXPANDED,
    AttemptResult,
    Outcome,
    QueuedMessage,
    QueuedRecipient,
)

#: Recipients of a destination that are loaded at a time.
LOAD = 100
#: Recipients of one message in one transaction (RFC 5321 §4.5.3.1.8: every server takes 100).
MAX_RECIPIENTS = 100
#: Seconds between looks at what is overdue, and between attempts to become the one who runs the
#: queue.
LOOK = 30.0
#: Overdue recipients that are looked at in one go.
OVERDUE = 500
#: Seconds after which an expired recipient is looked at again that is just being tried, or whose
#: turn comes.
CHECK_AGAIN = 300
#: Seconds that an expired recipient, whose destination takes mail, waits at most for its turn.
LAST_TURN = 3600
#: How many times as long as it took to read what there is it is not read again.
PAUSE = 10
#: Messages that a connection may send while others wait for one.
QUANTUM = 20
#: Seconds after which the spool is asked again that has failed.
SPOOL_AGAIN = 5.0
#: Messages of one connection whose results may wait to be written. What is sent and not written
#: when the machine stops is sent once more (RFC 5321 §6.1).
UNSETTLED = 10
#: Connections in a row that break before anything gets through them, after which the destination
#: counts as one that can't be reached.
BROKEN = 3
#: Seconds after which a destination that waits for others' connections to its host tries by itself.
BUSY_AGAIN = 60
#: Seconds after which a destination that was refused one more connection than it has tries again.
FULL_AGAIN = 10
#: Which part of all connections may go to destinations that could not be reached lately.
SUSPECTS = 4


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
    @ivar at: when that was, seconds since 1970; C{None} if it isn't known any more.
    """

    __slots__ = ("action", "at", "recipient", "result")

    def __init__(
        self, recipient: QueuedRecipient, action: str, result: AttemptResult, at: int | None = None
    ) -> None:
        self.recipient = recipient
        self.action = action
        self.result = result
        self.at = at


class Notifies(Protocol):
    """
    Writes to senders: L{twisted_mailstack.delivery.notification.Notifier}.
    """

    def wants(self, message: QueuedMessage, recipient: QueuedRecipient, action: str) -> bool:
        """
        @param action: as of L{Report}; or C{traced}, for what was relayed and RFC 2852 has told.
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

    @ivar window: connections that it may have now.
    @ivar due: when something of it may be tried, as far as is known; C{None}: nothing known.
    @ivar retryAt: not before.
    @ivar busyUntil: nor before, since others have all connections to its host; known here only.
    @ivar fullUntil: until then it has all the connections that it may have; known here only.
    @ivar crowded: whether others waited for connections to its host, the last time it was seen.
    @ivar failures: how often in a row it could not be reached.
    @ivar lastReply: of the last failure.
    @ivar proven: whether it has answered since it last could not be reached.
    @ivar broken: connections in a row that broke before anything got through.
    @ivar active: connections that it has.
    @ivar probing: whether its one connection finds out whether it can be reached again.
    @ivar loading: whether the spool is being asked for messages.
    @ivar resting: whether the spool is being asked what comes next; C{restAgain}: once more.
    @ivar writing: changes of C{retryAt} that aren't in the spool yet; C{written}: which reading of
        the spool may not have seen the last one.
    @ivar alarm: when it is looked at again, in any case.
    @ivar jobs: messages that are loaded.
    @ivar taken: recipients that are loaded, being sent or being settled.
    @ivar released: recipients that aren't any more, since loading began.
    @ivar idle: connections that wait for a message.
    """

    name: str
    window: float = 1.0
    due: int | None = None
    retryAt: int = 0
    busyUntil: int = 0
    fullUntil: int = 0
    crowded: bool = False
    failures: int = 0
    lastReply: str = ""
    proven: bool = False
    broken: int = 0
    active: int = 0
    probing: bool = False
    loading: bool = False
    resting: bool = False
    restAgain: bool = False
    writing: int = 0
    written: int = 0
    alarm: int | None = None
    jobs: deque[QueuedMessage] = field(default_factory=deque)
    taken: set[tuple[int, int]] = field(default_factory=set)
    released: set[tuple[int, int]] = field(default_factory=set)
    idle: list[Deferred[None]] = field(default_factory=list)

    @property
    def mayStartAt(self) -> int:
        """When it may have another connection."""
        return max(self.retryAt, self.busyUntil)

    @property
    def suspect(self) -> bool:
        """Whether it could not be reached the last time."""
        return self.failures > 0 and not self.proven


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
        self._numbers = count()
        self._release: Callable[[], None] | None = None
        self._stopWatching: Callable[[], None] | None = None
        self._stopping = True
        self._turn: IDelayedCall | None = None
        self._look: IDelayedCall | None = None
        self._alarm: IDelayedCall | None = None
        self._began = 0
        self._active = self._probing = 0
        self._hungry = False
        self._looking = self._learning = self._outdated = False
        self._readings = 0
        # What sends, which may be cut short, and what writes results, which may not.
        self._sending: set[Deferred[None]] = set()
        self._settling: set[Deferred[None]] = set()
        self._sleeping: set[Deferred[None]] = set()
        self._idle: dict[Deferred[None], IRelayConnection] = {}
        self._forgetAll()
        self.attempts = self.delivered = self.deferred = self.failed = 0

    def _forgetAll(self) -> None:
        self._destinations: dict[str, Destination] = {}
        # Those that may want a connection now, in turn, and those that will later.
        self._ready: dict[Destination, None] = {}
        self._suspects: dict[Destination, None] = {}
        self._later: list[tuple[int, int, Destination]] = []
        # What any destination has taken: a message that is sent may be rerouted meanwhile.
        self._taken: set[tuple[int, int]] = set()

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
        Begin, as soon as nobody else runs this queue. Does nothing if it has begun.
        """
        if self._stopping:
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
        self._turn = self._look = self._alarm = None
        if self._stopWatching is not None:
            self._stopWatching()
            self._stopWatching = None
        self._wakeIdle()
        for sleeping in list(self._sleeping):
            _fire(sleeping)

        def cut() -> None:
            # Again and again: who is cut may hang while it closes its connection.
            nonlocal timer
            timer = self._clock.callLater(max(1.0, patience), cut)
            for work in list(self._sending):
                work.cancel()

        timer = self._clock.callLater(patience, cut)
        try:
            while self._sending or self._settling:
                await DeferredList([_after(each) for each in self._sending | self._settling])
        finally:
            if timer.active():
                timer.cancel()
        if self._stopping:
            self._forgetAll()
            if self._release is not None:
                self._release()
                self._release = None

    def _lookAround(self) -> None:
        # Every LOOK seconds: take over a queue that nobody runs, and see what is overdue.
        if self._stopping:
            return
        self._look = self._clock.callLater(LOOK, self._lookAround)
        if self._release is None:
            try:
                self._release = self._spool.lockQueue()
            except Exception:
                self.log.failure("it can't be found out who runs the queue")
            if self._release is None:
                return
            self._began = int(self._now())
        if self._stopWatching is None:
            self._outdated = True
            self._stopWatching = self._spool.watch(self._changed)
        if self._outdated:
            self._changed(None)
        # The time of day may have been set, or the machine have slept.
        self._ring()
        if not self._looking:
            self._looking = True
            self._spawn(self._checkOverdue(), self._settling)

    def _spawn(self, work: Awaitable[None], among: set[Deferred[None]]) -> Deferred[None]:
        async def guarded() -> None:
            try:
                await work
            except CancelledError:
                pass
            except Exception:
                self.log.failure("the queue stumbled")

        done = ensureDeferred(guarded())
        if not done.called:
            among.add(done)
            done.addBoth(lambda _: among.discard(done))
        return done

    async def _sleep(self, seconds: float) -> None:
        sleeping: Deferred[None] = Deferred()
        self._sleeping.add(sleeping)
        timer = self._clock.callLater(seconds, _fire, sleeping)
        try:
            await sleeping
        finally:
            self._sleeping.discard(sleeping)
            if timer.active():
                timer.cancel()

    # --- what there is to do -------------------------------------------------------------------

    def _changed(self, names: Collection[str] | None) -> None:
        if self._stopping:
            return
        if names is None:
            self._outdated = True
            if not self._learning:
                self._learning = True
                self._spawn(self._learn(), self._settling)
            return
        now = int(self._now())
        for name in names:
            destination = self._known(name)
            # Due now, or later: loading it tells.
            destination.due = now
            self._consider(destination)

    async def _learn(self) -> None:
        # What others changed: all of it is read anew, and once more if it changes meanwhile. If it
        # can't be read, L{_lookAround} tries again.
        try:
            while self._outdated and not self._stopping:
                self._outdated = False
                self._readings += 1
                began = self._clock.seconds()
                try:
                    states = await self._spool.destinations()
                except BaseException:
                    self._outdated = True
                    raise
                if self._stopping:
                    return
                pause = PAUSE * (self._clock.seconds() - began)
                for state in states:
                    destination = self._known(state.name)
                    if destination.due is None or destination.due > state.due:
                        destination.due = state.due
                    if destination.writing or destination.written == self._readings:
                        # What was read may be older than what is known here.
                        self._outdated = True
                        pause = max(pause, 0.1)
                    else:
                        destination.retryAt = state.retryAt
                        destination.failures = state.failures
                        destination.lastReply = state.lastReply
                    self._consider(destination)
                # However many destinations there are, and however often others change something,
                # this is a small part of what is done.
                if pause:
                    await self._sleep(pause)
        finally:
            self._learning = False

    def _known(self, name: str) -> Destination:
        destination = self._destinations.get(name)
        if destination is None:
            destination = self._destinations[name] = Destination(name)
        return destination

    def _consider(self, destination: Destination) -> None:
        """
        A destination may want a connection, now or later.
        """
        if self._stopping:
            return
        if destination.jobs:
            when = destination.retryAt
        elif destination.due is not None:
            when = max(destination.due, destination.retryAt)
        else:
            return
        if not destination.idle:
            when = max(when, destination.busyUntil)
        if when > self._now():
            self._wait(destination, when)
        elif destination.idle:
            _fire(destination.idle.pop())
        else:
            (self._suspects if destination.suspect else self._ready)[destination] = None
            self._shareOut()

    def _wait(self, destination: Destination, when: int) -> None:
        if destination.alarm is not None and destination.alarm <= when:
            # It is considered again then.
            return
        destination.alarm = when
        heapq.heappush(self._later, (when, next(self._numbers), destination))
        if len(self._later) > 2 * len(self._destinations) + 100:
            # Mostly alarms that were set to an earlier time, or whose destination is forgotten.
            self._later = [
                (each.alarm, next(self._numbers), each)
                for each in self._destinations.values()
                if each.alarm is not None
            ]
            heapq.heapify(self._later)
        if self._later[0][0] >= when:
            self._setAlarm()

    def _setAlarm(self) -> None:
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = None
        if self._later:
            delay = max(0.0, self._later[0][0] - self._now())
            self._alarm = self._clock.callLater(delay, self._ring)

    def _ring(self) -> None:
        now = self._now()
        while self._later and self._later[0][0] <= now:
            when, _, destination = heapq.heappop(self._later)
            if destination.alarm == when:
                destination.alarm = None
                # Its time may have changed since.
                self._consider(destination)
        self._setAlarm()

    def _shareOut(self) -> None:
        if self._turn is None and not self._stopping and (self._ready or self._suspects):
            self._turn = self._clock.callLater(0, self._takeTurns)

    def _takeTurns(self) -> None:
        # Each gets a connection in turn, until there are as many as there may be.
        self._turn = None
        self._hungry = False
        while not self._stopping:
            line = self._line()
            if line is None:
                return
            if self._active >= self._settings.maxConnections:
                # Connections that wait for messages make room; those that send do so in a while.
                self._hungry = True
                self._wakeIdle()
                return
            destination = next(iter(line))
            del line[destination]
            if self._mayStart(destination):
                destination.active += 1
                self._active += 1
                if destination.suspect:
                    destination.probing = True
                    self._probing += 1
                self._spawn(self._work(destination), self._sending)
                if destination.jobs and self._mayStart(destination):
                    self._ready[destination] = None
            elif destination.idle or destination.mayStartAt > self._now():
                # It got there while it was waiting for its turn.
                self._consider(destination)

    def _line(self) -> dict[Destination, None] | None:
        # Whose turn it is.
        most = max(1, self._settings.maxConnections // SUSPECTS)
        if self._suspects and self._probing < most:
            return self._suspects
        return self._ready or None

    def _mayStart(self, destination: Destination) -> bool:
        if destination.mayStartAt > self._now() or destination.idle:
            return False
        # One connection finds out whether it can be reached, and one loads.
        if destination.active and not (destination.proven and destination.jobs):
            return False
        if destination.active and destination.fullUntil > self._now():
            return False
        return destination.active < int(destination.window)

    # --- sending -------------------------------------------------------------------------------

    async def _work(self, destination: Destination) -> None:
        connection: IRelayConnection | None = None
        stumbled = False
        try:
            sent = turn = 0
            unsettled: deque[Deferred[None]] = deque()
            while True:
                while len(unsettled) >= UNSETTLED:
                    await unsettled.popleft()
                if turn >= QUANTUM and self._isWanted(connection):
                    # Others wait for one, or for this one; this destination gets in line again.
                    destination.crowded = connection is not None and connection.wanted
                    break
                message = await self._next(destination, connection)
                if message is None:
                    break
                try:
                    message = await self._confirm(destination, message)
                    if not message.recipients:
                        continue
                    if self._isLate(message):
                        unsettled.append(self._finish(destination, message, _LATE))
                        continue
                    if connection is not None and (
                        sent >= self._settings.messagesPerConnection
                        or not self._usable(connection, message)
                    ):
                        old, connection = connection, None
                        await self._close(old)
                    if connection is None:
                        sent = 0
                        try:
                            connection = await self._connect(destination, message)
                        except HostBusy as error:
                            self._putBack(destination, message)
                            self._standInLine(destination, error)
                            break
                        except DestinationUnavailable as error:
                            await self._refused(destination, error)
                            self._giveBack(destination, message, _own(error))
                            break
                        except MailError as error:
                            unsettled.append(self._finish(destination, message, _own(error)))
                            continue
                    sent += 1
                    turn += 1
                    results = await self._send(connection, message)
                except MessageExpunged:
                    # An operator removed it meanwhile.
                    self._letGo(destination, message)
                    continue
                except CancelledError:
                    self._putBack(destination, message)
                    raise
                except Exception:
                    self.log.failure("{queueId}: not tried", queueId=message.queueId)
                    self._putBack(destination, message)
                    stumbled = True
                    break
                if results is None:
                    old, connection = connection, None
                    unsettled.append(self._finish(destination, message, _STUMBLED))
                    await self._close(old)
                    continue
                unsettled.append(self._finish(destination, message, *results))
                if await self._wentWrong(destination, connection, message, results):
                    break
        finally:
            destination.active -= 1
            self._active -= 1
            if not destination.active:
                destination.fullUntil = 0
                self._probed(destination)
                # Nobody works on it: nothing of it is kept in memory.
                last = AttemptResult.parse(destination.lastReply) or _STUMBLED
                while destination.jobs:
                    self._giveBack(destination, destination.jobs.popleft(), last)
                if stumbled:
                    destination.due = int(self._now() + SPOOL_AGAIN)
            self._consider(destination)
            self._shareOut()
            if connection is not None:
                await self._close(connection)
            await self._rest(destination)

    def _probed(self, destination: Destination) -> None:
        # It is known whether it can be reached: another may be tried.
        if destination.probing:
            destination.probing = False
            self._probing -= 1
            self._shareOut()

    def _isWanted(self, connection: IRelayConnection | None) -> bool:
        return self._hungry or (connection is not None and connection.wanted)

    def _standInLine(self, destination: Destination, error: HostBusy) -> None:
        # Others have all connections to its host.
        destination.crowded = True
        if destination.active > 1:
            # It has some of them.
            self._isFull(destination)
            error.free.addErrback(lambda failure: failure.trap(CancelledError))
            error.free.cancel()
            return

        def freed(_: object) -> None:
            destination.busyUntil = 0
            if self._destinations.get(destination.name) is destination:
                self._consider(destination)

        # Nobody waits for ever, whatever becomes of the others.
        destination.busyUntil = int(self._now()) + BUSY_AGAIN
        error.free.addCallbacks(freed, lambda failure: failure.trap(CancelledError))
        for news, connection in list(self._idle.items()):
            if connection.wanted:
                _fire(news)

    def _isFull(self, destination: Destination) -> None:
        destination.window = max(1.0, float(destination.active - 1))
        destination.fullUntil = int(self._now()) + FULL_AGAIN

    async def _next(
        self, destination: Destination, connection: IRelayConnection | None
    ) -> QueuedMessage | None:
        mayWait = True
        while not self._stopping and destination.retryAt <= self._now():
            if destination.jobs:
                message = destination.jobs.popleft()
                if destination.jobs:
                    self._consider(destination)
                return message
            due = destination.due
            if due is not None and due <= self._now() and not destination.loading:
                if connection is not None:
                    destination.crowded = connection.wanted
                await self._load(destination)
                continue
            if connection is None or not mayWait or self._isWanted(connection):
                return None
            mayWait = False
            news: Deferred[None] = Deferred()
            destination.idle.append(news)
            self._idle[news] = connection
            timer = self._clock.callLater(self._settings.linger, _fire, news)
            try:
                await news
            finally:
                if timer.active():
                    timer.cancel()
                del self._idle[news]
                if news in destination.idle:
                    destination.idle.remove(news)
        return None

    def _wakeIdle(self) -> None:
        for news in list(self._idle):
            _fire(news)

    async def _load(self, destination: Destination) -> None:
        now = int(self._now())
        taken = destination.taken
        # What a turn has no room for would be read again in the next.
        limit = QUANTUM if self._hungry or destination.crowded else LOAD
        destination.loading = True
        # What arrives from here on sets it again.
        destination.due = None
        try:
            messages = await self._spool.due(destination.name, now, limit + len(taken))
        except CancelledError:
            raise
        except Exception:
            self.log.failure("{destination}: can't be loaded", destination=destination.name)
            destination.due = now + int(SPOOL_AGAIN)
            return
        finally:
            released, destination.released = destination.released, set()
            destination.loading = False
        elsewhere = False
        for message in messages:
            fresh = []
            for recipient in message.recipients:
                key = (message.spoolId, recipient.number)
                if key not in self._taken:
                    # What was settled meanwhile was read as it was before.
                    if key not in released:
                        fresh.append(recipient)
                elif key not in taken:
                    elsewhere = True
            for start in range(0, len(fresh), MAX_RECIPIENTS):
                some = message._replace(recipients=tuple(fresh[start : start + MAX_RECIPIENTS]))
                self._take(destination, some)
                destination.jobs.append(some)
        if destination.jobs or released:
            # There may be more.
            destination.due = now
        elif elsewhere and destination.due is None:
            # It was rerouted while it was sent.
            destination.due = now + int(SPOOL_AGAIN)

    async def _confirm(self, destination: Destination, message: QueuedMessage) -> QueuedMessage:
        # An operator may have held, removed or rerouted it since it was loaded.
        waiting = await self._spool.waiting(message.spoolId, destination.name)
        gone = [each for each in message.recipients if each.number not in waiting]
        if not gone:
            return message
        self._letGo(destination, message._replace(recipients=tuple(gone)))
        return message._replace(
            recipients=tuple(each for each in message.recipients if each.number in waiting)
        )

    def _isLate(self, message: QueuedMessage) -> bool:
        return (
            message.mustNotBeLate
            and message.expires <= self._now()
            and not message.recipients[0].arrived
        )

    def _usable(self, connection: IRelayConnection, message: QueuedMessage) -> bool:
        try:
            return connection.accepts(message)
        except Exception:
            self.log.failure("a connection failed")
            return False

    async def _connect(self, destination: Destination, message: QueuedMessage) -> IRelayConnection:
        try:
            return await self._relayFor(destination.name).connect(destination.name, message)
        except (MailError, CancelledError):
            raise
        except Exception:
            self.log.failure("{destination}: connecting failed", destination=destination.name)
            raise DestinationUnavailable("Internal error") from None

    async def _close(self, connection: IRelayConnection) -> None:
        try:
            await connection.close()
        except CancelledError:
            raise
        except Exception:
            self.log.failure("a connection could not be closed")

    async def _send(
        self, connection: IRelayConnection, message: QueuedMessage
    ) -> Sequence[AttemptResult] | None:
        """
        @return: C{None} if the connection failed in a way that it should not.
        """
        self.attempts += 1
        try:
            content = await self._spool.openContent(message.spoolId)
            results = await connection.send(message, content)
            if len(results) == len(message.recipients):
                return results
            self.log.error(
                "{queueId}: {results} results for {recipients} recipients",
                queueId=message.queueId,
                results=len(results),
                recipients=len(message.recipients),
            )
        except (MessageExpunged, CancelledError):
            raise
        except MailError as error:
            return [_own(error)] * len(message.recipients)
        except Exception:
            self.log.failure("{queueId}: an attempt failed", queueId=message.queueId)
        return None

    async def _wentWrong(
        self,
        destination: Destination,
        connection: IRelayConnection,
        message: QueuedMessage,
        results: Sequence[AttemptResult],
    ) -> bool:
        """
        Learn from an attempt how the destination does.

        @return: whether it is no use to go on.
        """
        most = float(self._settings.maxPerDestination)
        if not all(each.temporary for each in results) or self._usable(connection, message):
            # It talks to us, whatever it says.
            destination.broken = 0
            if not destination.proven:
                destination.proven = True
                destination.window = min(float(self._settings.firstPerDestination), most)
                self._probed(destination)
                self._consider(destination)
            if any(each.delivered for each in results):
                window = destination.window
                destination.window = min(most, window + 1 / window)
            if destination.failures:
                destination.failures = destination.retryAt = 0
                destination.lastReply = ""
                await self._remember(destination)
            return False
        destination.broken += 1
        destination.window = max(1.0, destination.window / 2)
        if destination.broken < BROKEN:
            return False
        await self._postpone(destination, results[0].line)
        return True

    async def _refused(self, destination: Destination, error: MailError) -> None:
        if destination.active > 1 and destination.proven:
            # Others of ours are connected: it takes fewer at a time.
            self._isFull(destination)
            return
        await self._postpone(destination, _own(error).line)

    async def _postpone(self, destination: Destination, reply: str) -> None:
        now = int(self._now())
        destination.failures += 1
        destination.broken = 0
        destination.proven = False
        destination.window = 1.0
        destination.retryAt = now + self._schedule.delay(destination.failures)
        destination.lastReply = reply
        self.log.info(
            "{destination}: unreachable, next attempt in {delay} s: {reply!r}",
            destination=destination.name,
            delay=destination.retryAt - now,
            reply=reply,
        )
        await self._remember(destination)

    async def _remember(self, destination: Destination) -> None:
        # For the next start: if it can't be written, what is known here holds all the same.
        destination.writing += 1
        try:
            await self._spool.postpone(
                *(destination.name, destination.retryAt),
                *(destination.failures, destination.lastReply),
            )
        except CancelledError:
            raise
        except Exception:
            self.log.failure("{destination}: can't be noted", destination=destination.name)
        finally:
            destination.writing -= 1
            destination.written = self._readings

    def _take(self, destination: Destination, message: QueuedMessage) -> None:
        keys = [(message.spoolId, each.number) for each in message.recipients]
        destination.taken.update(keys)
        self._taken.update(keys)

    def _letGo(self, destination: Destination, message: QueuedMessage) -> None:
        keys = [(message.spoolId, each.number) for each in message.recipients]
        destination.taken.difference_update(keys)
        self._taken.difference_update(keys)
        if destination.loading:
            destination.released.update(keys)

    def _putBack(self, destination: Destination, message: QueuedMessage) -> None:
        # Not tried: it is still due.
        self._letGo(destination, message)
        destination.due = int(self._now())

    def _giveBack(
        self, destination: Destination, message: QueuedMessage, result: AttemptResult
    ) -> None:
        # Not sent. If its destination can't be reached, that was the last attempt of what expired.
        if message.expires <= self._now() < destination.retryAt:
            self._spawn(self._giveUp(destination, message, result), self._settling)
        else:
            self._putBack(destination, message)

    async def _giveUp(
        self, destination: Destination, message: QueuedMessage, result: AttemptResult
    ) -> None:
        try:
            message = await self._confirm(destination, message)
        except BaseException:
            self._putBack(destination, message)
            self._consider(destination)
            raise
        if message.recipients:
            result = _LATE if self._isLate(message) else result
            await self._settle(destination, message, [result] * len(message.recipients))
        else:
            await self._rest(destination)

    async def _rest(self, destination: Destination) -> None:
        # When nothing of it is under way any more: when is the next of it due, if there is any?
        if self._stopping or destination.active or destination.taken:
            return
        if destination.due is not None:
            return
        if destination.resting:
            destination.restAgain = True
            return
        destination.resting = True
        earliest: int | None
        try:
            while True:
                destination.restAgain = False
                earliest = await self._spool.earliest(destination.name)
                if not destination.restAgain:
                    break
        except CancelledError:
            raise
        except Exception:
            self.log.failure("{destination}: can't be looked up", destination=destination.name)
            earliest = int(self._now() + SPOOL_AGAIN)
        finally:
            destination.resting = False
        if destination.active or destination.taken or destination.due is not None:
            return
        if earliest is not None:
            destination.due = earliest
            self._consider(destination)
        elif self._destinations.get(destination.name) is destination:
            # Nothing waits for it.
            del self._destinations[destination.name]
            if destination.failures:
                destination.failures = destination.retryAt = 0
                await self._remember(destination)

    # --- results -------------------------------------------------------------------------------

    def _finish(
        self, destination: Destination, message: QueuedMessage, *results: AttemptResult
    ) -> Deferred[None]:
        """
        Note what became of a message, while the next one goes out: the spool has it until then.

        @param results: one for each recipient, or one for all of them.
        @return: fires when it is written.
        """
        if len(results) == 1:
            results *= len(message.recipients)
        return _after(self._spawn(self._settle(destination, message, results), self._settling))

    async def _settle(
        self,
        destination: Destination,
        message: QueuedMessage,
        results: Sequence[AttemptResult],
    ) -> None:
        now = int(self._now())
        outcomes: list[Outcome] = []
        reports: list[Report] = []
        # Recipients that failed together are tried together.
        delays: dict[int, int] = {}
        for recipient, result in zip(message.recipients, results, strict=True):
            outcome, report = self._judge(message, recipient, result, now, delays)
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
                await self._sleep(SPOOL_AGAIN)
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
        delays: dict[int, int],
    ) -> tuple[Outcome, Report | None]:
        key = (message.spoolId, recipient.number)
        wants = self._notifier.wants
        if result.delivered:
            self.delivered += not recipient.arrived
            action = self._success(message, recipient, result)
            at = recipient.nextAttempt if recipient.arrived else now
            report = None if action is None else Report(recipient, action, result, at)
            return Outcome(*key, True, result.line), report
        if result.temporary and (now < message.expires or recipient.arrived):
            self.deferred += 1
            attempts = recipient.attempts + 1
            if attempts not in delays:
                delays[attempts] = self._schedule.delay(attempts)
            again = now + delays[attempts]
            if not recipient.arrived:
                # One last attempt when it expires.
                again = max(now + 1, min(again, message.expires))
            return Outcome(*key, False, result.line, again, attempts), None
        self.failed += 1
        report = Report(recipient, "failed", result, now)
        return Outcome(*key, True, result.line), (
            report if wants(message, recipient, "failed") else None
        )

    def _success(
        self, message: QueuedMessage, recipient: QueuedRecipient, result: AttemptResult
    ) -> str | None:
        """
        @return: the action that the sender is to be told of, if any.
        """
        action = "relayed" if result.remote else "delivered"
        if recipient.destination == EXPANDED:
            action = "expanded"
        wants = self._notifier.wants
        if not result.notifies and wants(message, recipient, action):
            return action
        traced = result.remote and message.relayIsTold(result.heedsTime)
        return action if traced and wants(message, recipient, "traced") else None

    def _tell(
        self,
        destination: Destination,
        message: QueuedMessage,
        recipient: QueuedRecipient,
        result: AttemptResult,
        outcome: Outcome,
        now: int,
    ) -> None:
        if recipient.arrived and outcome.final:
            # That it got there was told then.
            return
        told = "deferred" if not outcome.final else "sent" if result.delivered else "failed"
        reversePath = formatPath(message.reversePath)
        delay, attempts, reply = now - message.arrived, recipient.attempts + 1, result.line
        self.log.info(
            # One field: each takes a microsecond or two to format, and there is such a line for
            # each recipient of each message.
            "{line}",
            line=f"{message.queueId}: {told}: from={reversePath} to=<{recipient.address}>"
            f" destination={destination.name} delay={delay} attempts={attempts} reply={reply!r}",
            queueId=message.queueId,
            outcome=told,
            reversePath=reversePath,
            recipient=recipient.address,
            destination=destination.name,
            delay=delay,
            attempts=attempts,
            reply=reply,
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
        progress = False
        for message in await self._spool.overdue(int(self._now()), OVERDUE):
            if self._stopping:
                return False
            try:
                await self._check(message)
                progress = True
            except CancelledError:
                raise
            except Exception:
                # The others are looked at all the same.
                self.log.failure("{queueId}: can't be looked at", queueId=message.queueId)
        return progress

    async def _check(self, message: QueuedMessage) -> None:
        now = int(self._now())
        outcomes: list[Outcome] = []
        reports: list[Report] = []
        claimed: list[tuple[Destination, QueuedMessage]] = []
        for recipient in message.recipients:
            key = (message.spoolId, recipient.number)
            if key in self._taken:
                # The attempt that is under way decides.
                again = now + CHECK_AGAIN
                if now < message.expires:
                    again = min(again, message.expires)
                outcomes.append(Outcome(*key, False, checkAt=again))
            else:
                # It isn't tried while its sender is told.
                destination = self._known(recipient.destination)
                one = message._replace(recipients=(recipient,))
                self._take(destination, one)
                claimed.append((destination, one))
        try:
            for destination, one in claimed:
                # Since it was read it may have been settled, or an operator have held it.
                waiting = await self._spool.waiting(message.spoolId, destination.name)
                (recipient,) = one.recipients
                if recipient.number in waiting:
                    outcome, report = self._checkOne(message, recipient, destination, now)
                    outcomes.append(outcome)
                    if report is not None:
                        reports.append(report)
            await self._write(message, reports, outcomes)
        finally:
            for destination, one in claimed:
                self._letGo(destination, one)
        for destination in dict.fromkeys(destination for destination, _ in claimed):
            await self._rest(destination)

    def _checkOne(
        self,
        message: QueuedMessage,
        recipient: QueuedRecipient,
        destination: Destination,
        now: int,
    ) -> tuple[Outcome, Report | None]:
        key = (message.spoolId, recipient.number)
        last = AttemptResult.parse(recipient.lastReply) or AttemptResult.parse(
            destination.lastReply
        )
        if now < message.expires:
            report = None
            if not recipient.delayNotified and self._notifier.wants(message, recipient, "delayed"):
                result = last or AttemptResult(451, "4.4.7", "No attempt was made yet")
                report = Report(recipient, "delayed", result)
            told = report is not None
            return Outcome(*key, False, checkAt=message.expires, delayNotified=told), report
        if message.mustNotBeLate:
            last = _LATE
        elif max(recipient.nextAttempt, destination.retryAt) <= now:
            # It is due for its last attempt, as after a long pause of the server.
            if recipient.checkAt <= message.expires:
                return Outcome(*key, False, checkAt=now + ceil(LOOK)), None
            if not destination.suspect and now < max(message.expires, self._began) + LAST_TURN:
                return Outcome(*key, False, checkAt=now + CHECK_AGAIN), None
        self.failed += 1
        result = last or AttemptResult(451, "4.4.7", "No attempt was made")
        self.log.info(
            "{queueId}: expired: from={reversePath} to=<{recipient}> reply={reply!r}",
            queueId=message.queueId,
            reversePath=formatPath(message.reversePath),
            recipient=str(recipient.address),
            reply=result.line,
        )
        wanted = self._notifier.wants(message, recipient, "failed")
        return (
            Outcome(*key, True, result.line),
            Report(recipient, "failed", result) if wanted else None,
        )


#: RFC 2852 §4: by-mode R.
_LATE = AttemptResult(554, "5.4.7", "Delivery time expired")
_STUMBLED = AttemptResult(451, "4.3.0", "Internal error")


def _fire(deferred: Deferred[None]) -> None:
    if not deferred.called:
        deferred.callback(None)


def _after(done: Deferred[None]) -> Deferred[None]:
    """
    @return: fires after the other, which goes on if this one is cancelled.
    """
    after: Deferred[None] = Deferred()
    done.addBoth(lambda _: _fire(after))
    return after


def _own(error: MailError) -> AttemptResult:
    return AttemptResult(error.smtpCode, error.enhancedStatus, error.text)
