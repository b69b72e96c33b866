# -*- test-case-name: tests.smtp.test_smtputf8 -*-
"""
SMTPUTF8 (RFC 6531): addresses and header fields in UTF-8. Local delivery keeps every octet, and
local accounts may have such addresses. A message that was declared so and needs nothing of it goes
to any server; so does one in which only an attached message needs it, which is encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.model.mime import Part, StructureScanner
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.smtp.clientsession import (
    WINDOW,
    OutgoingMessage,
    Readable,
    SMTPClientSession,
)
from twisted_mailstack.smtp.downgrade import toASCIIHeaders
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession


def check(session: SMTPSession, value: str | None) -> None:
    """RFC 6531 §3.4: no value."""
    if value is not None:
        raise SyntaxProblem("SMTPUTF8 takes no value")


async def clientPrepare(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> OutgoingMessage:
    """
    RFC 6531 §3.4: the parameter is given if it is needed, and only then.

    @raise MailError: if the sender's address or the header needs it and the server doesn't offer it
        (§3.2: such a message is rejected; §3.5: X.6.7, X.6.9).
    """
    declared = "SMTPUTF8" in message.parameters
    sender = message.reversePath is None or message.reversePath.isASCII
    header = not declared or await _headersAreASCII(message.content)
    if offered is None and not sender:
        raise MailError(
            "The sender's address needs SMTPUTF8, which the server doesn't offer",
            smtpCode=550,
            enhancedStatus="5.6.7",
        )
    if offered is None and not header:
        message = replace(message, content=await toASCIIHeaders(message.content))
        header = True
    needed = not (sender and header and all(each.address.isASCII for each in message.recipients))
    if declared == (needed and offered is not None):
        return message
    parameters = {**message.parameters, "SMTPUTF8": None}
    if not needed or offered is None:
        del parameters["SMTPUTF8"]
    return replace(message, parameters=parameters)


async def _headersAreASCII(content: Readable) -> bool:
    # RFC 6531 §3.2: "at any level within its MIME structure".
    for part in (await _structure(content)).walk():
        offset = part.headerOffset
        while offset < part.bodyOffset:
            octets = await content.read(offset, min(WINDOW, part.bodyOffset - offset))
            if not octets.isascii():
                return False
            if not octets:
                break
            offset += len(octets)
    return True


async def _structure(content: Readable) -> Part:
    known = getattr(content, "structure", None)
    if isinstance(known, Part):
        return known
    scanner = StructureScanner()
    offset = 0
    while offset < content.size:
        octets = await content.read(offset, WINDOW)
        if not octets:
            break
        scanner.feed(octets)
        offset += len(octets)
    return scanner.finish()


def clientMail(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> Mapping[str, str | None]:
    """See L{clientPrepare}."""
    return {"SMTPUTF8": None} if "SMTPUTF8" in message.parameters else {}


def clientRcpt(
    session: SMTPClientSession,
    message: OutgoingMessage,
    recipient: Recipient,
    offered: str | None,
) -> Mapping[str, str | None]:
    """
    @raise MailError: if the server doesn't take that address. The message still goes to the others.
    """
    if offered is None and not recipient.address.isASCII:
        raise MailError(
            "The address needs SMTPUTF8, which the server doesn't offer",
            smtpCode=553,
            enhancedStatus="5.6.7",
        )
    return {}


EXTENSION = Extension(
    "SMTPUTF8",
    6531,
    mailParameters={"SMTPUTF8": check},
    # RFC 6531 §3.1 (5): MAIL may be 10 octets longer.
    mailOctets=10,
    clientPrepare=clientPrepare,
    clientMail=clientMail,
    clientRcpt=clientRcpt,
)
