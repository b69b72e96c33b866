# -*- test-case-name: tests.smtp.test_requiretls -*-
"""
REQUIRETLS (RFC 8689): a message that goes over TLS only, to servers that are known for certain; and
the header field TLS-Required, by which a sender wants the contrary.

A message that is to be relayed so is refused by whatever connects to the next server if that can't
be vouched for; the client's half refuses what it can see itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.header import Header
from twisted_mailstack.smtp.clientsession import OutgoingMessage, SMTPClientSession
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession, Transaction

#: Octets of a header in which the field is looked for.
MAX_HEADER = 256 * 1024


def available(session: SMTPSession) -> bool:
    """Where the target hands it on so."""
    return session.honours("REQUIRETLS")


def ehlo(session: SMTPSession) -> str | None:
    """RFC 8689 §2: within TLS."""
    return "" if session.info.secure else None


def check(session: SMTPSession, value: str | None) -> None:
    """RFC 8689 §2."""
    if value is not None:
        raise SyntaxProblem("REQUIRETLS takes no value")
    if not session.info.secure:
        # "The session itself MUST employ TLS transmission."
        raise MailError("REQUIRETLS needs TLS", smtpCode=530, enhancedStatus="5.7.10")


async def inspect(session: SMTPSession, transaction: Transaction, content: IStagedContent) -> None:
    """
    RFC 8689 §4.1: TLS-Required tags a message that came without REQUIRETLS, as a parameter of that
    name would.
    """
    if "REQUIRETLS" in transaction.holding:
        return
    header = await content.read(0, min(content.summary.headerSize, MAX_HEADER))
    if b"tls-required" not in header.lower():
        return
    #   requiretls-field = "TLS-Required:" [FWS] "No" CRLF
    values = {value.lower() for value in Header(header).getAll(b"tls-required")}
    if values == {b"no"}:
        transaction.holding["TLS-REQUIRED"] = "No"


def clientMail(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> Mapping[str, str | None]:
    """
    RFC 8689 §4.2.1.

    @raise MailError: if the server doesn't offer it, or the connection isn't secure. A notification
        goes all the same (§5).
    """
    if "REQUIRETLS" not in message.parameters:
        return {}
    # What doesn't leave the machine needs no TLS.
    secure = session.stream.info.secure or session.stream.info.peer == "local"
    if secure and offered is not None:
        return {"REQUIRETLS": None}
    if message.reversePath is None:
        return {}
    if not secure:
        raise MailError("Encryption needed", smtpCode=550, enhancedStatus="5.7.10")
    raise MailError("REQUIRETLS support required", smtpCode=550, enhancedStatus="5.7.30")


EXTENSION = Extension(
    "REQUIRETLS",
    8689,
    ehlo=ehlo,
    available=available,
    mailParameters={"REQUIRETLS": check},
    inspect=inspect,
    # RFC 8689 §2 (5)
    mailOctets=11,
    clientMail=clientMail,
)
