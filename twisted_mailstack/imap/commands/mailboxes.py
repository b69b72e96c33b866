# -*- test-case-name: tests.imap.test_mailboxes -*-
"""
CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, LIST, LSUB, STATUS (RFC 9051 §6.3, RFC 3501 §6.3.9).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.imap.encode import mailbox
from twisted_mailstack.imap.extension import LOGGED_IN, Command
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.mailboxname import DELIMITER, compilePattern, parents
from twisted_mailstack.model.records import MailboxInfo, MailboxStatus

#: STATUS items of RFC 3501 §6.3.10.
STATUS_ITEMS: dict[bytes, Callable[[MailboxStatus], int]] = {
    b"MESSAGES": lambda status: status.messages,
    b"RECENT": lambda status: status.recent,
    b"UIDNEXT": lambda status: status.uidNext,
    b"UIDVALIDITY": lambda status: status.uidValidity,
    b"UNSEEN": lambda status: status.unseen,
}


async def create(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.3.4."""
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    await session.theAccount().createMailbox(name)


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
    name = cursor.mailbox()
    cursor.end()
    selected = await _isSelected(session, name)
    await session.theAccount().deleteMailbox(name)
    if selected:
        session.unselect()


async def rename(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.3.6."""
    cursor.space()
    old = cursor.mailbox()
    cursor.space()
    new = cursor.mailbox()
    cursor.end()
    await session.theAccount().renameMailbox(old, new)


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


def _pattern(cursor: Cursor) -> tuple[str, str]:
    reference = cursor.listMailbox()
    cursor.space()
    pattern = cursor.listMailbox()
    return reference, pattern


def _full(reference: str, pattern: str) -> str:
    # RFC 2683 §3.4.9: as "change directory" does, with one delimiter in between; a pattern that
    # begins at the root ignores the reference.
    if not reference or pattern.startswith(DELIMITER):
        return pattern
    return reference.removesuffix(DELIMITER) + DELIMITER + pattern


def _options(cursor: Cursor, known: Container[bytes]) -> list[bytes]:
    options: list[bytes] = []
    cursor.expect(b"(")
    while not cursor.skip(b")"):
        if options:
            cursor.space()
        option = cursor.atom().upper()
        if option not in known:
            raise SyntaxProblem("Unknown LIST option")
        options.append(option)
    return options


async def list_(session: IMAPSession, cursor: Cursor) -> None:
    """
    RFC 3501 §6.3.8, with the options that extensions bring::

        list = "LIST" [SP list-select-opts] SP mailbox SP list-mailbox [SP list-return-opts]
        list-select-opts = "(" [list-select-opt *(SP list-select-opt)] ")"
        list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")"
    """
    registry = session.registry
    cursor.space()
    selections: list[bytes] = []
    extended = cursor.peek() == b"("
    if extended:
        selections = _options(cursor, registry.listSelections)
        cursor.space()
    reference, pattern = _pattern(cursor)
    if cursor.skip(b" "):
        extended = True
        if not cursor.skipWord(b"RETURN"):
            raise SyntaxProblem("RETURN expected")
        cursor.space()
        _options(cursor, registry.listReturns)
    cursor.end()
    if not pattern:
        # A question for the delimiter and the root, but with options (RFC 5258 §3) for nothing.
        if not extended:
            session.stream.write(b'* LIST (\\Noselect) "/" ""\r\n')
        return
    matches = compilePattern(_full(reference, pattern))
    infos = [each for each in await session.theAccount().listMailboxes() if each.mailboxId]
    withChildren = {parent for info in infos for parent in parents(info.name)}
    lines = []
    for info in infos:
        if matches(info.name) and all(registry.listSelections[each](info) for each in selections):
            attributes = _attributes(session, info, info.name in withChildren)
            name = mailbox(info.name, cursor.utf8)
            lines.append(b'* LIST (%b) "/" %b\r\n' % (b" ".join(attributes), name))
    session.stream.write(b"".join(lines))


def _attributes(session: IMAPSession, info: MailboxInfo, hasChildren: bool) -> Sequence[bytes]:
    attributes = [] if info.selectable else [b"\\Noselect"]
    for more in session.registry.listAttributes:
        attributes += more(info, hasChildren)
    return attributes


async def lsub(session: IMAPSession, cursor: Cursor) -> None:
    r"""
    RFC 3501 §6.3.9: with C{%}, a name that isn't subscribed but has subscribed names below it is
    shown with C{\Noselect}.
    """
    cursor.space()
    reference, pattern = _pattern(cursor)
    cursor.end()
    if not pattern:
        session.stream.write(b'* LSUB (\\Noselect) "/" ""\r\n')
        return
    full = _full(reference, pattern)
    matches = compilePattern(full)
    infos = await session.theAccount().listMailboxes()
    subscribed = [info.name for info in infos if info.subscribed]
    shown = {name: b"" for name in subscribed if matches(name)}
    if full.endswith("%"):
        for name in subscribed:
            for parent in parents(name):
                if matches(parent):
                    shown.setdefault(parent, b"\\Noselect")
    for name in sorted(shown, key=lambda name: (name != "INBOX", name)):
        session.stream.write(b'* LSUB (%b) "/" %b\r\n' % (shown[name], mailbox(name, cursor.utf8)))


async def status(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.3.11."""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    cursor.expect(b"(")
    known = session.registry.statusItems
    items: list[bytes] = []
    while not cursor.skip(b")"):
        if items:
            cursor.space()
        item = cursor.atom().upper()
        if item not in known:
            raise SyntaxProblem("Unknown STATUS item")
        items.append(item)
    cursor.end()
    if not items:
        raise SyntaxProblem("A STATUS item is needed")
    found = await (await session.theAccount().openMailbox(name)).status()
    values = []
    for item in items:
        value = known[item](found)
        values.append(b"%b %b" % (item, value if isinstance(value, bytes) else b"%d" % value))
    session.stream.write(b"* STATUS %b (%b)\r\n" % (mailbox(name, cursor.utf8), b" ".join(values)))


COMMANDS = (
    Command(b"CREATE", LOGGED_IN, create),
    Command(b"DELETE", LOGGED_IN, delete),
    Command(b"RENAME", LOGGED_IN, rename),
    Command(b"SUBSCRIBE", LOGGED_IN, subscribe),
    Command(b"UNSUBSCRIBE", LOGGED_IN, unsubscribe),
    Command(b"LIST", LOGGED_IN, list_),
    Command(b"LSUB", LOGGED_IN, lsub),
    Command(b"STATUS", LOGGED_IN, status),
)
