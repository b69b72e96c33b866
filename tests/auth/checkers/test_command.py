"""
A program that is run for each question.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.auth.checkers.support import ALICE, SourceTestCase
from twisted_mailstack.auth.checkers.command import CommandSettings, CommandSource
from twisted_mailstack.auth.checkers.source import SourceProblem, SourceUnavailable
from twisted_mailstack.interfaces import IPasswordSource


class _Transport:
    def __init__(self) -> None:
        self.written: list[tuple[int, bytes]] = []
        self.closed: list[int] = []
        self.killed = self.lost = False
        self.gone = False

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        self.written.append((descriptor, data))

    def closeChildFD(self, descriptor: int) -> None:
        self.closed.append(descriptor)

    def signalProcess(self, name: str) -> None:
        if self.gone:
            raise ProcessExitedAlready()
        self.killed = name == "KILL"

    def loseConnection(self) -> None:
        self.lost = True


class _Processes:
    """
    A clock that starts processes, which the test ends.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.started: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)

    def spawnProcess(self, protocol: Any, *arguments: Any, **more: Any) -> None:
        """As a reactor's."""
        transport = _Transport()
        protocol.transport = transport
        self.started.append((protocol, transport, arguments, more))
        protocol.connectionMade()


def _ended(status: int) -> Failure:
    return Failure(ProcessTerminated(exitCode=status) if status else ProcessDone(0))


class CommandTests(SourceTestCase):
    """
    L{CommandSource}.
    """

    def setUp(self) -> None:
        """A source with one process at a time."""
        super().setUp()
        self.watchLog()
        self.processes = _Processes(self.clock)
        self.services = self.services._replace(reactor=self.processes)
        self.source = self.make()

    def make(self, **more: Any) -> CommandSource:
        """
        @return: a source.
        """
        settings = CommandSettings(command=("/bin/sh", "-x"), processes=1, **more)
        return CommandSource(settings, self.services)

    def put(self, password: bytes = b"secret") -> Deferred[bool]:
        """
        Ask.
        """
        return self.begin(self.source.verify(ALICE, password))

    def test_interface(self) -> None:
        """It is a source of passwords."""
        verifyObject(IPasswordSource, self.source)

    def test_question(self) -> None:
        """
        What is asked comes on descriptor 3, or 0, as checkpassword reads it; nothing of it is an
        argument or in the environment.
        """
        for descriptor in (3, 0):
            self.source = self.make(descriptor=descriptor)
            self.put(b"s\xff").addErrback(lambda _: None)
            _, transport, arguments, more = self.processes.started.pop()
            self.assertEqual(transport.written, [(descriptor, b"alice@example.test\0s\xff\0\0")])
            self.assertEqual(transport.closed, [descriptor])
            program, given, environment = arguments
            self.assertEqual((program, given), ("/bin/sh", ("/bin/sh", "-x")))
            self.assertLessEqual(set(environment), {"PATH", "LANG", "TZ"})
            self.assertEqual(more["childFDs"][descriptor], "w")

    def test_answers(self) -> None:
        """0 is yes, 1 no, all else no answer: 111 is checkpassword's for a temporary problem."""
        for status, expected in ((0, True), (1, False), (2, None), (111, None), (127, None)):
            result = self.put()
            self.processes.started[-1][0].processEnded(_ended(status))
            if expected is None:
                self.failureResultOf(result, SourceUnavailable)
            else:
                self.assertIs(self.successResultOf(result), expected)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_signal(self) -> None:
        """A program that a signal ended says nothing."""
        result = self.put()
        self.processes.started[0][0].processEnded(Failure(ProcessTerminated(signal=11)))
        self.failureResultOf(result, SourceUnavailable)

    def test_said(self) -> None:
        """What it says on its standard error is in the log."""
        result = self.put()
        protocol = self.processes.started[0][0]
        protocol.childDataReceived(1, b"hello")
        protocol.childDataReceived(2, b"no database\n")
        protocol.processEnded(_ended(111))
        self.failureResultOf(result, SourceUnavailable)
        self.assertEqual(
            self.logged(),
            [
                "checker command: /bin/sh: no database\n",
                "checker command: ValueError: /bin/sh ended with 111",
            ],
        )

    def test_timeout(self) -> None:
        """One that takes too long is killed."""
        result = self.put()
        self.clock.advance(10)
        self.failureResultOf(result, SourceUnavailable)
        transport = self.processes.started[0][1]
        self.assertTrue(transport.killed)
        transport.gone = True
        self.processes.started[0][0].processEnded(Failure(ProcessTerminated(signal=9)))

    def test_children(self) -> None:
        """What it has started and left behind isn't waited for."""
        result = self.put()
        self.processes.started[0][0].processExited(_ended(0))
        self.assertNoResult(result)
        self.clock.advance(0.5)
        self.assertIs(self.successResultOf(result), True)
        self.assertTrue(self.processes.started[0][1].lost)

    def test_most(self) -> None:
        """Only so many run at a time."""
        first, second = self.put(), self.put()
        self.assertEqual(len(self.processes.started), 1)
        self.processes.started[0][0].processEnded(_ended(0))
        self.processes.started[1][0].processEnded(_ended(1))
        self.assertIs(self.successResultOf(first), True)
        self.assertIs(self.successResultOf(second), False)

    def test_gone(self) -> None:
        """A client that goes has it killed."""
        result = self.put()
        result.addErrback(lambda _: None).cancel()
        self.assertTrue(self.processes.started[0][1].killed)

    def test_settings(self) -> None:
        """The program must be there."""
        for command in ((), ("sh",)):
            self.assertRaises(SourceProblem, CommandSettings, command=command)
        self.assertRaises(SourceProblem, CommandSettings, command=("/bin/sh",), descriptor=1)
        for path in ("/no/such/program", "/etc"):
            settings = CommandSettings(command=(path,))
            self.assertRaises(SourceProblem, CommandSource, settings, self.services)
