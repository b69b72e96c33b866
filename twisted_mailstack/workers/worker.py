# -*- test-case-name: tests.workers.test_worker -*-
"""
A worker: a whole server whose ports another process has bound, C{python -m
twisted_mailstack.workers REACTOR}. It isn't for people.

It ends when its parent does, as soon as its end of the pipe is closed.
"""

from __future__ import annotations

import base64
import gc
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import LogEvent, Logger, eventAsText, globalLogBeginner
from twisted.python.failure import Failure
from twisted.python.reflect import namedModule

from twisted_mailstack.config import Configuration
from twisted_mailstack.service import CannotStart, MailService, Worker
from twisted_mailstack.workers.adopt import adopt
from twisted_mailstack.workers.bus import (
    ANNOUNCE,
    CHANGED,
    FAILED,
    READY,
    RELOAD,
    SETUP,
    Inbox,
    Outbox,
)

#: The descriptors of the pipes from and to the parent. What is printed goes to the usual ones.
FROM_PARENT, TO_PARENT = 3, 4


class Setup(NamedTuple):
    """
    What a worker begins with.

    @ivar configuration: what its parent has read.
    @ivar number: which of the workers it is, from 0.
    @ivar attended: whether a person sees what it announces.
    @ivar ports: by service, the descriptor and the address family of a socket that listens.
    @ivar secret: as of L{Worker<twisted_mailstack.service.Worker>}.
    """

    configuration: Configuration
    number: int
    attended: bool
    ports: Mapping[str, tuple[int, int]]
    secret: bytes | None = None

    def encode(self) -> str:
        """
        @return: for L{decode}.
        """
        return base64.b64encode(pickle.dumps(self)).decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Setup:
        """
        @param text: of the parent process, from nobody else: a pickle can do anything.
        """
        setup = pickle.loads(base64.b64decode(text))
        assert isinstance(setup, cls)
        return setup


class WorkerProcess(Protocol):
    """
    The worker's end of the pipes.

    @ivar status: what the process is to end with.
    """

    log = Logger()

    def __init__(self, reactor: Any, makeService: Callable[..., Any] = MailService) -> None:
        """
        @param makeService: L{MailService}, or what takes its place.
        """
        self._reactor = reactor
        self._makeService = makeService
        self._inbox = Inbox(self._received)
        self._outbox: Outbox | None = None
        self._service: Any = None
        self._ends = False
        self.status = 0

    def connectionMade(self) -> None:
        """See C{Protocol}."""
        transport: Any = self.transport
        self._outbox = Outbox(transport.write)
        transport.registerProducer(self._outbox, True)

    def dataReceived(self, data: bytes) -> None:
        """See C{Protocol}."""
        self._inbox.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The parent has ended; or this worker has said why it does."""
        self._outbox = None
        self._reactor.callWhenRunning(self.end)

    def end(self, *_: object) -> None:
        """
        End. It may be told so several times: a terminal and systemd tell every process, and then
        the parent does.
        """
        if not self._ends:
            self._ends = True
            self._reactor.callFromThread(self._reactor.stop)

    def observe(self, event: LogEvent) -> None:
        """
        Pass an event of the log on, from whatever thread.
        """
        # Twisted's older events have a system instead.
        namespace = event.get("log_system") or event.get("log_namespace", "")
        level = event.get("log_level")
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        self._reactor.callFromThread(
            self._observed, namespace, "info" if level is None else level.name, text
        )

    def _observed(self, namespace: str, level: str, text: str) -> None:
        if self._outbox is not None:
            self._outbox.log(namespace, level, text)

    def _received(self, kind: str, value: Any) -> None:
        if kind == SETUP:
            self._start(value)
        elif self._service is None:
            # It found out why it can't start, and is about to end.
            return
        elif kind == CHANGED:
            self._service.hear(value)
        elif kind == RELOAD:
            self._service.reload()

    def _start(self, encoded: str) -> None:
        assert self._outbox is not None
        try:
            self._service = self._serve(Setup.decode(encoded), self._outbox)
        except CannotStart as error:
            self._failed(str(error))
        except Exception as error:
            self.log.failure("the worker can't start")
            self._failed(f"the worker can't start: {error}")

    def _serve(self, setup: Setup, outbox: Outbox) -> Any:
        send = outbox.send
        worker = Worker(
            number=setup.number,
            endpointOf=lambda name: adopt(self._reactor, *setup.ports[name]),
            tell=outbox.tell,
            ready=lambda: send(READY),
            failed=self._failed,
            secret=setup.secret,
        )

        def announce(text: str) -> None:
            send(ANNOUNCE, text)

        service = self._makeService(
            setup.configuration, self._reactor, announce if setup.attended else None, worker
        )
        service.privilegedStartService()
        self._reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
        service.startService()
        return service

    def _failed(self, text: str) -> None:
        assert self._outbox is not None and self.transport is not None
        self.status = 1
        self._outbox.send(FAILED, text)
        # What was sent goes out first.
        self.transport.loseConnection()


def main() -> int:
    """
    @return: the status to end with.
    """
    namedModule(sys.argv[1]).install()
    from twisted.internet import reactor as installed
    from twisted.internet.stdio import StandardIO

    reactor: Any = installed
    process = WorkerProcess(reactor)
    observer: Any = process.observe
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    for descriptor in (FROM_PARENT, TO_PARENT):
        os.set_inheritable(descriptor, False)
    pipes: Any = StandardIO
    pipes(process, FROM_PARENT, TO_PARENT)
    # What is loaded by now stays, see L{twisted_mailstack.tap.makeService}.
    gc.collect()
    gc.freeze()
    for number in (signal.SIGINT, signal.SIGTERM):
        reactor.callWhenRunning(signal.signal, number, process.end)
    reactor.run()
    return process.status
