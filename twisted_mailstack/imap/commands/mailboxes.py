# -*- test-case-name: tests.imap.test_mailboxes -*-
"""
CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS (RFC 9051 §6.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.imap.commands.listing import listLine
from twisted_mailstack.imap.encode import mailbox
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Listed
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import IMailbox
from twisted_mailstack.model.mailboxname import DELIMITER, INBOX
from twisted_mailstack.model.records import MailboxInfo, MailboxStatus

#: STATUS items of RFC 3501 §6.3.10 and RFC 9051 §6.3.11.
STATUS_ITEMS: dict[bytes, Callable[[MailboxStatus], int]] = {
    b"MESSAGES": lambda status: status.messages,
    b"RECENT": lambda status: status.recent,
    b"UIDNEXT": lambda status: status.uidNext,
    b"UIDVALIDITY": lambda status: status.uidValidity,
    b"UNSEEN": lambda status: status.unseen,
    b"DELETED": lambda status: status.deleted,
}


def _tellRenamed(session: IMAPSession, given: str, listed: Listed) -> None:
    """
    Tell the client, if it speaks IMAP4rev2, that a name it gave is another when normalised
    (RFC 9051 §6.3.9.7).

    @param given: by the client.
    @param listed: the name that counts.
    """
    given = given.removesuffix(DELIMITER)
    if b"IMAP4REV2" in session.enabled and given != listed.info.name:
        listed.items.append(b'"OLDNAME" (%b)' % mailbox(given, True))
        session.stream.write(listLine(listed, True))


async def _tellName(session: IMAPSession, given: str, name: str) -> None:
    if b"IMAP4REV2" in session.enabled and given.removesuffix(DELIMITER) != name:
        for info in await session.theAccount().listMailboxes():
            if info.name == name:
                attributes = [] if info.selectable else [b"\\Noselect"]
                _tellRenamed(session, given, Listed(info, True, attributes))


async def create(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """
    RFC 9051 §6.3.4, with the parameters that extensions bring (RFC 4466 §2.2)::

        create = "CREATE" SP mailbox [create-params]
        create-params = SP "(" create-param *(SP create-param) ")"
    """
    registry = session.registry
    cursor.space()
    name, given = cursor.mailboxGiven()
    arguments: dict[str, Any] = {}
    if not cursor.atEnd:
        cursor.space()
        cursor.expect(b"(")
        seen: set[bytes] = set()
        while not cursor.skip(b")") or not seen:
            if seen:
                cursor.space()
            parameter = cursor.atom().upper()
            read = registry.createParameters.get(parameter)
            # "It is an error to specify any of the parameters more than once".
            if read is None or parameter in seen:
                raise SyntaxProblem("Unknown or repeated CREATE parameter")
            seen.add(parameter)
            arguments.update(read(cursor))
        cursor.end()
    info = await session.theAccount().createMailbox(name, **arguments)
    await _tellName(session, given, name)
    codes = [code(info) for code in registry.createCodes]
    return b"[%b] CREATE completed" % codes[0] if codes else None


async def _isSelected(session: IMAPSession, name: str) -> bool:
    # By its id: another session may have renamed it, and another mailbox may have its name.
    if session.selected is None:
        return False
    try:
        mailbox = await session.theAccount().openMailbox(name)
    except MailError:
        return False
    return mailbox.mailboxId == session.selected.mailbox.mailboxId


async def delete(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.3.5. Deleting the selected mailbox unselects it."""
    cursor.space()
    name, given = cursor.mailboxGiven()
    cursor.end()
    selected = await _isSelected(session, name)
    await session.theAccount().deleteMailbox(name)
    if selected:
        session.unselect()
    gone = MailboxInfo(name, "", False, False)
    _tellRenamed(session, given, Listed(gone, True, [b"\\NonExistent"]))


def _isWithin(name: str, above: str) -> bool:
    return name == above or name.startswith(above + DELIMITER)


async def rename(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.3.6."""
    cursor.space()
    old, givenOld = cursor.mailboxGiven()
    cursor.space()
    new, givenNew = cursor.mailboxGiven()
    cursor.end()
    await session.theAccount().renameMailbox(old, new)
    selected = session.selected
    if selected is not None and old != INBOX and _isWithin(selected.name, old):
        selected.name = new + selected.name[len(old) :]
    # "If the normalized version of any of these 2 parameters differs": the old one is told.
    if givenNew.removesuffix(DELIMITER) != new or givenOld.removesuffix(DELIMITER) != old:
        await _tellName(session, givenOld, new)


async def subscribe(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.3.7."""
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    await session.theAccount().setSubscribed(name, True)


async def unsubscribe(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.3.8."""
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    await session.theAccount().setSubscribed(name, False)


def parseStatusItems(session: IMAPSession, cursor: Cursor) -> list[bytes]:
    """
    "(" status-att *(SP status-att) ")"

    @return: their names.
    """
    registry = session.registry
    cursor.expect(b"(")
    items: list[bytes] = []
    while not cursor.skip(b")"):
        if items:
            cursor.space()
        item = cursor.atom().upper()
        if item not in registry.statusItems and item not in registry.statusQueries:
            raise SyntaxProblem("Unknown STATUS item")
        items.append(item)
    if not items:
        raise SyntaxProblem("A STATUS item is needed")
    # An item that is asked for a thousand times is told once.
    return list(dict.fromkeys(items))


async def statusResponse(
    session: IMAPSession,
    name: bytes,
    items: Sequence[bytes],
    opened: IMailbox | None,
    found: MailboxStatus | None = None,
) -> bytes:
    """
    @param name: as it is told.
    @param opened: the mailbox; needed if C{found} isn't there, or for an item of C{statusQueries}.
    @param found: its numbers, if they are known.
    @return: the STATUS response.
    @raise MailError: if an item can't be found out.
    """
    known, queries = session.registry.statusItems, session.registry.statusQueries
    values = []
    for item in items:
        if item in session.registry.statusEnables:
            session.enable(session.registry.statusEnables[item])
        if item in known:
            if found is None:
                assert opened is not None
                found = await opened.status()
            value = known[item](found)
        else:
            assert opened is not None
            value = await queries[item](session, opened)
        values.append(b"%b %b" % (item, value if isinstance(value, bytes) else b"%d" % value))
    return b"* STATUS %b (%b)\r\n" % (name, b" ".join(values))


async def status(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.3.11."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    items = parseStatusItems(session, cursor)
    cursor.end()
    opened = await session.theAccount().openMailbox(name)
    session.stream.write(await statusResponse(session, mailbox(name, cursor.utf8), items, opened))


COMMANDS = (
    Command(b"CREATE", LOGGED_IN, create),
    Command(b"DELETE", LOGGED_IN, delete),
    Command(b"RENAME", LOGGED_IN, rename),
    Command(b"SUBSCRIBE", LOGGED_IN, subscribe),
    Command(b"UNSUBSCRIBE", LOGGED_IN, unsubscribe),
    Command(b"STATUS", LOGGED_IN, status),
)
