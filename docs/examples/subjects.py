"""
An IMAP extension of one's own, with one thing of each kind: a FETCH item, a SEARCH key, a STATUS
item and a command, all about base subjects (RFC 5256 §2.1: without Re: and Fwd:) and keywords.
"""

from __future__ import annotations

from twisted_mailstack.imap.encode import string
from twisted_mailstack.imap.extension import ONLY_SELECTED, Command, Extension
from twisted_mailstack.imap.fetch import FetchItem
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.search import Columns, Node, Parser
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.message import baseSubject
from twisted_mailstack.model.records import Attribute

#: A FETCH item names the columns it needs and renders its value from them.
BASE_SUBJECT = FetchItem(
    b"X-BASE-SUBJECT", (Attribute.BASE_SUBJECT,), lambda text: string(text.encode("utf-8"))
)


def sameSubject(parser: Parser) -> Node:
    """X-SAME-SUBJECT SP astring: messages with the base subject of this one."""
    wanted = baseSubject(parser.string())
    return Columns((Attribute.BASE_SUBJECT,), lambda text: text == wanted)


async def xkeywords(session: IMAPSession, cursor: Cursor) -> bytes:
    """XKEYWORDS: the keywords of the selected mailbox."""
    cursor.end()
    keywords = sorted(session.theSelected().view.keywords)
    session.stream.write(b"* XKEYWORDS (%b)\r\n" % " ".join(keywords).encode("ascii"))
    # The text of the tagged OK.
    return b"%d keywords" % len(keywords)


EXTENSION = Extension(
    b"XSUBJECTS",
    5256,
    commands=(Command(b"XKEYWORDS", ONLY_SELECTED, xkeywords),),
    fetchItems={b"X-BASE-SUBJECT": BASE_SUBJECT},
    searchKeys={b"X-SAME-SUBJECT": sameSubject},
    statusItems={b"X-KEYWORDS": lambda status: len(status.keywords)},
)
