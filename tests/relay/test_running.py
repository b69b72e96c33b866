"""
The queue over the relay: many domains at one host, and hosts that fall silent.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import ensureDeferred

from tests.delivery.support import RecordingNotifier, staged
from tests.net.internet import SILENT
from tests.relay.server import HANG, Server, Session
from tests.relay.test_relay import CONTENT, FIRST, SECOND, RelayTestCase
from tests.smtp.support import WatchedStore, now
from twisted_mailstack.delivery.queue import QUANTUM, QueueRunner, QueueSettings
from twisted_mailstack.delivery.schedule import RetrySchedule
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import QueuedMessage, QueuedRecipient, QueueFilter
from twisted_mailstack.relay.slots import SPARE

#: The time of day when the network begins.
BEGIN = 1500


class RunningTestCase(RelayTestCase):
    """
    A queue that runs. Nothing may be left connected after a test.
    """

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.store = WatchedStore(now=self.now)
        self.spool: Any = self.store.spool
        self.notifier = RecordingNotifier(self.spool)

    def now(self) -> float:
        """The time of day."""
        return BEGIN + self.internet.seconds()

    def run_(self, perHost: int = 0, **settings: Any) -> QueueRunner:
        """
        @return: the queue, running.
        """
        self.smtp = self.relay(perHost=perHost)
        runner = QueueRunner(
            self.spool,
            lambda destination: self.smtp,
            self.notifier,
            self.internet,  # type: ignore[arg-type]
            QueueSettings(**settings),
            RetrySchedule((600,), 0.0),
            self.now,
        )
        runner.start()
        self.runner = runner
        self.addCleanup(self.end)
        return runner

    def end(self) -> None:
        """Stop, and see that nothing is left."""
        stopped = ensureDeferred(self.runner.stop(0))
        self.pass_(5)
        self.successResultOf(stopped)
        self.smtp.stop()
        self.internet.wait(SPARE)
        self.assertIdle()

    def pass_(self, seconds: float) -> None:
        """Time goes by, a second at a time."""
        self.internet.wait(0)
        for _ in range(int(seconds)):
            self.internet.wait(1)

    def queue(self, *recipients: str, content: bytes = CONTENT) -> None:
        """
        Put a message into the spool.
        """
        today = int(self.now())
        message = QueuedMessage(
            *("Q1", Address("alice", "here.test"), {}, b"", today, today + 86400),
            tuple(
                QueuedRecipient(
                    *(number, Address.parse(each), {}, each.partition("@")[2]),
                    *(today, today + 86400),
                )
                for number, each in enumerate(recipients)
            ),
        )
        text = staged(self.store, content)
        now(self.spool.accept(text, [], 0, message))
        text.discard()

    def waiting(self) -> list[QueuedRecipient]:
        """
        @return: recipients that are in the spool.
        """
        return [
            each
            for message in now(self.spool.select(QueueFilter(), 10_000))
            for each in message.recipients
        ]


class Watched(Server):
    """
    Knows how many connections there were at a time, and keeps each message for a second.

    @ivar most: how many, as it sees it; C{ours}: as we do, who know first that one is closed.
    """

    def __init__(self, clock: Any, name: str = "mx.example.org") -> None:
        super().__init__(name)
        self.clock = clock
        self.open = self.most = self.ours = 0

    def buildProtocol(self, address: Any) -> Session:
        """See IProtocolFactory."""
        session = WatchedSession(self)
        self.sessions.append(session)
        self.open += 1
        self.most = max(self.most, self.open)
        self.ours = max(self.ours, self.clock.open)
        return session


class WatchedSession(Session):
    """
    One connection of it.
    """

    server: Watched

    def connectionLost(self, *reason: Any) -> None:
        """Note it."""
        super().connectionLost(*reason)
        self.server.open -= 1

    def say(self, stage: str, usual: str, then: Any = None) -> bool:
        """A message takes a second."""
        if stage != "message":
            return super().say(stage, usual, then)
        self.server.clock.callLater(1, super().say, stage, usual, then)
        return True


class HostTests(RunningTestCase):
    """
    Many domains at one host.
    """

    def setUp(self) -> None:
        """With a host that can be watched."""
        super().setUp()
        self.watched = Watched(self.internet)
        self.internet.servers[FIRST, 25] = self.watched

    def domains(self, count: int) -> list[str]:
        """
        @return: domains that have that host.
        """
        names = [f"d{number}.example.org" for number in range(count)]
        for name in names:
            self.dns.mx(name, (10, "mx.example.org"))
        return names

    def test_limit(self) -> None:
        """
        All domains of a host together get no more connections than there may be to one host; they
        share them, and everything arrives, at the rate at which the host takes it.
        """
        names = self.domains(60)
        for name in names:
            self.queue(f"bob@{name}")
        self.run_(perHost=3, maxConnections=50, linger=2)
        self.pass_(25)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(len(self.watched.messages), 60)
        self.assertEqual(self.watched.most, 3)
        # One each, and no more than one for a few of them.
        self.assertLess(len(self.watched.sessions), 12)
        self.assertEqual(self.runner.failed + self.runner.deferred, 0)

    def test_names(self) -> None:
        """A host that has many names is one by its address."""
        for number in range(20):
            self.dns.mx(f"d{number}.example.org", (10, f"mx{number}.example.org"))
            self.dns.host(f"mx{number}.example.org", FIRST)
            self.queue(f"bob@d{number}.example.org")
        self.run_(perHost=2)
        self.pass_(20)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(self.watched.most, 2)

    def test_fair(self) -> None:
        """
        A domain with much mail gives way to others of its host after some messages; and those that
        wait for a host don't take the connections of others.
        """
        big, *names = self.domains(40)
        for _ in range(4 * QUANTUM):
            self.queue(f"bob@{big}")
        other = Watched(self.internet, "mx2.example.org")
        self.dns.mx("other.test", (10, "mx2.example.org"))
        self.dns.host("mx2.example.org", SECOND)
        self.internet.servers[SECOND, 25] = other
        self.run_(perHost=1, maxConnections=10)
        self.pass_(3)
        for name in names:
            self.queue(f"bob@{name}")
        self.pass_(2)
        self.queue("bob@other.test")
        self.pass_(2)
        self.assertEqual(len(other.messages), 1)
        self.pass_(QUANTUM + 50)
        left = {each.destination for each in self.waiting()}
        self.assertEqual(left, {big})
        self.pass_(4 * QUANTUM)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(self.watched.most, 1)

    def test_holderFails(self) -> None:
        """When those who have the connections fail, others have their turn, and nobody is lost."""
        names = self.domains(10)
        self.watched.replies["greeting"] = HANG
        for name in names:
            self.queue(f"bob@{name}")
        self.run_(perHost=1)
        self.pass_(10)
        self.assertEqual(self.watched.most, 1)
        del self.watched.replies["greeting"]
        self.pass_(700)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(self.watched.ours, 1)

    def test_lostInterest(self) -> None:
        """
        Mail that is removed while it stands in line keeps nobody back.
        """
        names = self.domains(5)
        self.watched.replies["greeting"] = HANG
        for name in names:
            self.queue(f"bob@{name}")
        self.run_(perHost=1)
        self.pass_(5)
        now(self.spool.delete(QueueFilter(domain=names[1])))
        del self.watched.replies["greeting"]
        self.pass_(700)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(len(self.watched.messages), 4)


class SilentTests(RunningTestCase):
    """
    Hosts that fall silent.
    """

    def test_silent(self) -> None:
        """
        Whenever the host falls silent, the message is given up at the time that there is for that
        (RFC 5321 §4.5.3.2), waits for its next turn, and gets there then: nothing is lost, nobody
        is told. A host that was silent behind the message had it before, too (§6.1).
        """
        for stage, seconds in (
            ("connect", 30),
            *(("greeting", 100), ("EHLO", 90), ("MAIL", 90), ("RCPT", 90), ("DATA", 80)),
            *(("message", 70), ("QUIT", 0)),
        ):
            self.server.sessions.clear()
            self.server.replies = {stage: HANG}
            self.internet.servers[FIRST, 25] = SILENT if stage == "connect" else self.server
            self.queue("bob@example.org")
            self.run_()
            if seconds:
                self.pass_(seconds - 1)
                self.assertEqual(self.runner.connections, 1, stage)
                self.pass_(7)
            else:
                self.pass_(15)
            self.assertEqual(self.runner.connections, 0, stage)
            if stage != "QUIT":
                self.assertEqual(len(self.waiting()), 1, stage)
                self.assertEqual(self.server.messages, [])
                self.server.replies = {}
                self.internet.servers[FIRST, 25] = self.server
                self.pass_(650)
            self.assertEqual(self.waiting(), [], stage)
            self.assertEqual(self.server.messages, [CONTENT], stage)
            self.assertEqual(self.notifier.told, [])
            self.end()

    def test_takesNothing(self) -> None:
        """A host that doesn't take the text has three minutes for each part of it (§4.5.3.2.5)."""
        self.queue("bob@example.org", content=b"x" * 70 + b"\r\n" + b"y" * 70 + b"\r\n")
        large = b"Subject: x\r\n\r\n" + (b"z" * 70 + b"\r\n") * 50_000
        now(self.spool.delete(QueueFilter()))
        self.queue("bob@example.org", content=large)
        server = Deaf()
        self.internet.servers[FIRST, 25] = server
        self.run_()
        self.pass_(179)
        self.assertEqual(self.runner.connections, 1)
        self.pass_(10)
        self.assertEqual(self.runner.connections, 0)
        self.assertEqual(len(self.waiting()), 1)
        self.internet.servers[FIRST, 25] = self.server
        self.pass_(650)
        self.assertEqual(self.waiting(), [])
        self.assertEqual([len(each) for each in self.server.messages], [len(large)])


class Deaf(Server):
    """
    Asks for a message and reads none of it.
    """

    def buildProtocol(self, address: Any) -> Session:
        """See IProtocolFactory."""
        session = DeafSession(self)
        self.sessions.append(session)
        return session


class DeafSession(Session):
    """
    One connection of it.
    """

    def begin(self) -> None:
        """Never mind."""
        super().begin()
        self.transport.pauseProducing()
