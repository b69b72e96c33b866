"""
Keeps a copy of a mailbox in a directory, a file for each message, and goes on as mail arrives.

    python -m docs.examples.mirror imap.example.org INBOX /var/lib/copy

Behind the host may stand a port. The user's name and the password are taken from the environment,
C{MAIL_USER} and C{MAIL_PASSWORD}.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from twisted_mailstack.imap.client import IMAPClient, MailboxState


async def update(
    client: IMAPClient, name: str, directory: Path, known: MailboxState | None
) -> MailboxState:
    """
    @param known: what the last call returned; C{None}: nothing is known.
    @return: what is known now.
    """
    changes = await client.synchronise(name, known)
    if changes.reset:
        for path in directory.glob("*.eml"):
            path.unlink()
    for uid in changes.vanished:
        (directory / f"{uid}.eml").unlink(missing_ok=True)
    for uid in changes.changed:
        path = directory / f"{uid}.eml"
        if not path.exists():
            with path.open("wb") as file:
                await client.fetchTo(uid, _File(file))
    return changes.state


class _File:
    # A file's write returns a count, which isn't something to wait for.
    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)


async def main(reactor: Any, server: str, name: str, directory: str) -> None:
    """See the module."""
    host, _, port = server.partition(":")
    async with IMAPClient(
        reactor,
        host,
        int(port) if port else None,
        username=os.environ["MAIL_USER"],
        password=os.environ["MAIL_PASSWORD"],
    ) as client:
        state = None
        while True:
            state = await update(client, name, Path(directory), state)
            print(f"{len(state.uids)} messages", flush=True)
            await client.idle()


if __name__ == "__main__":
    react(lambda *given: Deferred.fromCoroutine(main(*given)), sys.argv[1:])
