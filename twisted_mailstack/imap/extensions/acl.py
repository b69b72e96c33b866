# -*- test-case-name: tests.imap.test_acl -*-
"""
ACL with RIGHTS= (RFC 4314) and LIST-MYRIGHTS (RFC 8440): who may do what in a mailbox. What the
rights mean is enforced by the account (C{sharing}), for every command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.encode import astring, mailbox
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension, Listed, ListReturn
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import ISharingAccount
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.rights import (
    ALL_RIGHTS,
    NO_RIGHTS,
    ORDER,
    VIRTUAL,
    Rights,
    formatRights,
    parseRights,
)


def _text(cursor: Cursor) -> str:
    try:
        return cursor.astring().decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("Not UTF-8") from None


def _rights(rights: Rights) -> bytes:
    return astring(formatRights(rights).encode("ascii"))


def _account(session: IMAPSession) -> Any:
    account: Any = session.theAccount()
    if not ISharingAccount.providedBy(account):
        raise SyntaxProblem("There are no access control lists here")
    return account


async def getACL(session: IMAPSession, cursor: Cursor) -> None:
    """getacl = "GETACL" SP mailbox"""
    account = _account(session)
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    entries: Mapping[str, Rights] = await account.accessList(name)
    pairs = [b" %b %b" % (astring(who.encode()), _rights(each)) for who, each in entries.items()]
    session.stream.write(b"* ACL %b%b\r\n" % (mailbox(name, cursor.utf8), b"".join(pairs)))


async def setACL(session: IMAPSession, cursor: Cursor) -> None:
    """
    setacl = "SETACL" SP mailbox SP identifier SP mod-rights

    mod-rights is an astring: C{+} adds, C{-} removes, and without either they are replaced.
    """
    account = _account(session)
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    identifier = _text(cursor)
    cursor.space()
    modification = _text(cursor)
    cursor.end()
    operation = FlagOperation.REPLACE
    if modification[:1] in ("+", "-"):
        operation = FlagOperation.ADD if modification[0] == "+" else FlagOperation.REMOVE
        modification = modification[1:]
    await account.changeRights(name, identifier, operation, parseRights(modification))


async def deleteACL(session: IMAPSession, cursor: Cursor) -> None:
    """deleteacl = "DELETEACL" SP mailbox SP identifier"""
    account = _account(session)
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    identifier = _text(cursor)
    cursor.end()
    await account.changeRights(name, identifier, FlagOperation.REPLACE, NO_RIGHTS)


async def listRights(session: IMAPSession, cursor: Cursor) -> None:
    """
    listrights = "LISTRIGHTS" SP mailbox SP identifier

    No right is tied to another, so C{c} and C{d} stand by themselves (RFC 4314 §2.1.1).
    """
    account = _account(session)
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    identifier = _text(cursor)
    cursor.end()
    always, possible = await account.grantable(name, identifier)
    letters = [letter for letter in ORDER if letter in possible]
    letters += [letter for letter, members in VIRTUAL.items() if members & possible]
    session.stream.write(
        b"* LISTRIGHTS %b %b %b%b\r\n"
        % (
            mailbox(name, cursor.utf8),
            astring(identifier.encode()),
            _rights(always),
            b"".join(b" " + letter.encode("ascii") for letter in letters),
        )
    )


async def myRights(session: IMAPSession, cursor: Cursor) -> None:
    """myrights = "MYRIGHTS" SP mailbox"""
    account = _account(session)
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    session.stream.write(_myRights(name, await account.rights(name), cursor.utf8))


def _myRights(name: str, rights: Rights, utf8: bool) -> bytes:
    return b"* MYRIGHTS %b %b\r\n" % (mailbox(name, utf8), _rights(rights))


async def tellRights(session: IMAPSession, utf8: bool, listed: Sequence[Listed]) -> None:
    """RFC 8440 §3: of names that there are, and that were selected for their own sake."""
    account = _account(session)
    shared: Mapping[str, Rights] | None = None
    for each in listed:
        info = each.info
        if not each.selected or not info.selectable:
            continue
        rights: Rights | None = ALL_RIGHTS
        if info.name.startswith((account.othersPrefix, account.publicPrefix)):
            if shared is None:
                shared = await account.sharedRights()
            rights = shared.get(info.name)
            if rights is None and info.mailboxId in await _ownIds(account):
                # It was there before the name belonged to others.
                rights = ALL_RIGHTS
        if rights is not None:
            each.responses.append(_myRights(info.name, rights, utf8))


async def _ownIds(account: Any) -> set[str]:
    return {info.mailboxId for info in await account.own.listMailboxes()}


def _capability(name: bytes, session: IMAPSession) -> bytes | None:
    return name if ISharingAccount.providedBy(session.account) else None


EXTENSION = Extension(
    # RFC 4314 §2.2: those of RFC 2086 must not be among them.
    lambda session: _capability(b"ACL RIGHTS=kxten", session),
    4314,
    (
        Command(b"GETACL", LOGGED_IN, getACL),
        Command(b"SETACL", LOGGED_IN, setACL),
        Command(b"DELETEACL", LOGGED_IN, deleteACL),
        Command(b"LISTRIGHTS", LOGGED_IN, listRights),
        Command(b"MYRIGHTS", LOGGED_IN, myRights),
    ),
)

LIST = Extension(
    lambda session: _capability(b"LIST-MYRIGHTS", session),
    8440,
    listReturns={b"MYRIGHTS": ListReturn(lambda session, cursor: cursor.utf8, tellRights)},
)
