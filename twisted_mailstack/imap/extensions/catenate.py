# -*- test-case-name: tests.imap.test_catenate -*-
"""
CATENATE (RFC 4469): new messages put together on the server, from what the client sends and from
what is in its mailboxes already.

URLs are those of messages in the account's own mailboxes, relative to the server or to the selected
mailbox; others are refused (§3).
"""

from __future__ import annotations

from twisted_mailstack.auth.urls import openIn, openURL
from twisted_mailstack.errors import MailError, MessageTooLarge, StoreDamaged, SyntaxProblem
from twisted_mailstack.imap.commands.append import MessageReader, MessageWriter
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.imapurl import parseURL

#: Parts of one message.
MAX_PARTS = 1000


class URLPiece:
    """
    A part that is stored already.
    """

    def __init__(self, url: bytes) -> None:
        self.url = url

    async def writeTo(self, session: IMAPSession, writer: MessageWriter) -> None:
        """
        See L{Piece<twisted_mailstack.imap.commands.append.Piece>}.

        @raise MailError: BADURL (§4.1).
        """
        try:
            url = parseURL(self.url)
            if url.host or url.authorisation is not None:
                raise MailError("Only URLs relative to this server are taken")
            if url.mailbox:
                content = await openURL(session.theAccount(), url)
            elif session.selected is not None:
                content = await openIn(session.selected.mailbox, url)
            else:
                raise MailError("The URL names no mailbox, and none is selected")
        except StoreDamaged:
            raise
        except MailError as error:
            raise _badURL(self.url, error) from None
        writer.requireRoomFor(content.size)
        try:
            async for data in content.pieces():
                waiting = writer.copy(data)
                if waiting is not None:
                    await waiting
        except (StoreDamaged, MessageTooLarge):
            raise
        except MailError as error:
            # Expunged while it was read.
            raise _badURL(self.url, error) from None


def _badURL(url: bytes, error: MailError) -> MailError:
    #   url-resp-text = 1*(%x01-09 / %x0B-0C / %x0E-5B / %x5D-FE)   "Any TEXT-CHAR except "]""
    shown = url[:500].decode("latin-1").replace("]", "%5D")
    return MailError(error.text, imapCode=f"BADURL {shown}")


def catenate(reader: MessageReader) -> None:
    """
    append-data =/ "CATENATE" SP "(" cat-part *(SP cat-part) ")"
    cat-part = text-literal / url / utf8-literal   (RFC 4469 §5, RFC 6855 §4)
    """
    cursor = reader.cursor
    cursor.expect(b"(")
    pieces = 0
    while not pieces or not cursor.skip(b")"):
        if pieces:
            cursor.space()
        pieces += 1
        if pieces > MAX_PARTS:
            raise MailError("Too many parts", imapCode="LIMIT")
        name = cursor.atom().upper()
        cursor.space()
        if name == b"TEXT":
            reader.literal(mayBeEmpty=True)
        elif name == b"URL":
            reader.add(URLPiece(reader.astring()))
        elif name == b"UTF8" and name in reader.session.registry.appendData:
            reader.session.registry.appendData[name](reader)
        else:
            raise SyntaxProblem("TEXT or URL expected")


EXTENSION = Extension(b"CATENATE", 4469, appendData={b"CATENATE": catenate})
