# -*- test-case-name: tests.imap.test_messagelimit -*-
"""
MESSAGELIMIT (RFC 9738), where it is configured: how many messages one command may be about. FETCH,
STORE and UID EXPUNGE do as many as that, the newest, and say which was the oldest of them; COPY,
MOVE and APPEND, which do all or nothing, refuse. SEARCH isn't limited; it has two keys for those
who go on from such a UID.
"""

from __future__ import annotations

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.search import InView, Node, Parser
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.sequence import MAX_NUMBER


def capability(session: IMAPSession) -> bytes | None:
    """RFC 9738 §3: capability =/ "MESSAGELIMIT=" message-limit"""
    limit = session.settings.maxMessages
    return b"MESSAGELIMIT=%d" % limit if limit else None


def _uid(parser: Parser) -> int:
    #   search-key =/ ("UIDAFTER" / "UIDBEFORE") SP uniqueid   (RFC 9738 §3.2)
    uid = parser.number()
    if not 0 < uid <= MAX_NUMBER:
        raise SyntaxProblem("UID out of range")
    return uid


def _after(parser: Parser) -> Node:
    uid = _uid(parser)
    return InView(lambda view, at: view.uids[at] > uid)


def _before(parser: Parser) -> Node:
    uid = _uid(parser)
    return InView(lambda view, at: view.uids[at] < uid)


EXTENSION = Extension(capability, 9738, searchKeys={b"UIDAFTER": _after, b"UIDBEFORE": _before})
