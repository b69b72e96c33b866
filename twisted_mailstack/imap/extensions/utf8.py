# -*- test-case-name: tests.imap.test_utf8 -*-
"""
UTF8=ACCEPT (RFC 6855, RFC 9755): UTF-8 in quoted strings, mailbox names and messages' headers.

Messages whose headers have UTF-8 are shown as they are stored to everyone: in literals, where IMAP
has always allowed octets above 127. A client that knows nothing of UTF-8 sees what the message says
rather than a surrogate (RFC 6855 §7 leaves that to the server), and sizes, signatures and caches
hold for all clients alike.
"""

from __future__ import annotations

from twisted_mailstack.errors import MailError
from twisted_mailstack.imap.commands.append import MessageReader
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import IStagedContent

#: Octets of a header that are read at a time.
WINDOW = 64 * 1024


def utf8Literal(reader: MessageReader) -> None:
    """utf8-literal = "UTF8" SP "(" literal8 ")"   (RFC 6855 §4)"""
    reader.cursor.expect(b"(")
    reader.literal(binary=True)
    reader.cursor.expect(b")")


async def requireASCII(session: IMAPSession, content: IStagedContent) -> None:
    """
    RFC 6855 §4: "the server MUST reject, with a "NO" response, an "APPEND" command that includes
    any 8-bit character in message header fields", of a client that hasn't enabled UTF-8.
    """
    if session.enabled & {b"UTF8=ACCEPT", b"IMAP4REV2"}:
        return
    size = content.summary.headerSize
    for at in range(0, size, WINDOW):
        if not (await content.read(at, min(WINDOW, size - at))).isascii():
            raise MailError("Say ENABLE UTF8=ACCEPT before a message whose header isn't ASCII")


EXTENSION = Extension(
    b"UTF8=ACCEPT",
    6855,
    appendData={b"UTF8": utf8Literal},
    checkAppend=requireASCII,
    enables=(b"UTF8=ACCEPT",),
)
