# -*- test-case-name: tests.smtp.test_dsn -*-
"""
DSN (RFC 3461): what the sender wants to be told, and how its notifications are marked. It is
offered where the target sends notifications.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.model.xtext import decodeUnitext, decodeXtext, encodeUnitext
from twisted_mailstack.smtp.clientsession import OutgoingMessage, SMTPClientSession
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession

#: RFC 3461 §4.4, §4.2: characters of the values.
MAX_ENVID = 100
MAX_ORCPT = 500

#   notify-esmtp-value = "NEVER" / 1#notify-list-element
#   notify-list-element = "SUCCESS" / "FAILURE" / "DELAY"
_NOTIFY = re.compile(
    r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*", re.IGNORECASE
)
#   addr-type = atom
_ATOM = re.compile(r"[!#-'*+\-/0-9=?A-Z^-~]+")
#   "printable (graphic and white space) characters from the US-ASCII repertoire"
_PRINTABLE = re.compile(rb"[\t\x20-\x7e]*\Z")


def available(session: SMTPSession) -> bool:
    """Where somebody notifies."""
    return session.honours("DSN")


def checkReturn(session: SMTPSession, value: str | None) -> None:
    """RET (RFC 3461 §4.3)."""
    if value is None or value.upper() not in ("FULL", "HDRS"):
        raise SyntaxProblem("RET is FULL or HDRS")


def checkEnvelopeId(session: SMTPSession, value: str | None) -> None:
    """ENVID (RFC 3461 §4.4)."""
    if value is None or len(value) > MAX_ENVID:
        raise SyntaxProblem(f"ENVID needs an xtext of at most {MAX_ENVID} characters")
    if not _PRINTABLE.match(decodeXtext(value)):
        raise SyntaxProblem("ENVID stands for what is not printable ASCII")


def checkNotify(session: SMTPSession, value: str | None) -> None:
    """NOTIFY (RFC 3461 §4.1)."""
    if value is None or not _NOTIFY.fullmatch(value):
        raise SyntaxProblem("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")


def checkOriginalRecipient(session: SMTPSession, value: str | None) -> None:
    """ORCPT (RFC 3461 §4.2; RFC 6533 §3 for addresses in UTF-8)."""
    kind, semicolon, address = (value or "").partition(";")
    if not semicolon or not _ATOM.fullmatch(kind) or len(value or "") > MAX_ORCPT:
        raise SyntaxProblem(f"ORCPT needs type;address of at most {MAX_ORCPT} characters")
    if kind.lower() == "utf-8" and _isUnitext(address):
        return
    # Deviation: RFC 6533 §3 has the type utf-8 for what isn't ASCII. Servers in wide use write the
    # octets of UTF-8 as an xtext of the type rfc822, and the mail must not be returned for that.
    try:
        original = decodeXtext(address).decode("utf-8")
    except UnicodeDecodeError:
        original = "\0"
    if not all(character.isprintable() or character == "\t" for character in original):
        raise SyntaxProblem("ORCPT stands for what is not printable")


def _isUnitext(text: str) -> bool:
    try:
        decodeUnitext(text)
    except SyntaxProblem:
        return False
    return True


def clientMail(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> Mapping[str, str | None]:
    """
    RFC 3461 §5.2.1 (a), (b): as they came; §5.2.2 (a): never to a server that doesn't offer it.
    """
    return {} if offered is None else _given(message.parameters, ("RET", "ENVID"))


def clientRcpt(
    session: SMTPClientSession,
    message: OutgoingMessage,
    recipient: Recipient,
    offered: str | None,
) -> Mapping[str, str | None]:
    """RFC 3461 §5.2.1 (c), (d), §5.2.2 (a)."""
    if offered is None:
        return {}
    given = _given(recipient.parameters, ("NOTIFY", "ORCPT"))
    original = given.get("ORCPT")
    if original is not None and not original.isascii() and "SMTPUTF8" not in message.parameters:
        # RFC 6533 §3: there "utf-8-addr-xtext MUST be used instead".
        kind, _, address = original.partition(";")
        original = f"{kind};{encodeUnitext(decodeUnitext(address), ascii=True)}"
        given["ORCPT"] = original
        if len(original) > MAX_ORCPT:
            # The server might refuse the recipient for it.
            del given["ORCPT"]
    return given


def _given(
    parameters: Mapping[str, str | None], keywords: tuple[str, ...]
) -> dict[str, str | None]:
    return {keyword: parameters[keyword] for keyword in keywords if keyword in parameters}


EXTENSION = Extension(
    "DSN",
    3461,
    available=available,
    mailParameters={"RET": checkReturn, "ENVID": checkEnvelopeId},
    rcptParameters={"NOTIFY": checkNotify, "ORCPT": checkOriginalRecipient},
    # RFC 3461 §5.4, with the spaces before the parameters
    mailOctets=len(" RET=FULL ENVID=") + MAX_ENVID,
    rcptOctets=len(" NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=") + MAX_ORCPT,
    clientMail=clientMail,
    clientRcpt=clientRcpt,
)
