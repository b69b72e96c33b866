# -*- test-case-name: tests.smtp.test_size -*-
"""SIZE (RFC 1870): the client says how large the message is, the server how large it may be."""

from __future__ import annotations

from collections.abc import Mapping

from twisted_mailstack.errors import MessageTooLarge, SyntaxProblem
from twisted_mailstack.smtp.clientsession import OutgoingMessage, SMTPClientSession
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession


def check(session: SMTPSession, value: str | None) -> None:
    """RFC 1870 §6.1: size-value = 1*20DIGIT."""
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > 20:
        raise SyntaxProblem("SIZE needs a number")
    if int(value) > session.settings.maxMessageOctets:
        raise MessageTooLarge()


def clientMail(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> Mapping[str, str | None]:
    """
    RFC 1870 §6.1. What is larger than the server takes isn't sent (§5); 0 and no number at all mean
    that it doesn't say how much that is (§4 (4)).

    @raise MessageTooLarge: if it is.
    """
    if offered is None:
        return {}
    limit = offered.split(" ", 1)[0]
    # No server takes more than has so many digits.
    if limit.isascii() and limit.isdigit() and len(limit) <= 20:
        if 0 < int(limit) < message.content.size:
            raise MessageTooLarge(
                f"{session.remote} takes {int(limit)} octets, the message has"
                f" {message.content.size}"
            )
    return {"SIZE": str(message.content.size)}


EXTENSION = Extension(
    "SIZE",
    1870,
    ehlo=lambda session: str(session.settings.maxMessageOctets),
    mailParameters={"SIZE": check},
    # RFC 1870 §3 (7)
    mailOctets=26,
    clientMail=clientMail,
)
