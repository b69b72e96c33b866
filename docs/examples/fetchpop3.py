"""
Fetches what is new of a maildrop into a directory: a file for each message.

    MAIL_USER=alice MAIL_PASSWORD=... python fetchpop3.py pop.example.org[:port] directory

Which messages were fetched is kept in the file "seen" there, so it can be run again and again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from twisted_mailstack.pop3.client import POP3Client


class File:
    """
    A sink on disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"")

    def write(self, data: bytes) -> None:
        """
        More of the message.
        """
        with self.path.open("ab") as file:
            file.write(data)


async def fetch(client: POP3Client, directory: Path) -> int:
    """
    @return: how many messages were new.
    """
    path = directory / "seen"
    seen = path.read_bytes().split() if path.exists() else []
    names = {each.number: each.uniqueId for each in await client.newMessages(seen)}

    def done(number: int, refused: Exception | None) -> None:
        # It is here: noted at once, so that it isn't fetched again if the connection breaks.
        if refused is None:
            seen.append(names[number])
            path.write_bytes(b"\n".join(seen))

    await client.retrieveAll(
        names, lambda number: File(directory / f"{names[number].hex()}.eml"), done
    )
    return len(names)


async def main(reactor: Any, where: str, directory: str) -> None:
    """
    Fetch once.
    """
    host, _, port = where.partition(":")
    user, password = os.environ["MAIL_USER"], os.environ["MAIL_PASSWORD"]
    client = POP3Client(
        reactor, host, int(port) if port else None, tls="implicit", username=user, password=password
    )
    async with client:
        print(await fetch(client, Path(directory)), "new messages")


if __name__ == "__main__":
    task.react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
