"""
A POP3 capability of one's own: XDIGEST, the SHA-256 of a message, by which a client can tell that
its copy is whole.

    C: XDIGEST 1
    S: +OK 1 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
"""

from __future__ import annotations

from hashlib import sha256

from twisted_mailstack.errors import MailError
from twisted_mailstack.pop3.extension import Command, Extension, State
from twisted_mailstack.pop3.session import POP3Session

#: Octets of a message held in memory.
WINDOW = 64 * 1024


def capability(session: POP3Session) -> bytes | None:
    """What CAPA says; C{None}: nothing, in this state."""
    return b"XDIGEST SHA-256" if session.state is State.TRANSACTION else None


async def xdigest(session: POP3Session, message: bytes) -> None:
    """XDIGEST SP message-number"""
    maildrop = session.maildrop
    if maildrop is None:
        raise MailError("Log in first")
    number = maildrop.number(message)
    content = await maildrop.openMessage(number)
    digest = sha256()
    offset = 0
    while offset < content.size:
        data = await content.read(offset, WINDOW)
        digest.update(data)
        offset += len(data)
        # Others have their turn between the pieces of a large message.
        await session.stream.breathe()
    session.ok(b"%d %b" % (number, digest.hexdigest().encode("ascii")))


EXTENSION = Extension(capability, 2449, (Command(b"XDIGEST", (State.TRANSACTION,), xdigest, 1, 1),))
