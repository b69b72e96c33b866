# -*- test-case-name: tests.smtp.test_etrn -*-
"""
ETRN (RFC 1985): a client that was away asks for the mail that waits for its domain. Whoever is
allowed to says so in the settings, or has authenticated.
"""

from __future__ import annotations

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.interfaces import ISpool
from twisted_mailstack.model.address import parseDomain
from twisted_mailstack.model.queue import QueueFilter
from twisted_mailstack.smtp.commands.mail import outOfOrder
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.grammar import decodeArgument
from twisted_mailstack.smtp.session import SMTPSession


def available(session: SMTPSession) -> bool:
    """Where there is a queue to be started."""
    return session.spool is not None


def ehlo(session: SMTPSession) -> str | None:
    """To who may use it."""
    return "" if _isAllowed(session) else None


def _isAllowed(session: SMTPSession) -> bool:
    return session.authenticated is not None or session.isFrom(session.settings.etrnNetworks)


async def etrn(session: SMTPSession, argument: bytes) -> None:
    """RFC 1985: a domain, or C{@} and a domain for it and all that are below."""
    spool = session.spool
    assert spool is not None
    if session.helo is None:
        raise outOfOrder("Say EHLO first")
    if session.transaction is not None:
        raise outOfOrder("Not within a transaction")
    node = decodeArgument(argument)
    if not node:
        raise SyntaxProblem("A domain is needed")
    if not _isAllowed(session):
        raise MailError("Not allowed", smtpCode=459, enhancedStatus="4.7.1")
    if node.startswith("#"):
        # RFC 1985: queues that have names of their own; ours haven't.
        raise MailError("There is no such queue", smtpCode=458, enhancedStatus="4.3.0")
    domain = parseDomain(node.removeprefix("@"))
    started = await spool.retry(QueueFilter(domain=domain))
    if node.startswith("@"):
        for below in await _below(spool, domain):
            started += await spool.retry(QueueFilter(domain=below))
    if not started:
        session.ok(f"No messages are waiting for {domain}", "2.0.0", 251)
    else:
        session.ok(f"{started} messages for {domain} are started", "2.0.0", 253)


async def _below(spool: ISpool, domain: str) -> list[str]:
    return [
        destination.name
        for destination in await spool.destinations()
        if destination.name.endswith(f".{domain}")
    ]


EXTENSION = Extension(
    "ETRN",
    1985,
    ehlo=ehlo,
    available=available,
    commands=(Command(b"ETRN", etrn, "ETRN domain", beforeAuthentication=False),),
)
