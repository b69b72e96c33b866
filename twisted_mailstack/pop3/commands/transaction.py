# -*- test-case-name: tests.pop3.test_transaction -*-
"""
Commands after login: STAT, LIST, RETR, DELE, NOOP, RSET (RFC 1939 §5), TOP and UIDL (§7).
"""

from __future__ import annotations

from twisted_mailstack.errors import (
    ConnectionClosed,
    MailError,
    SessionEnded,
    SyntaxProblem,
)
from twisted_mailstack.pop3.encode import MultiLine
from twisted_mailstack.pop3.extension import Command, State
from twisted_mailstack.pop3.maildrop import Maildrop
from twisted_mailstack.pop3.session import POP3Session
from twisted_mailstack.pop3.surrogate import Text, textOf


def _maildrop(session: POP3Session) -> Maildrop:
    assert session.maildrop is not None
    return session.maildrop


async def stat(session: POP3Session) -> None:
    """RFC 1939 §5."""
    maildrop = _maildrop(session)
    session.ok(b"%d %d" % (maildrop.count, maildrop.size))


async def list_(session: POP3Session, message: bytes | None = None) -> None:
    """RFC 1939 §5."""
    # Deviation: RFC 6856 §2.1 wants the sizes of surrogates; to know them each message had to be
    # read. Those with bare LFs get longer, too, when they are sent.
    maildrop = _maildrop(session)
    if message is not None:
        number = maildrop.number(message)
        session.ok(b"%d %d" % (number, maildrop.octets[number - 1]))
        return
    session.ok(b"%d messages, %d octets" % (maildrop.count, maildrop.size))
    lines = [b"%d %d\r\n" % (n, maildrop.octets[n - 1]) for n in maildrop.numbers()]
    session.stream.write(b"".join(lines) + b".\r\n")


async def uidl(session: POP3Session, message: bytes | None = None) -> None:
    """RFC 1939 §7."""
    maildrop = _maildrop(session)
    if message is not None:
        number = maildrop.number(message)
        session.ok(b"%d %b" % (number, (await maildrop.uniqueIds())[number - 1]))
        return
    uniqueIds = await maildrop.uniqueIds()
    session.ok(b"unique-ids follow")
    lines = [b"%d %b\r\n" % (n, uniqueIds[n - 1]) for n in maildrop.numbers()]
    session.stream.write(b"".join(lines) + b".\r\n")


async def retr(session: POP3Session, message: bytes) -> None:
    """RFC 1939 §5."""
    maildrop = _maildrop(session)
    number = maildrop.number(message)
    text = await textOf(await maildrop.openMessage(number), session.utf8)
    await _send(session, text, b"%d octets" % text.size, None)
    maildrop.retrieved.add(number)
    session.retrieved += 1


async def top(session: POP3Session, message: bytes, lines: bytes) -> None:
    """RFC 1939 §7: the header, the blank line, and so many lines of the body."""
    maildrop = _maildrop(session)
    number = maildrop.number(message)
    if not lines.isdigit():
        raise SyntaxProblem("A number of lines is needed")
    content = await maildrop.openMessage(number)
    text = await textOf(content, session.utf8, onlyHeader=not int(lines))
    await _send(session, text, b"top of message follows", int(lines))


async def _send(session: POP3Session, content: Text, response: bytes, lines: int | None) -> None:
    # Sends all, or the header, which ends at bodyOffset, and so many lines behind it.
    stream = session.stream
    text = MultiLine()
    bodyOffset = content.bodyOffset
    end = bodyOffset if lines == 0 else content.size
    # If it can't be read at all there is an error to be told; that isn't possible later.
    data = await _read(content, 0, end)
    session.ok(response)
    try:
        offset = 0
        while offset < end:
            offset += len(data)
            if lines is not None and offset > bodyOffset:
                cut, lines = _lines(data, max(0, bodyOffset - offset + len(data)), lines)
                if lines == 0:
                    data, end = data[:cut], offset
            stream.write(text.feed(data))
            if offset < end:
                await stream.drain()
                data = await _read(content, offset, end)
    except (ConnectionClosed, SessionEnded):
        raise
    except Exception as error:
        # Half of the message is sent: only closing tells the client that the rest is missing.
        if not isinstance(error, MailError):
            session.log.failure("a message could not be sent to its end")
        stream.close()
        raise ConnectionClosed() from None
    stream.write(text.finish())


async def _read(content: Text, offset: int, end: int) -> bytes:
    if offset >= end:
        return b""
    return await content.read(offset, end)


def _lines(data: bytes, at: int, lines: int) -> tuple[int, int]:
    # Where so many lines from there on end, and how many are missing.
    while lines > 0 and (found := data.find(b"\n", at)) >= 0:
        at = found + 1
        lines -= 1
    return at, lines


async def dele(session: POP3Session, message: bytes) -> None:
    """RFC 1939 §5: marks; QUIT deletes."""
    maildrop = _maildrop(session)
    number = maildrop.number(message)
    maildrop.deleted.add(number)
    session.ok(b"message %d deleted" % number)


async def noop(session: POP3Session) -> None:
    """RFC 1939 §5."""
    session.ok()


async def rset(session: POP3Session) -> None:
    """RFC 1939 §5."""
    maildrop = _maildrop(session)
    maildrop.deleted.clear()
    session.ok(b"%d messages, %d octets" % (maildrop.count, maildrop.size))


_IN_TRANSACTION = (State.TRANSACTION,)

COMMANDS = (
    Command(b"STAT", _IN_TRANSACTION, stat),
    Command(b"LIST", _IN_TRANSACTION, list_, most=1),
    Command(b"UIDL", _IN_TRANSACTION, uidl, most=1),
    Command(b"RETR", _IN_TRANSACTION, retr, 1, 1),
    Command(b"TOP", _IN_TRANSACTION, top, 2, 2),
    Command(b"DELE", _IN_TRANSACTION, dele, 1, 1),
    Command(b"NOOP", _IN_TRANSACTION, noop),
    Command(b"RSET", _IN_TRANSACTION, rset),
)
