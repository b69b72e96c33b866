"""
What the embedding examples share: listening, and ending cleanly.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString, wrapServerTLS
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IStreamServerEndpoint
from twisted.internet.task import react

from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.net.protocol import MailFactory

#: Seconds that sessions have for their goodbye.
PATIENCE = 8.0


async def serve(
    reactor: Any,
    factory: MailFactory,
    endpoint: str,
    store: IMailStore | None = None,
    tls: IOpenSSLServerConnectionCreator | None = None,
) -> None:
    """
    Listen until the process is stopped. Then every session says its protocol's goodbye, what is
    being committed is committed, and the store is closed.

    @param tls: for implicit TLS.
    """
    listening: IStreamServerEndpoint = serverFromString(reactor, endpoint)
    if tls is not None:
        listening = wrapServerTLS(tls, listening)
    port: Any = await listening.listen(factory)

    async def stop() -> None:
        await maybeDeferred(port.stopListening)
        await factory.shutDown(PATIENCE)
        if store is not None:
            await store.stop()

    # The reactor waits for what a "before" trigger returns.
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))
    print(f"listening on port {port.getHost().port}", flush=True)
    await Deferred()


def runMain(main: Callable[..., Awaitable[None]]) -> None:
    """
    Run C{main(reactor, *arguments)} with what the command line says.
    """

    async def start(reactor: Any, *arguments: str) -> None:
        await main(reactor, *arguments)

    react(lambda *given: Deferred.fromCoroutine(start(*given)), sys.argv[1:])
