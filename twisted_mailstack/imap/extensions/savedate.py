# -*- test-case-name: tests.imap.test_savedate -*-
"""SAVEDATE (RFC 8514): when a message came into its mailbox."""

from __future__ import annotations

from collections.abc import Callable

from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.fetch import FetchItem
from twisted_mailstack.imap.search import Columns, InView, Node, Parser, SearchKey
from twisted_mailstack.model.dates import dayOf, formatDateTime
from twisted_mailstack.model.records import Attribute


def _saved(compare: Callable[[int, int], bool]) -> SearchKey:
    def key(parser: Parser) -> Node:
        day = parser.date()
        # A save date is of the server alone, and shown in UTC.
        return Columns((Attribute.SAVE_DATE,), lambda seconds: compare(dayOf(seconds), day))

    return key


EXTENSION = Extension(
    b"SAVEDATE",
    8514,
    fetchItems={
        b"SAVEDATE": FetchItem(b"SAVEDATE", (Attribute.SAVE_DATE,), formatDateTime, b'"%b"')
    },
    searchKeys={
        b"SAVEDBEFORE": _saved(lambda day, given: day < given),
        b"SAVEDON": _saved(lambda day, given: day == given),
        b"SAVEDSINCE": _saved(lambda day, given: day >= given),
        # Every storage has it.
        b"SAVEDATESUPPORTED": lambda parser: InView(lambda view, at: True),
    },
)
