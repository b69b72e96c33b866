"""
Sends an announcement to the members of a club, each by itself, over one connection.

    python -m docs.examples.announce smtp.club.example announcement.eml ann@a.example bob@b.example

Behind the host may stand a port. The user's name and the password are taken from the environment,
C{MAIL_USER} and C{MAIL_PASSWORD}.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from twisted_mailstack.errors import MailError
from twisted_mailstack.model.queue import AttemptResult
from twisted_mailstack.smtp.client import SMTPClient

#: Where what can't be delivered comes back to.
SENDER = "announcements@club.example"
#: How often a member is tried who can't have it now, and the seconds between.
ATTEMPTS, PAUSE = 3, 300.0


async def announce(
    reactor: Any, client: SMTPClient, announcement: bytes, members: Sequence[str]
) -> dict[str, AttemptResult]:
    """
    @param client: not connected yet.
    @return: what became of each member's copy in the end.
    """
    results: dict[str, AttemptResult] = {}
    waiting = list(members)
    for attempt in range(ATTEMPTS):
        if attempt:
            await deferLater(reactor, PAUSE)
        try:
            async with client:
                for member in waiting:
                    text = f"To: {member}\n".encode() + announcement
                    [results[member]] = await client.send(SENDER, [member], text)
        except MailError as error:
            # No connection, or no login.
            print(f"attempt {attempt + 1}: {error.text}", file=sys.stderr)
            if not error.temporary:
                break
        waiting = [each for each in waiting if each not in results or results[each].temporary]
        if not waiting:
            break
    return results


async def main(reactor: Any, server: str, path: str, *members: str) -> None:
    """See the module."""
    host, _, port = server.partition(":")
    with open(path, "rb") as file:
        announcement = file.read()
    client = SMTPClient(
        reactor,
        host,
        int(port) if port else None,
        username=os.environ["MAIL_USER"],
        password=os.environ["MAIL_PASSWORD"],
    )
    results = await announce(reactor, client, announcement, members)
    for member in members:
        result = results.get(member)
        print(f"{member}: {'not tried' if result is None else result.line}")


if __name__ == "__main__":
    react(lambda *given: Deferred.fromCoroutine(main(*given)), sys.argv[1:])
