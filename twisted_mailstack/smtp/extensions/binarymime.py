# -*- test-case-name: tests.smtp.test_binarymime -*-
"""
BINARYMIME (RFC 3030 §3): messages whose parts are neither lines nor encoded.

Neither every mailbox protocol nor every next server can carry such parts. So those whose transfer
encoding is binary become base64 as they come, which preserves each of their octets; what else there
is stays as it is and is held to the rules of text. From then on the message is one of 8BITMIME.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from twisted_mailstack.smtp.clientsession import OutgoingMessage, SMTPClientSession
from twisted_mailstack.smtp.commands.mail import outOfOrder
from twisted_mailstack.smtp.downgrade import toSevenBit
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.extensions import eightbitmime
from twisted_mailstack.smtp.session import SMTPSession, Transaction
from twisted_mailstack.wire.binary import BinaryEncoder

# --- the server's half ---------------------------------------------------------------------------


def available(session: SMTPSession) -> bool:
    """RFC 3030 §3 3): "can only be used with the CHUNKING service extension"."""
    return session.registry.isAvailable(session, b"BDAT")


def _isBinary(body: str | None) -> bool:
    return body is not None and body.upper() == "BINARYMIME"


def check(session: SMTPSession, value: str | None) -> None:
    """body-value ::= "7BIT" / "8BITMIME" / "BINARYMIME" (RFC 3030 §3 5))."""
    if not _isBinary(value):
        eightbitmime.check(session, value)


def checkMail(session: SMTPSession, path: object, parameters: dict[str, str | None]) -> None:
    """From here on it is a message of 8BITMIME."""
    if _isBinary(parameters.get("BODY")):
        parameters["BODY"] = "8BITMIME"


def checkData(session: SMTPSession) -> None:
    """RFC 3030 §3: "BINARYMIME cannot be used with the DATA command"."""
    if session.transaction is not None and _isBinary(session.transaction.given.get("BODY")):
        raise outOfOrder("BINARYMIME needs BDAT")


def makeFilter(session: SMTPSession, transaction: Transaction) -> BinaryEncoder | None:
    """See the module."""
    return BinaryEncoder() if _isBinary(transaction.given.get("BODY")) else None


# --- the client's half ---------------------------------------------------------------------------


async def clientPrepare(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> OutgoingMessage:
    """
    RFC 3030 §3: a server that doesn't offer it is never sent binary data. Then, and where it lacks
    CHUNKING, the message's parts are encoded.
    """
    if not _isBinary(message.parameters.get("BODY")) or _usable(session, offered):
        return message
    # Where that is given, the header needs it and the server has it, and so has 8BITMIME (RFC 6531
    # §3.1 (8)).
    utf8 = "SMTPUTF8" in message.parameters
    content = await toSevenBit(message.content, utf8)
    body = "8BITMIME" if utf8 else "7BIT"
    return replace(message, content=content, parameters={**message.parameters, "BODY": body})


def _usable(session: SMTPClientSession, offered: str | None) -> bool:
    return offered is not None and "CHUNKING" in session.offered


def clientMail(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> Mapping[str, str | None]:
    """RFC 3030 §3."""
    return {"BODY": "BINARYMIME"} if _isBinary(message.parameters.get("BODY")) else {}


EXTENSION = Extension(
    "BINARYMIME",
    3030,
    available=available,
    mailParameters={"BODY": check},
    checkMail=checkMail,
    checkData=checkData,
    makeFilter=makeFilter,
    # RFC 3030 §3 8)
    mailOctets=16,
    clientPrepare=clientPrepare,
    clientMail=clientMail,
)
