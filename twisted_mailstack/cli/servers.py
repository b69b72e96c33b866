# -*- test-case-name: tests.cli.test_logins -*-
"""
Other servers, as commands name them: C{imaps://user@host}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import click

from twisted_mailstack.net.reach import TLS_LEVELS


class ServerURL(NamedTuple):
    """
    @ivar protocol: C{imap} or C{pop3}.
    @ivar port: C{None} for the protocol's own.
    @ivar tls: a level of L{TLS_LEVELS}.
    """

    protocol: str
    host: str
    port: int | None
    user: str
    tls: str


#: How safe the way has to be.
tlsOption = click.option(
    "--tls",
    type=click.Choice(TLS_LEVELS),
    help="How safe the way to a server has to be; verified or implicit where nothing is said.",
)


def parseServer(
    text: str, tls: str | None, protocols: Sequence[str] = ("imap", "pop3")
) -> ServerURL:
    """
    @param tls: what C{--tls} says.
    @raise click.UsageError: if it names no server, or more than one.
    """
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise click.UsageError(f"{text}: {error}") from None
    protocol, secure = url.scheme.removesuffix("s"), url.scheme.endswith("s")
    if protocol not in protocols or not url.hostname or not url.username:
        same = ", nor the same with pop3" if "pop3" in protocols else ""
        raise click.UsageError(f"{text} is neither imaps://user@host nor imap://user@host{same}")
    if url.password is not None:
        raise click.UsageError("everybody on this machine sees a password in a command")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise click.UsageError(f"{text}: nothing may follow the host")
    level = tls or ("implicit" if secure else "verified")
    if (level == "implicit") != secure:
        raise click.UsageError(f"{protocol}s:// is with implicit TLS, {protocol}:// with another")
    return ServerURL(protocol, url.hostname, port, unquote(url.username), level)
