# -*- test-case-name: tests.workers.test_pool -*-
"""
The parent of workers: binds the ports, starts the workers, passes on what they tell each other, and
replaces those that end. It serves nobody itself and has no store open, so there is little in it
that can fail.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IDelayedCall, IStreamServerEndpoint
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from twisted_mailstack.config import Configuration, ConfigurationProblem
from twisted_mailstack.service import (
    PATIENCE,
    CannotStart,
    MailService,
    endWith,
    listenForHangup,
    listenOn,
)
from twisted_mailstack.workers.bus import (
    ANNOUNCE,
    CHANGED,
    FAILED,
    LOG,
    READY,
    RELOAD,
    SETUP,
    Changed,
    Inbox,
    Outbox,
)
from twisted_mailstack.workers.worker import FROM_PARENT, TO_PARENT, Setup

#: What a worker runs.
WORKER = "twisted_mailstack.workers"
#: Kinds of endpoints that are nothing but a socket. Others do something to its connections, which
#: a worker that gets the socket knows nothing of.
SHARED = frozenset({"systemd", "tcp", "tcp6", "unix"})
#: Seconds until a worker that ended is replaced: at once if it lived for C{LIVED}; otherwise this,
#: doubled each time, up to C{MAX_PAUSE}.
PAUSE, LIVED, MAX_PAUSE = 1.0, 60.0, 60.0
#: Seconds that a worker has to end, once it was told to: it has its sessions to end.
LAST = PATIENCE + 7.0
#: Octets of a line that a worker prints, which nothing of ours does, that are logged.
MAX_PRINTED = 2000


class WorkerPool(Service):
    """
    A server of several processes.

    @ivar workers: those that run, by number.
    """

    log = Logger()

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        """
        @param configuration: with one worker at least.
        @param announce: shows text to the person who started the server; C{None}: nobody is there.
        @raise CannotStart: if the configuration can't be used.
        """
        # What can't be used is found before anything runs.
        MailService(configuration, reactor)
        self.configuration = configuration
        self.workers: dict[int, WorkerProtocol] = {}
        self._reactor = reactor
        self._announce = announce
        self._ports: dict[str, Any] = {}
        self._waiting: dict[int, IDelayedCall] = {}
        self._pauses: dict[int, float] = {}
        self._served = False
        self._nothing = -1
        self._secret = os.urandom(32)

    # --- starting ------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """
        Bind the ports.
        """
        super().privilegedStartService()
        for name, text in self.configuration.endpoints().items():
            if text.partition(":")[0] not in SHARED:
                self._giveUp(f"{name}: several workers can't share {text}")

            def endpoint(text: str = text) -> IStreamServerEndpoint:
                found: IStreamServerEndpoint = serverFromString(self._reactor, text)
                return found

            try:
                port: Any = listenOn(name, text, endpoint, Factory())
            except ConfigurationProblem as problem:
                self._giveUp(str(problem))
            # Connections are for the workers.
            port.stopReading()
            self._ports[name] = port

    def _giveUp(self, text: str) -> NoReturn:
        self.log.critical("{text}", text=text)
        raise CannotStart(f"mailstack: {text}")

    def startService(self) -> None:
        """
        Start the first worker, and the others as soon as it serves: it makes what the data
        directory lacks.
        """
        super().startService()
        self._nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        listenForHangup(self._reactor, self.reload)
        self._spawn(0)

    def _spawn(self, number: int) -> None:
        self._waiting.pop(number, None)
        descriptors: dict[int, int | str] = {
            0: self._nothing,
            1: "r",
            2: "r",
            FROM_PARENT: "w",
            TO_PARENT: "r",
        }
        ports: dict[str, tuple[int, int]] = {}
        for descriptor, (name, port) in enumerate(self._ports.items(), TO_PARENT + 1):
            descriptors[descriptor] = port.fileno()
            ports[name] = descriptor, port.addressFamily
        setup = Setup(
            self.configuration,
            number,
            self._announce is not None and not self._served,
            ports,
            self._secret,
        )
        worker = WorkerProtocol(self, number, setup, self._reactor.seconds())
        self.workers[number] = worker
        # The worker's is of the same kind.
        reactor = type(self._reactor).__module__
        self._reactor.spawnProcess(
            worker,
            sys.executable,
            # Not what lies about in the working directory.
            [sys.executable, "-P", "-m", WORKER, reactor],
            env=_environment(os.environ, sys.path),
            childFDs=descriptors,
        )

    # --- what workers say ----------------------------------------------------------------------

    def received(self, worker: WorkerProtocol, kind: str, value: Any) -> None:
        """
        A worker said something.
        """
        if kind == CHANGED:
            self._changed(worker, value)
        elif kind == LOG:
            namespace, level, text = value
            Logger(namespace).emit(LogLevel.levelWithName(level), "{text}", text=text)
        elif kind == READY:
            worker.ready = True
            if not self._served:
                self._served = True
                for number in range(1, self.configuration.workers):
                    self._spawn(number)
        elif kind == ANNOUNCE and self._announce is not None:
            self._announce(value)
        elif kind == FAILED:
            worker.reason = value

    def _changed(self, origin: WorkerProtocol, changed: Changed) -> None:
        for worker in self.workers.values():
            if worker is not origin and worker.outbox is not None:
                worker.outbox.tell(changed)

    def ended(self, worker: WorkerProtocol, reason: Failure) -> None:
        """
        A worker has ended.
        """
        number, now = worker.number, self._reactor.seconds()
        del self.workers[number]
        if not self.running:
            return
        why = worker.reason or reason.getErrorMessage()
        if not self._served:
            # Another one wouldn't fare better.
            endWith(self._reactor, self.log, self._announce, why.removeprefix("mailstack: "))
            return
        pause = 0.0
        if now - worker.since < LIVED:
            pause = self._pauses.get(number, PAUSE)
            self._pauses[number] = min(pause * 2, MAX_PAUSE)
        else:
            self._pauses.pop(number, None)
        self.log.error(
            "worker {number} has ended, another one comes in {pause:.0f} s: {why}",
            number=number,
            pause=pause,
            why=why,
        )
        self._waiting[number] = self._reactor.callLater(pause, self._spawn, number)

    def reload(self) -> None:
        """
        Read the certificates again, as on SIGHUP.
        """
        for worker in self.workers.values():
            if worker.outbox is not None:
                worker.outbox.send(RELOAD)

    # --- stopping ------------------------------------------------------------------------------

    def stopService(self) -> Deferred[Any]:
        """
        End the workers, each as L{MailService} does; then close the ports.
        """
        super().stopService()
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()
        stopping = DeferredList([each.stop(self._reactor) for each in self.workers.values()])
        return stopping.addCallback(lambda _: self._close())

    def _close(self) -> Deferred[Any]:
        # Not before: closing shuts the socket down for all who share it.
        if self._nothing >= 0:
            os.close(self._nothing)
            self._nothing = -1
        ports, self._ports = self._ports, {}
        closing = [port.stopListening() for port in ports.values()]
        return DeferredList([each for each in closing if each is not None])


class WorkerProtocol(ProcessProtocol):
    """
    The parent's end of the pipes to one worker.

    @ivar number: which of them.
    @ivar since: when it was started, by the reactor's clock.
    @ivar ready: whether it serves.
    @ivar reason: why it can't start.
    @ivar outbox: what is told to it.
    """

    transport: Any

    def __init__(self, pool: WorkerPool, number: int, setup: Setup, since: float) -> None:
        self.number = number
        self.since = since
        self.ready = False
        self.reason = ""
        self.outbox: Outbox | None = None
        self._pool = pool
        self._setup = setup
        self._inbox = Inbox(lambda kind, value: pool.received(self, kind, value))
        self._printed = b""
        self._ended: list[Deferred[None]] = []
        self._isOver = False

    def connectionMade(self) -> None:
        """See C{ProcessProtocol}."""
        self.outbox = Outbox(lambda data: self.transport.writeToChild(FROM_PARENT, data))
        self.transport.pipes[FROM_PARENT].registerProducer(self.outbox, True)
        self.outbox.send(SETUP, self._setup.encode())

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """See C{ProcessProtocol}."""
        if childFD == TO_PARENT:
            self._inbox.feed(data)
            return
        *lines, rest = (self._printed + data).split(b"\n")
        self._printed = rest[:MAX_PRINTED]
        for line in lines:
            self._pool.log.warn(
                "worker {number}: {text}",
                number=self.number,
                text=line[:MAX_PRINTED].decode("utf-8", "replace"),
            )

    def childConnectionLost(self, childFD: int) -> None:
        """See C{ProcessProtocol}."""
        if childFD == FROM_PARENT:
            self.outbox = None

    def processEnded(self, reason: Failure) -> None:
        """See C{ProcessProtocol}."""
        self.outbox = None
        self._isOver = True
        self._pool.ended(self, reason)
        for each in self._ended:
            each.callback(None)

    def stop(self, clock: Any) -> Deferred[None]:
        """
        @return: fires when it has ended.
        """
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        self._signal("TERM")
        last = clock.callLater(LAST, self._signal, "KILL")

        def over(_: object) -> None:
            if last.active():
                last.cancel()

        return ended.addCallback(over)

    def _signal(self, name: str) -> None:
        if not self._isOver and self.transport.pid is not None:
            self.transport.signalProcess(name)


def _environment(environment: Mapping[str, str], path: list[str]) -> dict[str, str]:
    """
    @return: in which a worker finds the modules that its parent has.
    """
    return {**environment, "PYTHONPATH": os.pathsep.join(each for each in path if each)}
