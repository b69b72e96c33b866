"""
A worker's end of the pipes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.config import Configuration
from twisted_mailstack.service import CannotStart
from twisted_mailstack.workers.bus import Inbox, Outbox
from twisted_mailstack.workers.worker import Setup, WorkerProcess

CONFIGURATION = Configuration(listen={"smtp": "tcp:25"}, workers=2)


class Reactor:
    """
    As much of one as is used.
    """

    running = True

    def __init__(self) -> None:
        self.triggers: list[Any] = []

    def callFromThread(self, function: Callable[..., None], *arguments: Any) -> None:
        """At once."""
        function(*arguments)

    def callWhenRunning(self, function: Callable[[], None]) -> None:
        """It runs."""
        function()

    def addSystemEventTrigger(self, *trigger: Any) -> None:
        """Note it."""
        self.triggers.append(trigger)

    def stop(self) -> None:
        """Once."""
        assert self.running
        self.running = False


class Service:
    """
    Notes what it is told.
    """

    def __init__(self, configuration: Any, reactor: Any, announce: Any, worker: Any) -> None:
        self.configuration = configuration
        self.announce = announce
        self.worker = worker
        self.did: list[Any] = []

    def privilegedStartService(self) -> None:
        """Note it."""
        self.did.append("bind")

    def startService(self) -> None:
        """Note it."""
        self.did.append("start")

    def stopService(self) -> Any:
        """At once."""
        return succeed(None)

    def hear(self, changed: Any) -> None:
        """Note it."""
        self.did.append(changed)

    def reload(self) -> None:
        """Note it."""
        self.did.append("reload")


class WorkerTests(SynchronousTestCase):
    """
    One worker, and its parent's half.
    """

    def setUp(self) -> None:
        """Connected, and told nothing yet."""
        self.made: list[Service] = []
        self.problem: Exception | None = None
        self.reactor = Reactor()
        self.process = WorkerProcess(self.reactor, self.make)
        self.transport = StringTransport()
        self.process.makeConnection(self.transport)
        self.parent = Outbox(self.process.dataReceived)

    def make(self, *arguments: Any) -> Service:
        """Make a service."""
        if self.problem is not None:
            raise self.problem
        self.made.append(Service(*arguments))
        return self.made[0]

    def begin(self, attended: bool = False) -> None:
        """Say what it begins with."""
        setup = Setup(CONFIGURATION, 1, attended, {"smtp": (5, 2)}, b"known to all")
        self.parent.send("setup", setup.encode())

    def said(self) -> list[tuple[str, Any]]:
        """
        @return: what it said since the last time.
        """
        found: list[tuple[str, Any]] = []
        Inbox(lambda kind, value: found.append((kind, value))).feed(self.transport.value())
        self.transport.clear()
        return found

    def test_serves(self) -> None:
        """
        It serves as its parent was configured, says when it does, and passes on what changes.
        """
        self.begin()
        (service,) = self.made
        self.assertEqual(service.configuration, CONFIGURATION)
        self.assertIsNone(service.announce)
        self.assertEqual(service.did, ["bind", "start"])
        self.assertEqual(self.reactor.triggers, [("before", "shutdown", service.stopService)])
        self.assertEqual(service.worker.number, 1)
        self.assertEqual(service.worker.secret, b"known to all")
        service.worker.ready()
        service.worker.tell({(1, 2)})
        self.assertEqual(self.said(), [("ready", None), ("changed", [(1, 2)])])
        self.parent.tell({(3, 4)})
        self.parent.tell(None)
        self.parent.send("reload")
        self.assertEqual(service.did[2:], [[(3, 4)], None, "reload"])

    def test_announces(self) -> None:
        """What a person is to see goes to the parent."""
        self.begin(attended=True)
        self.made[0].announce("a password")
        self.assertEqual(self.said(), [("announce", "a password")])

    def test_logs(self) -> None:
        """Events come out as they would of one process: under their name, with their level."""
        self.process.observe(
            {
                "log_namespace": "a.b",
                "log_level": LogLevel.warn,
                "log_format": "{name}: no",
                "name": "x",
                "log_time": 1.0,
            }
        )
        self.process.observe({"log_text": "old", "isError": 0, "message": ("old",), "time": 1.0})
        (kind, value), (_, (_, level, _)) = self.said()
        self.assertEqual((kind, value), ("log", ["a.b", "warn", "x: no"]))
        self.assertEqual(level, "info")

    def test_cannotStart(self) -> None:
        """It says why, and ends when that has been said; what is told meanwhile is nobody's."""
        self.problem = CannotStart("mailstack: no certificate")
        self.begin()
        self.parent.tell({(1, 2)})
        self.assertEqual(self.said(), [("failed", "mailstack: no certificate")])
        self.assertTrue(self.transport.disconnecting)
        self.process.connectionLost()
        self.assertFalse(self.reactor.running)
        self.assertEqual(self.process.status, 1)

    def test_failsLater(self) -> None:
        """So it does if that turns out after a while."""
        self.begin()
        self.made[0].worker.failed("no database")
        self.assertEqual(self.said(), [("failed", "no database")])
        self.process.connectionLost()
        self.assertEqual(self.process.status, 1)

    def test_broken(self) -> None:
        """Whatever is wrong with us, the parent is told."""
        self.problem = KeyError("oops")
        self.begin()
        self.assertEqual(self.said(), [("failed", "the worker can't start: 'oops'")])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_endsOnce(self) -> None:
        """It is told to end by the terminal, by its parent, and by its parent's end."""
        self.begin()
        self.process.end(15, None)
        self.assertFalse(self.reactor.running)
        self.process.end(15, None)
        self.process.connectionLost()

    def test_parentEnds(self) -> None:
        """It ends with its parent; what is logged then has nowhere to go."""
        self.begin()
        self.process.connectionLost()
        self.assertFalse(self.reactor.running)
        self.assertEqual(self.process.status, 0)
        self.process.observe({"log_format": "late", "log_level": LogLevel.info})
        self.assertEqual(self.said(), [])
