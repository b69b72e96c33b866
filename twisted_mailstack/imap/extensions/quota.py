# -*- test-case-name: tests.imap.test_quota -*-
"""
QUOTA (RFC 9208) with the resources STORAGE, MESSAGE, MAILBOX and ANNOTATION-STORAGE, and QUOTASET
for administrators.

An account is one quota root, named by its address: all its mailboxes count for it, also what others
put there. Of the STATUS items that belong to it, DELETED is with those of IMAP4rev2.
"""

from __future__ import annotations

from typing import Any

from twisted_mailstack.errors import AccessDenied, CannotDoThat, MailError, SyntaxProblem
from twisted_mailstack.imap.encode import astring, mailbox
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import (
    IAnnotatedAccount,
    ILimitedAccount,
    IMailbox,
    ISharingAccount,
)
from twisted_mailstack.model.flags import DELETED
from twisted_mailstack.model.records import Attribute, Quota
from twisted_mailstack.model.sequence import NumberSet

#: Octets of a unit of STORAGE (RFC 9208 §5.1) and ANNOTATION-STORAGE (§5.4).
UNIT = 1024
#: Of a number64 (RFC 9051 §9).
MOST = 2**63 - 1
#: Messages asked for at a time.
SLICE = 1000

RESOURCES = (b"STORAGE", b"MESSAGE", b"MAILBOX", b"ANNOTATION-STORAGE")

#: What is used of a resource, and the limit.
Use = tuple[int, int | None]


def _root(cursor: Cursor) -> str:
    try:
        return cursor.astring().decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("Not UTF-8") from None


async def _quotaOf(session: IMAPSession, root: str) -> tuple[Quota, Use | None, Use | None]:
    account: Any = session.theAccount()
    found: tuple[Quota, Use | None, Use | None]
    if ISharingAccount.providedBy(account):
        found = await account.quotaOf(root)
        return found
    if root != str(account.address):
        raise MailError("No such quota root", imapCode="NONEXISTENT")
    mailboxes = await account.mailboxQuota() if ILimitedAccount.providedBy(account) else None
    noted = await account.annotationQuota() if IAnnotatedAccount.providedBy(account) else None
    found = await account.quota(), mailboxes, noted
    return found


def _units(name: bytes, used: int, limit: int | None) -> tuple[bytes, int, int | None]:
    # What is used is rounded up, what may be used down.
    return name, -(-used // UNIT), None if limit is None else limit // UNIT


def _limit(units: int | None) -> int | None:
    return None if units is None else min(units * UNIT, MOST)


async def _tellQuota(session: IMAPSession, root: str) -> None:
    quota, mailboxes, noted = await _quotaOf(session, root)
    resources: list[tuple[bytes, int, Any]] = [
        _units(b"STORAGE", quota.octets, quota.octetLimit),
        (b"MESSAGE", quota.messages, quota.messageLimit),
        (b"MAILBOX", *(mailboxes or (0, None))),
        _units(b"ANNOTATION-STORAGE", *(noted or (0, None))),
    ]
    # "Resources not named in the list are not limited in the quota root" (RFC 9208 §4.2.1).
    limited = [b"%b %d %d" % each for each in resources if each[2] is not None]
    session.stream.write(b"* QUOTA %b (%b)\r\n" % (astring(root.encode()), b" ".join(limited)))


async def getQuota(session: IMAPSession, cursor: Cursor) -> None:
    """getquota = "GETQUOTA" SP quota-root-name"""
    cursor.space()
    root = _root(cursor)
    cursor.end()
    await _tellQuota(session, root)


async def getQuotaRoot(session: IMAPSession, cursor: Cursor) -> None:
    """getquotaroot = "GETQUOTAROOT" SP mailbox. It needn't be there (RFC 9208 §4.1.2)."""
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    account: Any = session.theAccount()
    root = str(account.address)
    if ISharingAccount.providedBy(account):
        root = await account.quotaRoot(name)
    session.stream.write(
        b"* QUOTAROOT %b %b\r\n" % (mailbox(name, cursor.utf8), astring(root.encode()))
    )
    await _tellQuota(session, root)


async def setQuota(session: IMAPSession, cursor: Cursor) -> None:
    """
    RFC 9208 §4.1.3: a resource that isn't named is not limited any more::

        setquota = "SETQUOTA" SP quota-root-name SP setquota-list
        setquota-list = "(" [setquota-resource *(SP setquota-resource)] ")"
        setquota-resource = resource-name SP resource-limit
    """
    cursor.space()
    root = _root(cursor)
    cursor.space()
    cursor.expect(b"(")
    limits: dict[bytes, int] = {}
    unknown = False
    while not cursor.skip(b")"):
        if limits or unknown:
            cursor.space()
        name = cursor.atom().upper()
        cursor.space()
        limit = cursor.number()
        if limit > MOST or name in limits:
            raise SyntaxProblem("A limit is too large, or is given twice")
        if name in RESOURCES:
            limits[name] = limit
        else:
            unknown = True
    cursor.end()
    account: Any = session.theAccount()
    if not ISharingAccount.providedBy(account) or not account.administrator:
        raise AccessDenied()
    if unknown:
        raise CannotDoThat("That resource can't be limited")
    await account.setQuota(
        root,
        _limit(limits.get(b"STORAGE")),
        limits.get(b"MESSAGE"),
        limits.get(b"MAILBOX"),
        _limit(limits.get(b"ANNOTATION-STORAGE")),
    )
    await _tellQuota(session, root)


async def deletedStorage(session: IMAPSession, opened: IMailbox) -> int:
    """
    @return: the octets that EXPUNGE would free (RFC 9208 §4.1.4).
    """
    if not (await opened.status()).deleted:
        return 0
    changes = await opened.changesSince(0)
    deleted = [
        uid for uid, flags in zip(changes.uids, changes.flags, strict=True) if DELETED in flags
    ]
    octets = 0
    for uids in NumberSet.slices(deleted, SLICE):
        octets += sum(row[1] for row in await opened.fetch(uids, (Attribute.OCTETS,)))
    return octets


EXTENSION = Extension(
    b"QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE",
    9208,
    (
        Command(b"GETQUOTA", LOGGED_IN, getQuota),
        Command(b"GETQUOTAROOT", LOGGED_IN, getQuotaRoot),
        Command(b"SETQUOTA", LOGGED_IN, setQuota),
    ),
    statusQueries={b"DELETED-STORAGE": deletedStorage},
)

MAILBOX = Extension(
    lambda session: b"QUOTA=RES-MAILBOX" if ILimitedAccount.providedBy(session.account) else None,
    9208,
)

ANNOTATIONS = Extension(
    lambda session: (
        b"QUOTA=RES-ANNOTATION-STORAGE" if IAnnotatedAccount.providedBy(session.account) else None
    ),
    9208,
)


def _quotaSet(session: IMAPSession) -> bytes | None:
    account: Any = session.account
    return b"QUOTASET" if ISharingAccount.providedBy(account) and account.administrator else None


QUOTASET = Extension(_quotaSet, 9208)
