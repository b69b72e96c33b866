# -*- test-case-name: tests.smtp.test_mtpriority -*-
"""
MT-PRIORITY (RFC 6710): which messages go first. Everybody may put their own mail back; only who is
allowed to may put it before others'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.smtp.clientsession import OutgoingMessage, SMTPClientSession
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession, Transaction

#   priority-value = (["-"] NZDIGIT) / "0"
_VALUE = re.compile(r"-?[1-9]|0")


def available(session: SMTPSession) -> bool:
    """Where there is a queue that sorts by it."""
    return session.honours("MT-PRIORITY")


def check(session: SMTPSession, value: str | None) -> None:
    """RFC 6710 §4.1 1."""
    if value is None or not _VALUE.fullmatch(value):
        raise SyntaxProblem("MT-PRIORITY is -9 to 9", enhancedStatus="5.5.2")


def checkMail(
    session: SMTPSession, path: object, parameters: dict[str, str | None]
) -> tuple[str, str] | None:
    """
    RFC 6710 §4.1: "MUST NOT allow upgraded (positive) priorities from untrusted ... sources". They
    are lowered, and the reply says so.
    """
    asked = parameters.get("MT-PRIORITY")
    settings = session.settings
    if asked is None or session.isFrom(settings.priorityNetworks):
        return None
    allowed = settings.maxPriority if session.authenticated is not None else 0
    if int(asked) <= allowed:
        return None
    parameters["MT-PRIORITY"] = str(allowed)
    return "2.3.6", f"{allowed} is the new priority"


def trace(session: SMTPSession, transaction: Transaction) -> str | None:
    """RFC 6710 §4.1 2, §7: Pri = CFWS "PRIORITY" FWS priority-value."""
    priority = transaction.holding.get("MT-PRIORITY")
    return None if priority is None else f"PRIORITY {priority}"


def clientMail(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> Mapping[str, str | None]:
    """RFC 6710 §4.2, §4.3."""
    priority = message.parameters.get("MT-PRIORITY")
    return {} if priority is None or offered is None else {"MT-PRIORITY": priority}


EXTENSION = Extension(
    "MT-PRIORITY",
    6710,
    available=available,
    mailParameters={"MT-PRIORITY": check},
    checkMail=checkMail,
    trace=trace,
    # RFC 6710 §3 (6)
    mailOctets=15,
    clientMail=clientMail,
)
