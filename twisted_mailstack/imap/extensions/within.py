# -*- test-case-name: tests.imap.test_within -*-
"""WITHIN (RFC 5032): messages of the last so many seconds, or from before them."""

from __future__ import annotations

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.search import ROWS, Context, Node, Parser
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import MAX_NUMBER


class Within(Node):
    """Decided by the internal date, and what time it is."""

    cost = 1

    def __init__(self, interval: int, older: bool) -> None:
        """
        @param interval: seconds.
        @param older: messages from before it; else those from within it.
        """
        self.interval = interval
        self.older = older

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        target = context.now - self.interval
        older = self.older
        rows = context.rows(candidates, (Attribute.INTERNAL_DATE,), ROWS)
        # A message of that very second is both (§2).
        return [at async for at, (_, date) in rows if (date <= target if older else date >= target)]


def _key(parser: Parser, older: bool) -> Node:
    interval = parser.number()
    if not 0 < interval <= MAX_NUMBER:
        raise SyntaxProblem("Number out of range")
    parser.fleeting = True
    return Within(interval, older)


EXTENSION = Extension(
    b"WITHIN",
    5032,
    searchKeys={
        b"OLDER": lambda parser: _key(parser, True),
        b"YOUNGER": lambda parser: _key(parser, False),
    },
)
