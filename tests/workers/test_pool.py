"""
The parent of workers.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ProcessTerminated
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_mailstack.config import load
from twisted_mailstack.service import CannotStart
from twisted_mailstack.workers.bus import Inbox, Outbox
from twisted_mailstack.workers.pool import LAST, LIVED, WorkerPool
from twisted_mailstack.workers.worker import FROM_PARENT, TO_PARENT, Setup

LISTEN = {
    "smtp": "tcp:25",
    "lmtp": "unix:lmtp.socket:mode=600",
    **dict.fromkeys(("submission", "submissions", "pop3", "pop3s", "imap"), "off"),
    "imaps": "tcp:993:interface=\\:\\:1",
}


class Port:
    """
    A port that is bound.
    """

    def __init__(self, number: int, family: int) -> None:
        self.number = number
        self.addressFamily = family
        self.did: list[str] = []

    def fileno(self) -> int:
        """Its descriptor."""
        return self.number

    def stopReading(self) -> None:
        """Note it."""
        self.did.append("stopReading")

    def stopListening(self) -> None:
        """Note it."""
        self.did.append("stopListening")


class Process:
    """
    A worker, as its parent sees it.
    """

    def __init__(self, protocol: Any, arguments: Any, env: Any, childFDs: Any) -> None:
        self.protocol = protocol
        self.arguments = arguments
        self.env = env
        self.childFDs = childFDs
        self.pid: int | None = 1
        self.pipes = {FROM_PARENT: self}
        self.producer: Any = None
        self.signals: list[str] = []
        self.heard: list[tuple[str, Any]] = []
        self._inbox = Inbox(lambda kind, value: self.heard.append((kind, value)))
        self.outbox = Outbox(lambda data: protocol.childDataReceived(TO_PARENT, data))
        protocol.transport = self
        protocol.connectionMade()
        ((_, setup),) = self.heard
        self.setup = Setup.decode(setup)
        self.heard.clear()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Note it."""
        assert streaming
        self.producer = producer

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        """Hear it."""
        assert descriptor == FROM_PARENT
        self._inbox.feed(data)

    def signalProcess(self, name: str) -> None:
        """Note it."""
        self.signals.append(name)

    def end(self, status: int = 1) -> None:
        """It ends."""
        self.pid = None
        for descriptor in (FROM_PARENT, TO_PARENT):
            self.protocol.childConnectionLost(descriptor)
        self.protocol.processEnded(Failure(ProcessTerminated(status)))


