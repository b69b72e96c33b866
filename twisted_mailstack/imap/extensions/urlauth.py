# -*- test-case-name: tests.imap.test_urlauth -*-
"""
URLAUTH (RFC 4467): URLs with which others may read a message, and URL-PARTIAL (RFC 5550 §2.7.1):
URLs of a part of a part. What a URL means is in L{twisted_mailstack.auth.urls}.

There where the server has an authority for URLs; the one mechanism is INTERNAL.
"""

from __future__ import annotations

from twisted_mailstack.auth.urls import URLAuthority, URLContent
from twisted_mailstack.errors import ConnectionClosed, MailError, SyntaxProblem
from twisted_mailstack.imap.encode import string
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.selected import Selected
from twisted_mailstack.imap.session import IMAPSession

#: URLs of one command.
MAX_URLS = 100


def capability(session: IMAPSession) -> bytes | None:
    """RFC 4467 §9."""
    return None if session.urls is None else b"URLAUTH"


def _authority(session: IMAPSession) -> URLAuthority:
    if session.urls is None:
        raise MailError("URLs can't be authorised here")
    return session.urls


def _mechanism(cursor: Cursor) -> None:
    #   mechanism = "INTERNAL" / 1*(ALPHA / DIGIT / "-" / ".")
    if cursor.atom().upper() != b"INTERNAL":
        raise MailError("INTERNAL is the only mechanism", imapCode="URLMECH INTERNAL")


def mechanisms(session: IMAPSession, selected: Selected) -> bytes:
    """RFC 4467 §8, for SELECT and EXAMINE: only one's own mailboxes have keys."""
    if session.urls is None or selected.rights is not None:
        return b""
    return b"* OK [URLMECH INTERNAL] Mechanisms for URLs\r\n"


async def generate(session: IMAPSession, cursor: Cursor) -> None:
    """genurlauth = "GENURLAUTH" 1*(SP url-rump SP mechanism)   (RFC 4467 §7)"""
    rumps: list[bytes] = []
    while not rumps or not cursor.atEnd:
        cursor.space()
        rumps.append(cursor.astring())
        cursor.space()
        _mechanism(cursor)
        if len(rumps) > MAX_URLS:
            raise MailError("Too many URLs", imapCode="LIMIT")
    authority = _authority(session)
    urls = [await authority.authorise(session.theAccount(), rump) for rump in rumps]
    session.stream.write(b"* GENURLAUTH %b\r\n" % b" ".join(map(string, urls)))


async def reset(session: IMAPSession, cursor: Cursor) -> bytes:
    """resetkey = "RESETKEY" [SP mailbox *(SP mechanism)]   (RFC 4467 §7)"""
    name = None
    if not cursor.atEnd:
        cursor.space()
        name = cursor.mailbox()
        while not cursor.atEnd:
            cursor.space()
            _mechanism(cursor)
    await _authority(session).reset(session.theAccount(), name)
    if name is None:
        return b"All keys removed"
    return b"[URLMECH INTERNAL] RESETKEY completed"


async def fetch(session: IMAPSession, cursor: Cursor) -> None:
    """
    urlfetch = "URLFETCH" 1*(SP url-full)
    urlfetch-resp = "*" SP "URLFETCH" 1*(SP url-full SP nstring)   (RFC 4467 §7)

    What can't be had is NIL, whatever the reason.
    """
    urls: list[bytes] = []
    while not urls or not cursor.atEnd:
        cursor.space()
        urls.append(cursor.astring())
        if len(urls) > MAX_URLS:
            raise MailError("Too many URLs", imapCode="LIMIT")
    authority = _authority(session)
    stream = session.stream
    for url in urls:
        try:
            content = await authority.open(url, session.theAccount().address)
        except SyntaxProblem:
            # It can't be repeated in each case, either.
            raise SyntaxProblem("Not a URL of a message") from None
        except MailError:
            stream.write(b"* URLFETCH %b NIL\r\n" % string(url))
        else:
            stream.write(b"* URLFETCH %b {%d}\r\n" % (string(url), content.size))
            await _send(session, content)
            stream.write(b"\r\n")


async def _send(session: IMAPSession, content: URLContent) -> None:
    stream = session.stream
    try:
        async for data in content.pieces():
            # No string has NULs (RFC 9051 §4.3.1).
            stream.write(data.replace(b"\0", b"\x80"))
            await stream.drain()
    except ConnectionClosed:
        raise
    except Exception:
        # Octets of a literal were promised: only closing says that they can't be had.
        session.log.failure("what a URL names can't be read to its end")
        stream.close()
        raise ConnectionClosed() from None


EXTENSION = Extension(
    capability,
    4467,
    (
        Command(b"GENURLAUTH", LOGGED_IN, generate),
        Command(b"RESETKEY", LOGGED_IN, reset),
        Command(b"URLFETCH", LOGGED_IN, fetch),
    ),
    selectResponse=mechanisms,
)
URL_PARTIAL = Extension(b"URL-PARTIAL", 5550)
