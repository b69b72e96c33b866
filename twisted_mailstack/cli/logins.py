# -*- test-case-name: tests.cli.test_logins -*-
"""
``mailstack logins``: who has logged in to one's own account lately, as its server tells.
"""

from __future__ import annotations

from typing import Any

import click

from twisted_mailstack.cli.access import loginLine
from twisted_mailstack.cli.context import Context, askPassword, passContext
from twisted_mailstack.cli.servers import ServerURL, parseServer, tlsOption
from twisted_mailstack.errors import MailError
from twisted_mailstack.imap.client import IMAPClient
from twisted_mailstack.model.logins import LOGINS, readLogins
from twisted_mailstack.model.records import KEPT_LOGINS, LoginRecord


@click.command()
@click.argument("server")
@click.option("--limit", type=click.IntRange(1, KEPT_LOGINS), default=20, help="How many.")
@tlsOption
@passContext
def logins(context: Context, server: str, limit: int, tls: str | None) -> None:
    """
    Show the latest logins to one's own account, right and wrong, as imaps://user@host. Asks for its
    password, or reads it as one line from standard input.
    """
    where = parseServer(server, tls, ("imap",))
    password = askPassword(confirm=False).decode("utf-8", "surrogateescape")

    async def work(reactor: Any) -> list[LoginRecord]:
        return await fetchLogins(makeClient(reactor, where, password))

    for each in context.visit(work)[:limit]:
        click.echo(loginLine(each))


def makeClient(reactor: Any, where: ServerURL, password: str) -> IMAPClient:
    """
    @return: one that isn't connected yet.
    """
    return IMAPClient(
        reactor,
        where.host,
        where.port,
        tls=where.tls,
        username=where.user,
        password=password,
        # Who says so knows that the way is safe, or that there is none.
        allowPlaintextAuth=where.tls == "none",
    )


async def fetchLogins(client: IMAPClient) -> list[LoginRecord]:
    """
    @param client: is connected, and logged out in the end.
    @return: the latest first.
    @raise MailError: if the server doesn't tell.
    """
    async with client:
        value = None
        if client.capabilities & {"METADATA", "METADATA-SERVER"}:
            value = (await client.getMetadata("", LOGINS)).get(LOGINS)
        if value is None:
            raise MailError("the server doesn't tell of logins")
        return readLogins(value)
