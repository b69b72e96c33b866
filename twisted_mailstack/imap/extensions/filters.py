# -*- test-case-name: tests.imap.test_filters -*-
"""
FILTERS (RFC 5466): searches that have names. They are metadata entries of the account (RFC 5464).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted_mailstack.errors import CannotDoThat, MailError, SyntaxProblem
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.search import Context, Node, Parser
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.view import View
from twisted_mailstack.interfaces import IMetadataAccount

#: Filters within filters; "at least 3 substitution passes" (§3.1).
MAX_CHAIN = 10

#: Where they are (§3.2). Shared ones are among the server's settings.
_PRIVATE = "/private/filters/values/"
_SHARED = "/shared/filters/values/"


class Filtered(Node):
    """
    What a filter says.

    @ivar node: once it was looked up.
    """

    # Whatever is in it, it is asked last.
    cost = 3
    node: Node

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        return await self.node.narrow(context, candidates)


def _undefined(name: str, why: str) -> MailError:
    return MailError(why, imapCode=f"UNDEFINED-FILTER {name}")


async def _lookUp(session: IMAPSession, name: str) -> bytes:
    """
    @raise MailError: if there is no such filter.
    """
    account: Any = session.theAccount()
    # Names of entries have no case (RFC 5464 §3.2).
    private, shared = _PRIVATE + name.lower(), _SHARED + name.lower()
    own: Mapping[str, bytes] = {}
    if IMetadataAccount.providedBy(account):
        own = await account.getMetadata("", [private])
    value = own.get(private, session.settings.serverEntries.get(shared))
    if value is None:
        raise _undefined(name, "No such filter")
    return value


def _filter(parser: Parser) -> Node:
    """RFC 5466 §3.1."""
    parser.cursor.space()
    name = parser.cursor.atom().decode("ascii")
    if "/" in name:
        raise SyntaxProblem("A filter's name has no /")
    if parser.charset != "utf-8":
        raise SyntaxProblem(
            "A search with filters is in UTF-8", imapCode="BADCHARSET (US-ASCII UTF-8)"
        )
    node = Filtered()
    chain = (*parser.chain, name.lower())

    async def prepare(session: IMAPSession, parser: Parser) -> None:
        if len(chain) > MAX_CHAIN or name.lower() in chain[:-1]:
            # "It MUST behave as if the specified filter doesn't exist".
            raise _undefined(name, "Filters that refer to one another")
        text = await _lookUp(session, name)
        cursor, parser.cursor = parser.cursor, Cursor(text)
        parser.chain = chain
        try:
            node.node = parser.keys()
        except SyntaxProblem:
            raise _undefined(name, "The filter is no search criterion") from None
        finally:
            parser.cursor = cursor
            parser.chain = ()

    parser.pending.append(prepare)
    return node


def _check(session: IMAPSession, mailboxName: str, entry: str, value: bytes) -> None:
    """
    "The server SHOULD verify that each search criterion stored in such a server entry is a full and
    correct search criterion" (§3.2). Filters that it refers to may come later.

    @raise CannotDoThat: if it isn't.
    """
    if mailboxName or not entry.startswith((_PRIVATE, _SHARED)):
        return
    try:
        Parser(Cursor(value), session.registry.searchKeys, View.empty(), "utf-8").keys()
    except MailError as error:
        raise CannotDoThat(f"The filter is no search criterion: {error.text}") from None


def _capability(session: IMAPSession) -> bytes | None:
    # "MUST either implement the METADATA-SERVER (or METADATA) extension …" (§3.2).
    if b"SETMETADATA" not in session.registry.known:
        return None
    return b"FILTERS" if IMetadataAccount.providedBy(session.account) else None


EXTENSION = Extension(_capability, 5466, searchKeys={b"FILTER": _filter}, checkMetadata=_check)