class Reactor(Clock):
    """
    A reactor without sockets and processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Port] = []
        self.processes: list[Process] = []
        self.refuse: OSError | None = None
        self.stopped = False

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        """Bind."""
        if self.refuse is not None:
            raise CannotListenError("", port, self.refuse)
        self.ports.append(Port(100 + port, socket.AF_INET6 if ":" in interface else socket.AF_INET))
        return self.ports[-1]

    def listenUNIX(self, address: str, factory: Any, *_: Any, **__: Any) -> Port:
        """Bind."""
        self.ports.append(Port(100, socket.AF_UNIX))
        return self.ports[-1]

    def spawnProcess(
        self, protocol: Any, executable: str, arguments: Any, *, env: Any, childFDs: Any
    ) -> None:
        """Begin one."""
        assert executable == sys.executable
        self.processes.append(Process(protocol, arguments, env, childFDs))

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        """At once."""
        function(*arguments)

    def stop(self) -> None:
        """Note it."""
        self.stopped = True


class PoolTests(SynchronousTestCase):
    """
    Its workers.
    """

    def setUp(self) -> None:
        """A reactor, and what is shown."""
        self.reactor = Reactor()
        self.shown: list[str] = []
        self.log = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)

    def make(self, attended: bool = True, **given: Any) -> WorkerPool:
        """
        @return: a server with three workers, that hasn't started.
        """
        given = {"workers": 3, "listen": LISTEN, "data": self.mktemp(), **given}
        return WorkerPool(
            load(None, **given), self.reactor, self.shown.append if attended else None
        )

    def start(self, attended: bool = True) -> WorkerPool:
        """
        @return: one whose first worker has been started.
        """
        pool = self.make(attended)
        pool.privilegedStartService()
        pool.startService()
        self.addCleanup(self.stop, pool)
        return pool

    def stop(self, pool: WorkerPool) -> None:
        """Stop it, if it runs."""
        if pool.running:
            stopping = pool.stopService()
            for process in self.reactor.processes:
                if process.pid is not None:
                    process.end(0)
            self.successResultOf(stopping)

    def serve(self, attended: bool = True) -> WorkerPool:
        """
        @return: one whose workers serve.
        """
        pool = self.start(attended)
        for number in range(3):
            self.reactor.processes[number].outbox.send("ready")
        return pool

    def logged(self) -> list[tuple[str, str, str]]:
        """
        @return: namespace, level and text of what was logged.
        """
        return [
            (each["log_namespace"], each["log_level"].name, each["text"])
            for each in self.log
            if "text" in each
        ]

    def test_secret(self) -> None:
        """All workers, also those that replace others, know one secret, and no other server's."""
        self.serve()
        self.reactor.processes[1].end()
        self.reactor.advance(120)
        secrets = [process.setup.secret for process in self.reactor.processes]
        self.assertEqual(len(secrets), 4)
        self.assertEqual(len(set(secrets)), 1)
        assert secrets[0] is not None
        self.assertGreaterEqual(len(secrets[0]), 16)
        other = self.start()
        self.assertNotEqual(self.reactor.processes[-1].setup.secret, secrets[0], other)

    def test_provides(self) -> None:
        """It is a service."""
        verifyObject(IService, self.make())

    def test_ports(self) -> None:
        """
        The ports are bound while the process may still be root, and accept nothing; workers get
        the sockets, and start from where their parent's modules are.
        """
        pool = self.make()
        pool.privilegedStartService()
        self.assertEqual([each.did for each in self.reactor.ports], [["stopReading"]] * 3)
        self.assertEqual(self.reactor.processes, [])
        pool.startService()
        self.addCleanup(self.stop, pool)
        (worker,) = self.reactor.processes
        self.assertEqual(
            {name: worker.childFDs[number] for name, (number, _) in worker.setup.ports.items()},
            {"smtp": 125, "lmtp": 100, "imaps": 1093},
        )
        self.assertEqual(
            {name: family for name, (_, family) in worker.setup.ports.items()},
            {"smtp": socket.AF_INET, "lmtp": socket.AF_UNIX, "imaps": socket.AF_INET6},
        )
        self.assertEqual(worker.setup.configuration, pool.configuration)
        self.assertEqual(worker.arguments[-1], Reactor.__module__)
        for each in filter(None, sys.path):
            self.assertIn(each, worker.env["PYTHONPATH"].split(os.pathsep))

    def test_firstAlone(self) -> None:
        """The first worker makes what is missing; the others come when it serves."""
        self.start()
        (first,) = self.reactor.processes
        self.assertEqual((first.setup.number, first.setup.attended), (0, True))
        first.outbox.send("announce", "a password")
        self.assertEqual(self.shown, ["a password"])
        first.outbox.send("ready")
        self.assertEqual(
            [(each.setup.number, each.setup.attended) for each in self.reactor.processes],
            [(0, True), (1, False), (2, False)],
        )

    def test_unattended(self) -> None:
        """Where nobody sees it no password is made."""
        self.start(attended=False)
        self.assertFalse(self.reactor.processes[0].setup.attended)

    def test_changes(self) -> None:
        """What one worker changed is told to the others."""
        self.serve()
        first, second, third = self.reactor.processes
        second.outbox.tell({(1, 2)})
        second.outbox.tell(None)
        told = [("changed", [(1, 2)]), ("changed", None)]
        self.assertEqual([first.heard, second.heard, third.heard], [told, [], told])

    def test_slow(self) -> None:
        """A worker that hangs costs no memory, and delays nobody."""
        self.serve()
        first, second, third = self.reactor.processes
        third.producer.pauseProducing()
        for _ in range(3):
            second.outbox.tell({(1, 2)})
        self.assertEqual((len(first.heard), third.heard), (3, []))
        third.producer.resumeProducing()
        self.assertEqual(third.heard, [("changed", [(1, 2)])])

    def test_log(self) -> None:
        """
        Workers' events are as if they were the parent's; what they print is, too, and bounded.
        """
        self.serve()
        first = self.reactor.processes[0]
        first.outbox.log("a.b", "warn", "text {x}")
        first.protocol.childDataReceived(2, b"printed\nrest")
        first.protocol.childDataReceived(1, b" of it\n" + b"x" * 10_000)
        first.protocol.childDataReceived(1, b"\n")
        name = "twisted_mailstack.workers.pool.WorkerPool"
        self.assertEqual(
            self.logged(),
            [
                ("a.b", "warn", "text {x}"),
                *((name, "warn", text) for text in ("printed", "rest of it", "x" * 2000)),
            ],
        )

    def test_hangup(self) -> None:
        """On SIGHUP all workers read their certificates again."""
        self.serve()
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual([each.heard for each in self.reactor.processes], [[("reload", None)]] * 3)

    def test_replaced(self) -> None:
        """
        A worker that ends is replaced: after a while, which doubles, if it didn't live long; at
        once if it did.
        """
        self.serve()
        for pause in (1, 2, 4, 8, 16, 32, 60, 60):
            before = len(self.reactor.processes)
            dead = [each for each in self.reactor.processes if each.setup.number == 1][-1]
            dead.end()
            self.reactor.advance(pause - 0.1)
            self.assertEqual(len(self.reactor.processes), before)
            self.reactor.advance(0.1)
            self.assertEqual(self.reactor.processes[-1].setup.number, 1)
        self.reactor.advance(LIVED)
        self.reactor.processes[-1].end()
        self.reactor.advance(0)
        fresh = self.reactor.processes[-1]
        self.assertIsNotNone(fresh.pid)
        # The ones before are gone, and hear nothing.
        self.reactor.processes[0].outbox.tell({(1, 2)})
        self.assertEqual(fresh.heard, [("changed", [(1, 2)])])
        # It knows no more of those that didn't live long.
        fresh.end()
        self.reactor.advance(1)
        self.assertIsNotNone(self.reactor.processes[-1].pid)

    def test_firstReplaced(self) -> None:
        """The first one's place is taken as well; nothing is announced again."""
        self.serve()
        self.reactor.processes[0].end()
        self.reactor.advance(1)
        fresh = self.reactor.processes[-1]
        self.assertEqual((fresh.setup.number, fresh.setup.attended), (0, False))
        fresh.outbox.send("ready")
        self.assertEqual(len(self.reactor.processes), 4)

    def test_cannotStart(self) -> None:
        """If the first can't start, nothing does, and the reason is told and logged."""
        ends: list[Any] = []
        self.patch(atexit, "register", lambda *each: ends.append(each))
        self.start()
        (first,) = self.reactor.processes
        first.outbox.send("failed", "mailstack: no certificate")
        first.end()
        self.assertEqual(self.shown, ["mailstack: no certificate"])
        self.assertTrue(self.reactor.stopped)
        self.assertEqual(ends, [(os._exit, 1)])
        self.assertEqual([each[1:] for each in self.logged()], [("critical", "no certificate")])

    def test_stop(self) -> None:
        """
        All end, and those that hang are killed; the ports are closed after that, since this shuts
        them down for all.
        """
        pool = self.serve()
        first, second, third = self.reactor.processes
        third.end()
        stopping = pool.stopService()
        self.assertEqual([first.signals, second.signals, third.signals], [["TERM"], ["TERM"], []])
        first.end(0)
        self.reactor.advance(LAST)
        self.assertEqual([first.signals, second.signals], [["TERM"], ["TERM", "KILL"]])
        self.assertNoResult(stopping)
        self.assertEqual([each.did[1:] for each in self.reactor.ports], [[]] * 3)
        second.end()
        self.successResultOf(stopping)
        self.assertEqual([each.did[1:] for each in self.reactor.ports], [["stopListening"]] * 3)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(len(self.reactor.processes), 3)

    def reason(self, function: Callable[[], object]) -> str:
        """
        @return: what a person is told when the start fails.
        """
        return str(self.assertRaises(CannotStart, function))

    def test_cannotBind(self) -> None:
        """A port that is in use; and one that can't be shared."""
        self.reactor.refuse = OSError(errno.EADDRINUSE, "Address already in use")
        self.assertIn(
            "smtp can't listen on tcp:25: Address already in use; is another server running",
            self.reason(self.make().privilegedStartService).replace("[Errno 98] ", ""),
        )
        pool = self.make(listen={**LISTEN, "smtp": "haproxy:tcp:25"})
        self.assertEqual(
            self.reason(pool.privilegedStartService),
            "mailstack: smtp: several workers can't share haproxy:tcp:25",
        )

    def test_badConfiguration(self) -> None:
        """What can be known of it is known before anything runs."""
        self.reason(lambda: self.make(smarthost="smtp://x@far.test", relay=True))

    def test_beforeStart(self) -> None:
        """It can be stopped before it has started."""
        stopping: Deferred[Any] = self.make().stopService()
        self.successResultOf(stopping)
