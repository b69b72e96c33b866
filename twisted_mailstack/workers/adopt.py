# -*- test-case-name: tests.workers.test_adopt -*-
"""
Sockets that listen already, from another process.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReadDescriptor,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from zope.interface import implementer

#: Connections that are accepted in one turn of the reactor.
ACCEPTS = 100
#: Seconds until the next try when this process has no descriptors left.
PAUSE = 1.0


def adopt(reactor: Any, descriptor: int, family: int) -> IStreamServerEndpoint:
    """
    @param descriptor: of a socket that listens; it is the endpoint's.
    @param family: C{socket.AF_INET} and the like.
    @return: an endpoint that accepts from it, as others do at the same time.
    """
    if family == socket.AF_UNIX:
        return _UNIXEndpoint(reactor, descriptor)
    endpoint: IStreamServerEndpoint = AdoptedStreamServerEndpoint(reactor, descriptor, family)
    return endpoint


@implementer(IStreamServerEndpoint)
class _UNIXEndpoint:
    def __init__(self, reactor: Any, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See C{IStreamServerEndpoint}."""
        listening = socket.socket(fileno=self._descriptor)
        listening.setblocking(False)
        port = SharedUNIXPort(self._reactor, listening, protocolFactory)
        port.startListening()
        return succeed(port)


@implementer(IListeningPort, IReadDescriptor)
class SharedUNIXPort:
    """
    Accepts from a Unix socket that is another process's. Twisted's own port would give its path the
    mode 666, and remove it in the end.
    """

    log = Logger()

    def __init__(self, reactor: Any, listening: socket.socket, factory: Any) -> None:
        """
        @param listening: doesn't block.
        """
        self._reactor = reactor
        self._socket = listening
        self._factory = factory

    def startListening(self) -> None:
        """See C{IListeningPort}."""
        self._factory.doStart()
        self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None] | None:
        """See C{IListeningPort}."""
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()
            self._factory.doStop()
        return None

    def getHost(self) -> UNIXAddress:
        """See C{IListeningPort}."""
        return UNIXAddress(os.fsencode(self._socket.getsockname()))

    def fileno(self) -> int:
        """See C{IFileDescriptor}."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See C{ILoggingContext}."""
        return type(self).__name__

    def connectionLost(self, reason: object) -> None:
        """See C{IFileDescriptor}."""
        self.stopListening()

    def doRead(self) -> None:
        """See C{IReadDescriptor}."""
        for _ in range(ACCEPTS):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                # Another worker was faster; or the client is gone.
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                self.log.error("no connection can be accepted: {error}", error=error)
                self._reactor.removeReader(self)
                self._reactor.callLater(PAUSE, self._again)
                return
            with accepted:
                accepted.setblocking(False)
                # It takes a descriptor of its own.
                self._reactor.adoptStreamConnection(
                    accepted.fileno(), socket.AF_UNIX, self._factory
                )

    def _again(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.addReader(self)
