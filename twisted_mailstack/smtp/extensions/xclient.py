# -*- test-case-name: tests.smtp.test_xclient -*-
"""
XCLIENT, by which a proxy that is trusted speaks for its client: from then on the session is that of
the client, for policies, logs and trace fields. It is what Postfix documents in XCLIENT_README.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address, parseDomain
from twisted_mailstack.model.xtext import decodeXtext
from twisted_mailstack.smtp.commands.mail import outOfOrder
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.grammar import decodeArgument, parseClientName
from twisted_mailstack.smtp.session import SMTPSession

UNAVAILABLE = "[UNAVAILABLE]"
TEMPORARILY_UNAVAILABLE = "[TEMPUNAVAIL]"

#   attribute-name "=" attribute-value; attribute-value = xtext
_ATTRIBUTE = re.compile(r"([A-Za-z]+)=([\x21-\x3c\x3e-\x7e]*)")
_MAX_VALUE = 255


def parseAttributes(argument: bytes, known: tuple[str, ...]) -> dict[str, str]:
    """
    @param known: names of attributes, upper case.
    @return: the values by their names, decoded; what is in brackets in upper case.
    @raise SyntaxProblem: if they aren't attributes, or others than these, or given twice, or have
        characters outside printable ASCII.
    """
    found: dict[str, str] = {}
    for word in decodeArgument(argument).split():
        match = _ATTRIBUTE.fullmatch(word)
        name = match.group(1).upper() if match is not None else ""
        if match is None or name not in known or name in found:
            raise SyntaxProblem(f"Attributes are {' '.join(known)}, each with its value")
        octets = decodeXtext(match.group(2))
        if not octets or len(octets) > _MAX_VALUE or not all(33 <= each <= 126 for each in octets):
            raise SyntaxProblem(f"{name} needs up to {_MAX_VALUE} printable characters")
        value = octets.decode("ascii")
        found[name] = value.upper() if value.startswith("[") else value
    if not found:
        raise SyntaxProblem("Attributes are needed")
    return found


def parsePort(value: str) -> int:
    """
    @return: the port, 0 if it isn't available.
    """
    if value == UNAVAILABLE:
        return 0
    if not value.isdigit() or len(value) > 5 or int(value) > 65535:
        raise SyntaxProblem("A port is 0 to 65535")
    return int(value)


def _parseAddress(value: str) -> str:
    if value == UNAVAILABLE:
        return "unknown"
    bare = value[5:] if value[:5].upper() == "IPV6:" else value
    try:
        # A zone (RFC 4007 §11) would be one of the proxy's.
        return str(ip_address("" if "%" in bare else bare))
    except ValueError:
        raise SyntaxProblem("An address is IPv4, IPV6: and IPv6, or [UNAVAILABLE]") from None


def _parseName(value: str) -> str | None:
    if value == TEMPORARILY_UNAVAILABLE:
        return None
    return "" if value == UNAVAILABLE else parseDomain(value)


def _parseProtocol(value: str) -> bool:
    if value.upper() not in ("SMTP", "ESMTP"):
        raise SyntaxProblem("PROTO is SMTP or ESMTP")
    return value.upper() == "ESMTP"


def _parseHello(value: str) -> str | None:
    return None if value == UNAVAILABLE else parseClientName(value)


def _parseLogin(value: str) -> Address | None:
    return None if value == UNAVAILABLE else Address.parse(value)


#: Those that are fields of L{ConnectionInfo<twisted_mailstack.model.records.ConnectionInfo>}.
_CLAIMS: dict[str, tuple[str, Callable[[str], object]]] = {
    "NAME": ("name", _parseName),
    "ADDR": ("peer", _parseAddress),
    "PORT": ("peerPort", parsePort),
    "DESTADDR": ("reached", lambda value: "" if value == UNAVAILABLE else _parseAddress(value)),
    "DESTPORT": ("reachedPort", parsePort),
}
ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")


def available(session: SMTPSession) -> bool:
    """To proxies that are configured."""
    return session.isFrom(session.settings.xclientNetworks)


async def xclient(session: SMTPSession, argument: bytes) -> None:
    """
    Begin anew, as that client: the reply is the greeting, or the refusal that the client gets.
    """
    if session.transaction is not None:
        raise outOfOrder("Not within a transaction")
    given = parseAttributes(argument, ATTRIBUTES)
    claims = {
        field: parse(given[name]) for name, (field, parse) in _CLAIMS.items() if name in given
    }
    extended = _parseProtocol(given["PROTO"]) if "PROTO" in given else session.extended
    hello = _parseHello(given["HELO"]) if "HELO" in given else None
    login = _parseLogin(given["LOGIN"]) if "LOGIN" in given else None
    # What came by an earlier XCLIENT stays unless it is given again.
    session.forget()
    session.claims.update(claims)
    session.claimedLogin = login
    session.helo = hello
    session.extended = extended and hello is not None
    await session.greet()


EXTENSION = Extension(
    "XCLIENT",
    None,
    ehlo=lambda session: " ".join(ATTRIBUTES),
    available=available,
    commands=(Command(b"XCLIENT", xclient, "XCLIENT attribute=value..."),),
)
