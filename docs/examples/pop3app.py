"""
POP3 over an application's own users, under implicit TLS: what a scanner or an old program fetches
its mail with.

    python -m docs.examples.pop3app tcp:2995:interface=127.0.0.1 DIRECTORY
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread

from docs.examples.imapapp import DOMAIN, notify
from docs.examples.running import runMain, serve
from docs.examples.users import User, makePortal
from twisted_mailstack.auth.passwords import PasswordHasher, hashPassword
from twisted_mailstack.net.tls import selfSigned
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.storage.sql.store import SQLMailStore


def makeFactory(portal: Portal, clock: IReactorTime) -> POP3Factory:
    """
    @param portal: whose realm gives accounts.
    """
    settings = POP3Settings(hostname=f"pop.{DOMAIN}", maxLoginFailures=5)
    return POP3Factory(portal, settings, clock, service="pop3s", maxConnectionsPerPeer=10)


async def main(reactor: Any, endpoint: str, directory: str) -> None:
    """Serve one user's notifications."""
    store = SQLMailStore(directory, reactor, reactor.callFromThread)
    await store.start()
    users = {"alice": User("alice", hashPassword(b"correct horse"))}
    portal = makePortal(store, DOMAIN, users, PasswordHasher(deferToThread, reactor))
    await notify(store, "alice", "Your export is ready", "Fetch it at https://app.example/42.\n")
    certificate = selfSigned(Path(directory), "localhost")
    await serve(reactor, makeFactory(portal, reactor), endpoint, store, certificate)


if __name__ == "__main__":
    runMain(main)
