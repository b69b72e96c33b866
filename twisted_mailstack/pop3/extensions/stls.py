# -*- test-case-name: tests.pop3.test_stls -*-
"""STLS (RFC 2595 §4)."""

from __future__ import annotations

from twisted_mailstack.errors import MailError
from twisted_mailstack.pop3.extension import Command, Extension, State
from twisted_mailstack.pop3.session import POP3Session


def _capability(session: POP3Session) -> bytes | None:
    # "present and permitted in the current state"
    usable = session.hasTLS and not session.stream.info.secure
    return b"STLS" if usable and session.state is State.AUTHORIZATION else None


async def stls(session: POP3Session) -> None:
    """RFC 2595 §4. Text behind the command is never run: the connection is dropped."""
    if session.stream.info.secure:
        raise MailError("TLS is active already")
    if not session.hasTLS:
        raise MailError("TLS is not available")
    if session.utf8:
        # RFC 6856 §2.1: "Clients MUST NOT issue the STLS command after issuing UTF8".
        raise MailError("Too late: UTF8 was said")
    session.ok(b"begin TLS")
    session.stream.startTLS()
    session.forget()


EXTENSION = Extension(_capability, 2595, (Command(b"STLS", (State.AUTHORIZATION,), stls),))
