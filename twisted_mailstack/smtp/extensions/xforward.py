# -*- test-case-name: tests.smtp.test_xforward -*-
"""
XFORWARD, by which a content filter that is trusted tells where the next message comes from, for the
log. It is what Postfix documents in XFORWARD_README. Unlike XCLIENT it permits nothing.
"""

from __future__ import annotations

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.smtp.commands.mail import outOfOrder
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.extensions.xclient import UNAVAILABLE, parseAttributes, parsePort
from twisted_mailstack.smtp.session import SMTPSession

ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
_MAX_PROTOCOL = 64
#: Characters that mean something in header fields.
_SPECIALS = set('()<>,;"\\')


def available(session: SMTPSession) -> bool:
    """To filters that are configured."""
    return session.isFrom(session.settings.xforwardNetworks)


async def xforward(session: SMTPSession, argument: bytes) -> None:
    """
    Keep it for the next transaction; what is C{[UNAVAILABLE]} is forgotten.
    """
    if session.transaction is not None:
        raise outOfOrder("Not within a transaction")
    given = parseAttributes(argument, ATTRIBUTES)
    for name, value in given.items():
        _check(name, value)
    session.forwarded.update(given)
    for name in [name for name, value in session.forwarded.items() if value == UNAVAILABLE]:
        del session.forwarded[name]
    session.ok()


def _check(name: str, value: str) -> None:
    if value == UNAVAILABLE:
        return
    if _SPECIALS.intersection(value):
        raise SyntaxProblem(f"{name} has characters that are special in header fields")
    if name == "PORT":
        parsePort(value)
    if name == "PROTO" and len(value) > _MAX_PROTOCOL:
        raise SyntaxProblem(f"PROTO has at most {_MAX_PROTOCOL} characters")
    if name == "SOURCE" and value.upper() not in ("LOCAL", "REMOTE"):
        raise SyntaxProblem("SOURCE is LOCAL or REMOTE")


EXTENSION = Extension(
    "XFORWARD",
    None,
    ehlo=lambda session: " ".join(ATTRIBUTES),
    available=available,
    commands=(Command(b"XFORWARD", xforward, "XFORWARD attribute=value..."),),
)
