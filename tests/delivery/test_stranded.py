"""
Whatever other servers, operators and crashes do, nothing is stranded in the queue: when all goes
well again each recipient has its message, or its sender knows, and nobody waits beyond their
schedule.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import count, cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.delivery.support import BROKEN, LATER, NEVER, TAKEN, staged
from tests.smtp.support import TODAY
from twisted_mailstack.delivery.queue import (
    BUSY_AGAIN,
    CHECK_AGAIN,
    LAST_TURN,
    LOOK,
    QueueRunner,
    QueueSettings,
    Report,
)
from twisted_mailstack.delivery.schedule import RetrySchedule
from twisted_mailstack.errors import DestinationUnavailable, HostBusy, MessageTooLarge
from twisted_mailstack.interfaces import IMessageContent, IRelay, IRelayConnection
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import (
    AttemptResult,
    Outcome,
    QueuedMessage,
    QueuedRecipient,
    QueueFilter,
)
from twisted_mailstack.relay.slots import HostSlots
from twisted_mailstack.storage.sql.store import FILE, SQLMailStore

#: The hosts of the destinations: two of them are one's.
HOSTS = {"one.test": "a", "two.test": "a", "three.test": "b", "four.test": "c"}
#: Seconds after which a relay gives up a host that is silent.
CONNECT_TIMEOUT, SEND_TIMEOUT = 300.0, 600.0
#: Seconds for which a message may be asked to be held (RFC 4865).
LATER_ON = 500
DELAYS, JITTER = (20, 60, 300), 0.15
LIFETIME = 2000
#: Seconds that may pass from when a recipient is to be given up until it is: an attempt is under
#: way that hangs at each step, then it is looked at again.
LATE = LAST_TURN + CONNECT_TIMEOUT + SEND_TIMEOUT + CHECK_AGAIN + 2 * LOOK
#: Seconds in which all is delivered when all goes well again: hanging attempts end, who stands in
#: line tries again, the longest delay passes, what was to wait has waited.
WELL = (
    CONNECT_TIMEOUT + SEND_TIMEOUT + BUSY_AGAIN + DELAYS[-1] * (1 + JITTER) + LATER_ON + LOOK
)  #: When notifications are looked at, which stay where they are.
NEVER_LOOKED_AT = 1 << 40
#: Calls at one instant that only an endless loop makes.
ENDLESS = 50_000


class Steps(Clock):
    """
    A clock that goes from one call to the next.
    """

    def __init__(self) -> None:
        super().__init__()
        self._instant = 0.0
        self._calls = 0

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """See L{Clock}."""
        if self.seconds() != self._instant:
            self._instant, self._calls = self.seconds(), 0
        self._calls += 1
        assert self._calls < ENDLESS, "it turns in circles"
        return super().callLater(delay, callable, *args, **kw)

    def pass_(self, seconds: float) -> None:
        """
        Time goes by.
        """
        until = self.seconds() + seconds
        self.advance(0)
        while self.calls and self.calls[0].getTime() <= until:
            self.advance(max(0.0, self.calls[0].getTime() - self.seconds()))
        self.advance(until - self.seconds())


class Inline:
    """
    Stands in for a pool of threads: the work is done at once.
    """

    def submit(self, work: Callable[[], None]) -> None:
        """Do it."""
        work()

    def shutdown(self, wait: bool) -> None:
        """There is nothing to wait for."""


class SteppingStore(SQLMailStore):
    """
    A store in a file whose threads do what they do at once, and tell it in the clock's next call.
    """

    async def start(self) -> None:
        """See L{IMailStore}."""
        await super().start()
        # Nobody else changes it.
        assert self._poll is not None
        self._poll.cancel()
        for pool in (self._threads, self._readers):
            pool.shutdown()
        self._threads = self._readers = Inline()  # type: ignore[assignment]
        # It is copied, not killed: the disk needn't keep up.
        self._writing.execute("PRAGMA synchronous = OFF")


@implementer(IRelayConnection)
class Connection:
    """
    A connection to a made-up server.
    """

    def __init__(self, relay: Relay, destination: str) -> None:
        self.relay = relay
        self.destination = destination
        self.keys: tuple[str, ...] = (HOSTS[destination],)
        self.usable = True
        self.ended = False

    @property
    def wanted(self) -> bool:
        """See L{IRelayConnection}."""
        return self.relay.slots.wanted(self.keys)

    def accepts(self, message: QueuedMessage) -> bool:
        """See L{IRelayConnection}."""
        return self.usable

    async def send(
        self, message: QueuedMessage, content: IMessageContent
    ) -> Sequence[AttemptResult]:
        """See L{IRelayConnection}."""
        assert self.usable and not self.ended, "it is used when it is gone"
        relay, how = self.relay, self.relay.story.behaviours[self.destination]
        try:
            await relay.sleep(SEND_TIMEOUT if how == "silent" else 7.0 if how == "slow" else 0.0)
            if how == "stumbles":
                raise ValueError("it stumbled")
        except BaseException:
            self.usable = False
            raise
        answers = {
            **dict.fromkeys(("silent", "drops"), (BROKEN,)),
            "later": (LATER,),
            "mixed": (TAKEN, LATER, NEVER),
        }.get(how, (TAKEN,))
        self.usable = answers != (BROKEN,)
        results = [answers[each.number % len(answers)] for each in message.recipients]
        for recipient, result in zip(message.recipients, results, strict=True):
            if result.delivered:
                relay.delivered((message.queueId, str(recipient.address)))
        return results

    async def close(self) -> None:
        """See L{IRelayConnection}."""
        if self.usable and self.wanted:
            self.relay.slots.keep(self)
        else:
            self.end()

    def end(self) -> None:
        """See L{twisted_mailstack.relay.slots.Spare}."""
        assert not self.ended, "it ends twice"
        self.ended = True
        self.relay.slots.giveBack(self.keys)


#: What a server may do.
HOW = (
    *("well", "slow", "refuses", "hangs", "silent", "drops", "later", "mixed"),
    *("stumbles", "fails", "never", "few"),
)


@implementer(IRelay)
class Relay:
    """
    The way to all other servers, in one life of ours.
    """

    def __init__(self, story: Story, clock: Clock) -> None:
        self.story = story
        self.clock = clock
        self.slots = HostSlots(clock, 2)
        self.alive = True
        self.open: Counter[str] = Counter()

    def sleep(self, seconds: float) -> Awaitable[None]:
        """A step takes its time."""
        return deferLater(self.clock, seconds)

    def delivered(self, key: tuple[str, str]) -> None:
        """A recipient has it."""
        if self.alive:
            self.story.delivered[key] += 1

    def destinationOf(self, reversePath: Address | None, address: Address) -> str:
        """See L{IRelay}."""
        return address.domain

    async def connect(self, destination: str, message: QueuedMessage) -> IRelayConnection:
        """See L{IRelay}."""
        found = self.slots.find(destination, lambda spare: True)
        if found is not None:
            assert isinstance(found, Connection)
            found.destination = destination
            return found
        keys = (HOSTS[destination],)
        free = self.slots.take(keys, destination)
        if free is not None:
            self.slots.makeRoom(keys, destination)
            raise HostBusy("busy", free)
        how = self.story.behaviours[destination]
        try:
            waits = {"hangs": CONNECT_TIMEOUT, "refuses": 1.0, "slow": 20.0}
            await self.sleep(waits.get(how, 0.0))
            if how in ("hangs", "refuses"):
                raise DestinationUnavailable("it can't be reached")
            if how == "few" and self.slots._used[keys[0]] > 1:
                raise DestinationUnavailable("too many connections", smtpCode=421)
            if how == "fails":
                raise ValueError("it failed")
            if how == "never":
                raise MessageTooLarge()
        except BaseException:
            self.slots.giveBack(keys)
            raise
        return Connection(self, destination)


class Notifier:
    """
    Tells senders with messages that are held in the spool, so in one step with what they tell.
    """

    def __init__(self, life: Life) -> None:
        self._life = life

    def wants(self, message: QueuedMessage, recipient: QueuedRecipient, action: str) -> bool:
        """See L{Notifies}."""
        return action in ("failed", "delayed")

    async def notify(
        self, message: QueuedMessage, reports: Sequence[Report], settled: Sequence[Outcome]
    ) -> None:
        """See L{Notifies}."""
        spool, today = self._life.spool, int(self._life.now())
        failed = [each.recipient.address for each in reports if each.action == "failed"]
        if not failed:
            await spool.settle(settled)
            return
        recipients = [
            QueuedRecipient(number, address, {}, "told", today, NEVER_LOOKED_AT)
            for number, address in enumerate(failed)
        ]
        content = staged(self._life.store, b"Subject: it failed\r\n\r\n")
        try:
            await spool.accept(
                *(content, [], 0),
                QueuedMessage(
                    *(message.queueId, None, {}, b"", today, NEVER_LOOKED_AT, tuple(recipients)),
                    held=True,
                ),
                settled,
            )
        finally:
            content.discard()


class Life:
    """
    One life of the server.

    @ivar callsLeft: calls of the store until it is killed.
    @ivar remains: where what is left is then; C{None}: it lives.
    """

    def __init__(self, story: Story, path: Path) -> None:
        self.story = story
        self.path = path
        self.began = story.time
        self.callsLeft = 0
        self.remains: Path | None = None
        self.clock = Steps()
        self.store = SteppingStore(path, self.clock, self._callFromThread, now=self.now)
        self.wait(self.store.start())
        self.spool = self.store.spool
        self.relay = Relay(story, self.clock)
        self.runner = QueueRunner(
            self.spool,
            lambda destination: self.relay,
            Notifier(self),
            self.clock,
            story.settings,
            RetrySchedule(DELAYS, JITTER, story.chance),
            self.now,
        )
        self.runner.start()

    def _callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        if self.callsLeft:
            self.callsLeft -= 1
            if not self.callsLeft:
                self.die()
        self.clock.callLater(0, function, *arguments)

    def now(self) -> float:
        """The time of day."""
        return TODAY + self.began + self.clock.seconds()

    def wait(self, work: Awaitable[Any], seconds: float = 0.0) -> Any:
        """
        @return: what comes of some work within a time, at once by default.
        """
        results: list[Any] = []
        ensureDeferred(work).addBoth(results.append)  # type: ignore[arg-type]
        self.clock.advance(0)
        if not results and seconds:
            self.clock.pass_(seconds)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def die(self) -> None:
        """
        The server is killed at this instant: what the disk has is left. Whatever is done then did
        not happen.
        """
        if self.remains is None:
            self.relay.alive = False
            self.remains = self.path.with_name(f"{self.path.name}-")
            self.remains.mkdir()
            for name in (FILE, f"{FILE}-wal"):
                if (self.path / name).exists():
                    shutil.copy(self.path / name, self.remains / name)

    def end(self, patience: float) -> None:
        """
        The server is stopped.
        """
        # Whoever hangs is cut.
        self.wait(self.runner.stop(patience), patience + 10)
        self.relay.slots.stop()
        assert not +self.relay.slots._used, "connections are left"
        self.wait(self.store.stop())
        assert not self.clock.getDelayedCalls(), "timers are left"

    def waiting(self) -> list[QueuedMessage]:
        """
        @return: what is in the spool, but for notifications.
        """
        found = self.wait(self.spool.select(QueueFilter(sender="near.test"), 10_000))
        assert isinstance(found, list)
        return found

    def told(self) -> Counter[tuple[str, str]]:
        """
        @return: of which recipients it was told that they failed.
        """
        return Counter(
            (message.queueId, str(each.address))
            for message in self.wait(self.spool.select(QueueFilter(sender=""), 10_000))
            for each in message.recipients
        )


class Story:
    """
    What happens, life after life.

    @ivar time: seconds, when the next life begins.
    @ivar accepted: by queue id and address, each recipient.
    @ivar delivered: how often it got its message.
    @ivar crashed: whether the server was killed.
    """

    def __init__(
        self,
        directory: Path,
        behaviours: dict[str, str],
        queueSettings: QueueSettings,
        chances: list[float],
    ) -> None:
        self.settings = queueSettings
        self.time = 0.0
        self._chances = cycle(chances)
        self._numbers = count(1)
        self.behaviours = behaviours
        self.accepted: set[tuple[str, str]] = set()
        self.delivered: Counter[tuple[str, str]] = Counter()
        self.released = 0.0
        self.crashed = False
        self.life = Life(self, directory / "store")

    def chance(self) -> float:
        """See L{RetrySchedule}."""
        return next(self._chances)

    # --- what may happen -----------------------------------------------------------------------

    def queue(
        self, messages: int, where: Sequence[str], later: int, held: bool, late: bool
    ) -> None:
        """Messages come in."""
        for _ in range(messages):
            self._queue(where, later, held, late)

    def _queue(self, where: Sequence[str], later: int, held: bool, late: bool) -> None:
        life = self.life
        queueId = f"Q{next(self._numbers)}"
        today = int(life.now())
        message = QueuedMessage(
            *(queueId, Address("sender", "near.test"), {"BY": "2000;R"} if late else {}, b""),
            *(today, today + later + LIFETIME),
            tuple(
                QueuedRecipient(
                    *(number, Address(f"u{number}", domain), {}, domain, today + later),
                    today + later + LIFETIME // 3,
                )
                for number, domain in enumerate(where)
            ),
            held=held,
        )
        content = staged(life.store, b"Subject: x\r\n\r\nx\r\n")
        life.wait(life.spool.accept(content, [], 0, message))
        content.discard()
        self.accepted |= {(queueId, str(each.address)) for each in message.recipients}

    def pass_(self, seconds: float) -> None:
        """Time goes by."""
        self.life.clock.pass_(seconds)
        now = self.life.now()
        for message in self.life.waiting():
            since = max(message.expires, TODAY + self.life.began, TODAY + self.released)
            assert message.held or now <= since + LATE, f"it waits for ever: {message}"

    def behave(self, name: str, how: str) -> None:
        """Another server does something else."""
        self.behaviours[name] = how

    def hold(self, name: str) -> None:
        """An operator holds messages."""
        wanted = QueueFilter(sender="near.test", domain=name)
        self.life.wait(self.life.spool.hold(wanted, True))

    def release(self) -> None:
        """The operator releases what is held."""
        self.released = self.life.now() - TODAY
        self.life.wait(self.life.spool.hold(QueueFilter(sender="near.test"), False))

    def retry(self, name: str) -> None:
        """The operator wants it to be tried now."""
        wanted = QueueFilter(sender="near.test", domain=name)
        self.life.wait(self.life.spool.retry(wanted))

    def restart(self, patience: float, pause: float) -> None:
        """The server is stopped, and is down for a while."""
        self.life.end(patience)
        self._begin(self.life.path, pause)

    def kill(self, calls: int, pause: float) -> None:
        """The server is killed, some calls of the store later, and is down for a while."""
        self.crashed = True
        life = self.life
        life.callsLeft = calls
        if calls:
            life.clock.pass_(60)
        life.die()
        life.end(0)
        assert life.remains is not None
        self._begin(life.remains, pause)

    def _begin(self, path: Path, pause: float) -> None:
        self.time = self.life.now() - TODAY + pause
        self.life = Life(self, path)

    def finish(self) -> None:
        """All goes well again."""
        self.behaviours = dict.fromkeys(HOSTS, "well")
        self.release()
        self.pass_(WELL)
        life = self.life
        assert life.waiting() == [], "somebody is stranded"
        assert (life.runner.connections, life.runner._destinations) == (0, {}), "it is remembered"
        told = life.told()
        assert told.keys() | self.delivered.keys() == self.accepted, "somebody is lost"
        assert max(told.values(), default=1) == 1, "it is told twice"
        if not self.crashed:
            # Else those that were under way may have got it once more (RFC 5321 §6.1).
            both = told + self.delivered
            assert max(both.values(), default=1) == 1, (
                "it got there twice, or was told all the same"
            )
        life.end(0)


_NAMES = st.sampled_from(sorted(HOSTS))
_PAUSES = st.sampled_from((0, 0, 50, 5000))
_SELDOM = st.sampled_from((False, False, False, False, True))
_QUEUE = st.tuples(
    st.just("queue"),
    st.integers(1, 6),
    st.lists(_NAMES, min_size=1, max_size=5),
    st.sampled_from((0, 0, 0, LATER_ON)),
    _SELDOM,
    _SELDOM,
)
_PASS = st.tuples(st.just("pass_"), st.sampled_from((0, 1, 6, 25, 100, 450, 1500)))
STEPS = st.lists(
    st.one_of(
        _QUEUE,
        _PASS,
        st.tuples(st.just("behave"), _NAMES, st.sampled_from(HOW)),
        _QUEUE,
        _PASS,
        st.tuples(st.sampled_from(("hold", "retry")), _NAMES),
        st.tuples(st.just("release")),
        st.tuples(st.just("restart"), st.sampled_from((0, 5)), _PAUSES),
        st.tuples(st.just("kill"), st.sampled_from((0, 1, 2, 3, 5, 8, 20)), _PAUSES),
    ),
    min_size=10,
    max_size=40,
)
BEHAVIOURS = st.fixed_dictionaries(dict.fromkeys(HOSTS, st.sampled_from(HOW)))
SETTINGS = st.builds(
    QueueSettings,
    maxConnections=st.sampled_from((1, 3, 100)),
    maxPerDestination=st.sampled_from((1, 5)),
    firstPerDestination=st.sampled_from((1, 5)),
    messagesPerConnection=st.sampled_from((1, 1000)),
    linger=st.sampled_from((0.0, 2.0)),
)


class StrandedTests(SynchronousTestCase):
    """
    All that comes in gets somewhere.
    """

    @given(BEHAVIOURS, STEPS, SETTINGS, st.lists(st.floats(0, 1), min_size=1, max_size=5))
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    def test_stories(
        self,
        behaviours: dict[str, str],
        steps: list[tuple[Any, ...]],
        queueSettings: QueueSettings,
        chances: list[float],
    ) -> None:
        """
        Each recipient of each message that was accepted has got it, or its sender was told once
        that it failed; nothing is left in the spool, and nothing waited for longer than it should.
        """
        with TemporaryDirectory() as directory:
            story = Story(Path(directory), behaviours, queueSettings, chances)
            for name, *arguments in steps:
                getattr(story, name)(*arguments)
            story.finish()
        self.flushLoggedErrors(ValueError)
