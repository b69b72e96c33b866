"""
An application whose notifications can be read in any mail program: IMAP over its own users.

    python -m docs.examples.imapapp tcp:2143:interface=127.0.0.1 DIRECTORY
"""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path
from time import time
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.threads import deferToThread

from docs.examples.running import runMain, serve
from docs.examples.users import User, UserRealm, makePortal
from twisted_mailstack.auth.passwords import PasswordHasher, hashPassword
from twisted_mailstack.imap.server import IMAPFactory
from twisted_mailstack.imap.session import IMAPSettings
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.model.records import Placement
from twisted_mailstack.net.tls import selfSigned
from twisted_mailstack.storage.sql.store import SQLMailStore

DOMAIN = "app.example"


def makeFactory(
    portal: Portal, clock: IReactorTime, tls: IOpenSSLServerConnectionCreator | None = None
) -> IMAPFactory:
    """
    @param portal: whose realm gives accounts.
    @param tls: for STARTTLS. Without it, and without C{allowPlaintextAuth}, nobody can log in.
    """
    return IMAPFactory(portal, IMAPSettings(hostname=f"imap.{DOMAIN}"), clock, tls=tls)


async def notify(store: IMailStore, name: str, subject: str, text: str) -> None:
    """
    Put a message into a user's INBOX. It is on disk when this returns, and clients that wait in
    IDLE are told of it.
    """
    account = await UserRealm(store, DOMAIN).accountOf(name)
    message = EmailMessage(policy=SMTP)
    message["From"] = f"The application <noreply@{DOMAIN}>"
    message["To"] = str(account.address)
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=DOMAIN)
    message.set_content(text)
    content = store.newContent()
    try:
        waiting = content.write(message.as_bytes())
        if waiting is not None:
            await waiting
        staged = await content.finish()
    finally:
        # Does nothing to a content that is finished.
        content.abort()
    try:
        await store.deliver(staged, [Placement(account.accountId, "INBOX")], int(time()))
    finally:
        staged.discard()


async def main(reactor: Any, endpoint: str, directory: str) -> None:
    """Serve one user's notifications."""
    store = SQLMailStore(directory, reactor, reactor.callFromThread)
    await store.start()
    users = {"alice": User("alice", hashPassword(b"correct horse"))}
    portal = makePortal(store, DOMAIN, users, PasswordHasher(deferToThread, reactor))
    await notify(store, "alice", "Your export is ready", "Fetch it at https://app.example/42.\n")
    factory = makeFactory(portal, reactor, selfSigned(Path(directory), "localhost"))
    await serve(reactor, factory, endpoint, store)


if __name__ == "__main__":
    runMain(main)
