# -*- test-case-name: tests.auth.checkers.test_command -*-
"""
A program that is run for each question, as D. J. Bernstein's checkpassword is: it reads the name,
NUL, the password, NUL, a time stamp (which is empty) and NUL from descriptor 3, and ends with 0 if
that is the password, with 1 if it isn't. Whatever else it ends with is no answer.

Nothing of it is in its arguments or its environment, which others on the machine can see.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mailstack.auth.checkers.bounds import Bounds
from twisted_mailstack.auth.checkers.source import SourceProblem, SourceRecord, SourceServices
from twisted_mailstack.interfaces import IPasswordSource
from twisted_mailstack.model.address import Address

#: What it may say on its standard error that the log shows, octets.
MAX_SAID = 1000
#: Seconds for the rest of that, once it has ended.
LINGER = 0.5


@dataclass(frozen=True)
class CommandSettings:
    """
    @ivar command: the program's path, and its arguments.
    @ivar descriptor: from which it reads: 3, or 0 for its standard input.
    @ivar processes: at a time.
    @ivar timeout: seconds after which it is killed.
    """

    command: tuple[str, ...] = ()
    descriptor: int = 3
    processes: int = 10
    timeout: int = 10

    def __post_init__(self) -> None:
        if not self.command:
            raise SourceProblem("command must name a program, and its arguments")
        if not os.path.isabs(self.command[0]):
            raise SourceProblem(f"command: {self.command[0]} must be an absolute path")
        if self.descriptor not in (0, 3):
            raise SourceProblem("descriptor must be 3, or 0 for standard input")


class _Asking(ProcessProtocol):
    """
    One process.
    """

    transport: Any

    def __init__(self, descriptor: int, question: bytes, clock: IReactorTime) -> None:
        self._clock = clock
        self._timer: Any = None
        self._status: int | None = None
        self._descriptor = descriptor
        self._question = question
        self.said = b""
        self.ended: Deferred[int | None] = Deferred(lambda _: self._kill())

    def connectionMade(self) -> None:
        self.transport.writeToChild(self._descriptor, self._question)
        self.transport.closeChildFD(self._descriptor)

    def childDataReceived(self, descriptor: int, data: bytes) -> None:
        if descriptor == 2 and len(self.said) < MAX_SAID:
            self.said += data[:MAX_SAID]

    def _kill(self) -> None:
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass
        # What it started may go on and have its pipes open.
        self.transport.loseConnection()

    def processExited(self, reason: Failure) -> None:
        self._status = getattr(reason.value, "exitCode", None)
        # Then nothing more comes, whoever has its pipes.
        self._timer = self._clock.callLater(LINGER, self._finish)

    def processEnded(self, reason: Failure) -> None:
        self._status = getattr(reason.value, "exitCode", None)
        self._finish()

    def _finish(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self.transport.loseConnection()
        if not self.ended.called:
            self.ended.callback(self._status)


@implementer(IPasswordSource)
class CommandSource:
    """
    See L{IPasswordSource}.
    """

    log = Logger()

    def __init__(self, settings: CommandSettings, services: SourceServices) -> None:
        """
        @raise SourceProblem: if the program can't be run.
        """
        self._settings = settings
        program = settings.command[0]
        if not (os.path.isfile(program) and os.access(program, os.X_OK)):
            raise SourceProblem(f"command: {program} is no program that can be run")
        self._reactor = services.reactor
        self._bounds = Bounds(services.reactor, "command", settings.processes, settings.timeout)
        self._environment: Mapping[str, str] = {
            name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ
        }

    async def start(self) -> None:
        """See L{IPasswordSource}."""

    async def stop(self) -> None:
        """See L{IPasswordSource}."""

    async def verify(self, address: Address, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordSource}."""
        name = f"{address.localPart}@{address.domain}".encode()
        question = name + b"\0" + password + b"\0\0"
        answer: bool = await self._bounds.ask(
            lambda: Deferred.fromCoroutine(self._ask(question)), origin
        )
        return answer

    async def _ask(self, question: bytes) -> bool:
        descriptor, command = self._settings.descriptor, self._settings.command
        asking = _Asking(descriptor, question, self._reactor)
        descriptors: dict[int, Any] = {0: "w", 1: "r", 2: "r", descriptor: "w"}
        self._reactor.spawnProcess(
            asking, command[0], command, self._environment, childFDs=descriptors
        )
        try:
            status = await asking.ended
        except CancelledError:
            raise TimeoutError(f"{command[0]} was killed") from None
        if asking.said:
            self.log.warn(
                "checker command: {program}: {said}",
                program=command[0],
                said=asking.said.decode("utf-8", "replace"),
            )
        if status in (0, 1):
            return status == 0
        raise ValueError(f"{command[0]} ended with {status}")


SOURCE = SourceRecord("command", CommandSettings, CommandSource)
