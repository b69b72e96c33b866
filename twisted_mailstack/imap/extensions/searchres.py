# -*- test-case-name: tests.imap.test_searchres -*-
"""SEARCHRES (RFC 5182): C{$} stands for what the last search with SAVE found."""

from __future__ import annotations

from array import array

from twisted_mailstack.imap.extension import Extension, SearchReturn
from twisted_mailstack.imap.results import Results, collectUIDs
from twisted_mailstack.imap.session import IMAPSession


async def _save(results: Results) -> None:
    view = results.context.view
    view.saved = await collectUIDs(results.context, results.told())


def _failed(session: IMAPSession) -> None:
    # "A SEARCH command with the SAVE result option that caused the server to return the NO tagged
    # response sets the value of the search result variable to the empty sequence" (§2.1).
    session.theSelected().view.saved = array("I")


EXTENSION = Extension(
    b"SEARCHRES",
    5182,
    searchReturns={
        b"SAVE": SearchReturn(
            silent=True, ofSelected=True, alone=True, conclude=_save, failed=_failed
        )
    },
)
