# -*- test-case-name: tests.pop3.test_transaction -*-
"""
Commands after login: STAT, LIST, RETR, DELE, NOOP, RSET (RFC 1939 §5), TOP and UIDL (§7).
"""

from __future__ import annotations

from twisted_mailstack.errors import ConnectionClosed, MailError, SyntaxProblem
from twisted_mailstack.interfaces import IMessageContent
from twisted_mailstack.pop3.extension import Command, State
from twisted_mailstack.pop3.maildrop import Maildrop
from twisted_mailstack.pop3.session import POP3Session
from twisted_mailstack.wire.dots import DotWriter

#: Octets of a message held in memory while it is sent.
WINDOW = 128 * 1024


def _maildrop(session: POP3Session) -> Maildrop:
    assert session.maildrop is not None
    return session.maildrop


async def stat(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §5."""
    maildrop = _maildrop(session)
    session.ok(b"%d %d" % (maildrop.count, maildrop.size))


async def list_(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §5."""
    maildrop = _maildrop(session)
    if argument:
        number = maildrop.number(argument)
        session.ok(b"%d %d" % (number, maildrop.octets[number - 1]))
        return
    session.ok(b"%d messages, %d octets" % (maildrop.count, maildrop.size))
    lines = [b"%d %d\r\n" % (n, maildrop.octets[n - 1]) for n in maildrop.numbers()]
    session.stream.write(b"".join(lines) + b".\r\n")


async def uidl(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §7."""
    maildrop = _maildrop(session)
    if argument:
        number = maildrop.number(argument)
        session.ok(b"%d %b" % (number, maildrop.uniqueId(number)))
        return
    session.ok(b"unique-ids follow")
    lines = [b"%d %b\r\n" % (n, maildrop.uniqueId(n)) for n in maildrop.numbers()]
    session.stream.write(b"".join(lines) + b".\r\n")


async def retr(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §5."""
    maildrop = _maildrop(session)
    number = maildrop.number(argument)
    content = await maildrop.openMessage(number)
    first = await content.read(0, WINDOW)
    session.ok(b"%d octets" % content.size)
    await _send(session, content, first, None)
    session.retrieved += 1


async def top(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §7: the header, the blank line, and so many lines of the body."""
    maildrop = _maildrop(session)
    message, _, lines = argument.partition(b" ")
    lines = lines.strip(b" ")
    number = maildrop.number(message)
    if not lines.isdigit() or len(lines) > 10:
        raise SyntaxProblem("A number of lines is needed")
    content = await maildrop.openMessage(number)
    first = await content.read(0, WINDOW)
    session.ok(b"top of message follows")
    await _send(session, content, first, int(lines))


async def _send(
    session: POP3Session, content: IMessageContent, first: bytes, lines: int | None
) -> None:
    # The header ends at bodyOffset; behind it so many lines are sent, or all.
    stream = session.stream
    dots = DotWriter()
    bodyOffset = content.structure.bodyOffset if lines is not None else 0
    offset = 0
    data = first
    try:
        while data:
            end = len(data)
            if lines is not None and offset + end >= bodyOffset:
                at = max(0, bodyOffset - offset)
                while lines > 0 and at < end:
                    at = data.find(b"\n", at) + 1 or end
                    if data[at - 1 : at] == b"\n":
                        lines -= 1
                if lines == 0:
                    data = data[:at]
            stream.write(dots.feed(data))
            offset += end
            if lines == 0 and offset >= bodyOffset:
                break
            await stream.drain()
            data = await content.read(offset, WINDOW) if offset < content.size else b""
    except MailError:
        # Half of the message is sent: only closing tells the client that the rest is missing.
        _maildrop(session).deleted.clear()
        stream.close()
        raise ConnectionClosed() from None
    stream.write(dots.finish())


async def dele(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §5: marks; QUIT deletes."""
    maildrop = _maildrop(session)
    number = maildrop.number(argument)
    maildrop.deleted.add(number)
    session.ok(b"message %d deleted" % number)


async def noop(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §5."""
    session.ok()


async def rset(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §5."""
    maildrop = _maildrop(session)
    maildrop.deleted.clear()
    session.ok(b"%d messages, %d octets" % (maildrop.count, maildrop.size))


_IN_TRANSACTION = (State.TRANSACTION,)

COMMANDS = (
    Command(b"STAT", _IN_TRANSACTION, stat),
    Command(b"LIST", _IN_TRANSACTION, list_),
    Command(b"UIDL", _IN_TRANSACTION, uidl),
    Command(b"RETR", _IN_TRANSACTION, retr),
    Command(b"TOP", _IN_TRANSACTION, top),
    Command(b"DELE", _IN_TRANSACTION, dele),
    Command(b"NOOP", _IN_TRANSACTION, noop),
    Command(b"RSET", _IN_TRANSACTION, rset),
)
