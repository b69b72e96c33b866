# -*- test-case-name: tests.imap.test_selection -*-
"""
SELECT, EXAMINE, CLOSE, CHECK (RFC 9051 §6.3.2, §6.3.3, §6.4.1; RFC 3501 §6.4.1).
"""

from __future__ import annotations

from typing import Any

from twisted_mailstack.errors import AccessDenied
from twisted_mailstack.imap.extension import (
    LOGGED_IN,
    ONLY_SELECTED,
    Command,
    State,
    readModifiers,
)
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.selected import Selected
from twisted_mailstack.imap.session import IMAPSession


async def select(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 3501 §6.3.1."""
    return await _select(session, cursor, False)


async def examine(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 3501 §6.3.2."""
    return await _select(session, cursor, True)


async def _select(session: IMAPSession, cursor: Cursor, readOnly: bool) -> bytes:
    cursor.space()
    name, given = cursor.mailboxGiven()
    values: dict[bytes, Any] = {}
    parameters = session.registry.selectParameters
    if cursor.skip(b" "):
        parsers = {each: parameter.parse for each, parameter in parameters.items()}
        values = readModifiers(session, cursor, parsers)
    cursor.end()
    # "The currently selected mailbox is automatically deselected before", and if this fails no
    # mailbox is selected.
    if session.selected is not None:
        session.unselect()
        # RFC 7162 §3.2.11: a boundary, whether the other mailbox can be opened or not.
        session.stream.write(b"* OK [CLOSED] Previous mailbox closed\r\n")
    mailbox = await session.theAccount().openMailbox(name)
    selected = await Selected.open(
        *(name, mailbox, readOnly, session.stream.wake, session.enabled),
        *(session.views, session.stream.breathe),
    )
    selected.given = given
    session.selected = selected
    session.state = State.SELECTED
    view = selected.view
    # A sequence number, which UIDONLY has none of; RFC 9051 has no such code.
    unseen = None if selected.uidOnly or selected.isRev2 else view.firstUnseen()
    session.stream.write(
        b"%b%b%b"
        b"* OK [UIDVALIDITY %d] UIDs valid\r\n* OK [UIDNEXT %d] Predicted next UID\r\n"
        % (
            selected.flagsResponse(),
            selected.existsResponses(),
            b"" if unseen is None else b"* OK [UNSEEN %d] First unseen\r\n" % unseen,
            selected.uidValidity,
            view.uidNext,
        )
    )
    for more in session.registry.selectResponses:
        session.stream.write(more(session, selected))
    try:
        for each, value in values.items():
            await parameters[each].opened(session, value)
    except BaseException:
        # "If this attempt fails, no mailbox is selected" (RFC 9051 §6.3.2).
        session.unselect()
        raise
    if readOnly:
        return b"[READ-ONLY] examined"
    return b"[READ-WRITE] selected" if selected.maySaveChanges else b"[READ-ONLY] selected"


async def close(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.4.1: expunges without a word, unless the mailbox is read-only."""
    cursor.end()
    selected = session.theSelected()
    if not selected.readOnly:
        try:
            await selected.expunge()
        except AccessDenied:
            # RFC 4314 §4: "the server MUST ignore the expunge request, close the mailbox, and
            # return the tagged OK response".
            pass
    session.unselect()


async def check(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 3501 §6.4.1: everything is on disk already."""
    cursor.end()


COMMANDS = (
    Command(b"SELECT", LOGGED_IN, select),
    Command(b"EXAMINE", LOGGED_IN, examine),
    Command(b"CLOSE", ONLY_SELECTED, close),
    Command(b"CHECK", ONLY_SELECTED, check),
)
