"""
Sockets of another process.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_mailstack.workers.adopt import ACCEPTS, PAUSE, SharedUNIXPort, adopt


class Reactor(Clock):
    """
    Notes what is read, and what is adopted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reading: list[Any] = []
        self.adopted: list[tuple[int, int]] = []

    def addReader(self, reader: Any) -> None:
        """Note it."""
        self.reading.append(reader)

    def removeReader(self, reader: Any) -> None:
        """Note it."""
        if reader in self.reading:
            self.reading.remove(reader)

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        """Note it."""
        self.adopted.append((descriptor, family))


class Socket:
    """
    A socket; what its C{accept} gives is given to it.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: list[Any] = []
        self.blocks = True

    def fileno(self) -> int:
        """-1: it is closed."""
        return self.number

    def getsockname(self) -> str:
        """Where it is."""
        return "/run/lmtp"

    def setblocking(self, flag: bool) -> None:
        """Note it."""
        self.blocks = flag

    def accept(self) -> tuple[Any, str]:
        """The next one."""
        found = self.waiting.pop(0) if self.waiting else BlockingIOError(errno.EAGAIN, "no")
        if isinstance(found, Exception):
            raise found
        return found, ""

    def close(self) -> None:
        """Close it."""
        self.number = -1

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SharedUNIXPortTests(SynchronousTestCase):
    """
    A Unix socket that several processes accept from.
    """

    def setUp(self) -> None:
        """It listens."""
        self.reactor = Reactor()
        self.socket = Socket(9)
        self.port = SharedUNIXPort(self.reactor, cast(socket.socket, self.socket), Factory())
        self.port.startListening()

    def test_provides(self) -> None:
        """It is a port like others."""
        verifyObject(IListeningPort, self.port)
        verifyObject(IReadDescriptor, self.port)
        self.assertEqual(self.port.getHost(), UNIXAddress(b"/run/lmtp"))
        self.assertEqual(self.port.fileno(), 9)

    def test_accepts(self) -> None:
        """All that wait are accepted; that another process was faster is nothing."""
        clients = [Socket(10), Socket(11)]
        self.socket.waiting += clients
        self.port.doRead()
        self.assertEqual(self.reactor.adopted, [(10, socket.AF_UNIX), (11, socket.AF_UNIX)])
        # The reactor has descriptors of its own.
        self.assertEqual([(each.number, each.blocks) for each in clients], [(-1, False)] * 2)
        self.port.doRead()
        self.socket.waiting.append(ConnectionAbortedError(errno.ECONNABORTED, "gone"))
        self.port.doRead()
        self.assertEqual(self.reactor.reading, [self.port])

    def test_many(self) -> None:
        """Who is served already isn't kept waiting by a crowd."""
        self.socket.waiting += [Socket(10) for _ in range(ACCEPTS + 1)]
        self.port.doRead()
        self.assertEqual(len(self.reactor.adopted), ACCEPTS)

    def test_noDescriptors(self) -> None:
        """Without descriptors it waits: others may accept, and it doesn't spin."""
        self.socket.waiting.append(OSError(errno.EMFILE, "Too many open files"))
        self.port.doRead()
        self.assertEqual(self.reactor.reading, [])
        self.reactor.advance(PAUSE)
        self.assertEqual(self.reactor.reading, [self.port])
        self.socket.waiting.append(OSError(errno.EMFILE, "Too many open files"))
        self.port.doRead()
        self.port.stopListening()
        self.reactor.advance(PAUSE)
        self.assertEqual(self.reactor.reading, [])

    def test_broken(self) -> None:
        """Anything else is the reactor's business."""
        self.socket.waiting.append(OSError(errno.EINVAL, "shut down"))
        self.assertRaises(OSError, self.port.doRead)
        self.port.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.reactor.reading, self.socket.number), ([], -1))

    def test_stop(self) -> None:
        """It can be stopped, and twice."""
        for _ in range(2):
            self.assertIsNone(self.port.stopListening())
        self.assertEqual((self.reactor.reading, self.socket.number), ([], -1))


class AdoptTests(SynchronousTestCase):
    """
    L{adopt}.
    """

    def test_TCP(self) -> None:
        """Twisted's own endpoint does for all but Unix sockets."""
        for family in (socket.AF_INET, socket.AF_INET6):
            endpoint = adopt(Reactor(), 5, family)
            self.assertIsInstance(endpoint, AdoptedStreamServerEndpoint)
        self.assertNotIsInstance(adopt(Reactor(), 5, socket.AF_UNIX), AdoptedStreamServerEndpoint)
