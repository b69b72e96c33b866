# -*- test-case-name: tests.smtp.test_eightbitmime -*-
"""
8BITMIME (RFC 6152, RFC 1652): octets outside ASCII in the text. They are stored as they come.

What the client says of the text isn't trusted: BODY says what was found, so that a message goes on
as what it is. Where the next server takes ASCII only, its parts are encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.smtp.clientsession import (
    WINDOW,
    OutgoingMessage,
    Readable,
    SMTPClientSession,
)
from twisted_mailstack.smtp.downgrade import toSevenBit
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession, Transaction


def check(session: SMTPSession, value: str | None) -> None:
    """body-value = "7BIT" / "8BITMIME" (RFC 6152 §2)."""
    if value is None or value.upper() not in ("7BIT", "8BITMIME"):
        raise SyntaxProblem("BODY is 7BIT or 8BITMIME")


async def inspect(session: SMTPSession, transaction: Transaction, content: IStagedContent) -> None:
    """What the text is, whatever was said of it."""
    transaction.holding["BODY"] = "8BITMIME" if transaction.lines.eightBit else "7BIT"


async def clientPrepare(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> OutgoingMessage:
    """
    RFC 6152 §3: other octets than ASCII go only to a server that offers it. A message of which
    nothing is said is looked at.
    """
    body = (message.parameters.get("BODY") or "").upper()
    if body == "7BIT" or body == "BINARYMIME" or (body and offered is not None):
        # Of BINARYMIME its own extension takes care.
        return message
    if not body:
        body = "7BIT" if await _isASCII(message.content) else "8BITMIME"
    content = message.content
    if body == "8BITMIME" and offered is None:
        content = await toSevenBit(content)
        body = "7BIT"
    return replace(message, content=content, parameters={**message.parameters, "BODY": body})


async def _isASCII(content: Readable) -> bool:
    offset = 0
    while offset < content.size:
        octets = await content.read(offset, WINDOW)
        if not octets.isascii():
            return False
        if not octets:
            break
        offset += len(octets)
    return True


def clientMail(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> Mapping[str, str | None]:
    """RFC 6152 §3. 7BIT is what is meant without a word."""
    eightBit = (message.parameters.get("BODY") or "").upper() == "8BITMIME"
    return {"BODY": "8BITMIME"} if eightBit and offered is not None else {}


EXTENSION = Extension(
    "8BITMIME",
    6152,
    mailParameters={"BODY": check},
    inspect=inspect,
    # RFC 6152 §2 (5): MAIL may be 17 octets longer.
    mailOctets=17,
    clientPrepare=clientPrepare,
    clientMail=clientMail,
)
