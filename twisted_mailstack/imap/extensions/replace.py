# -*- test-case-name: tests.imap.test_replace -*-
"""
REPLACE (RFC 8508): a message in the place of another. One step where the storage can
(L{IReplacingMailbox}); else the new one is appended and then the old one expunged, and both have to
fit for a moment.
"""

from __future__ import annotations

from typing import Any

from twisted_mailstack.errors import (
    AccessDenied,
    CannotDoThat,
    MessageExpunged,
    NoSuchMailbox,
    SyntaxProblem,
)
from twisted_mailstack.imap.commands.append import (
    MessageLiteral,
    MessageReader,
    OrdinaryLiteral,
    Staged,
    annotationsFor,
    openDestination,
    requireKeywords,
    sinkFor,
    staged,
)
from twisted_mailstack.imap.extension import ONLY_SELECTED, Command, Extension, LiteralSink
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import (
    IAnnotatedMailbox,
    IContentWriter,
    IMailbox,
    IReplacingMailbox,
    IRestrictedMailbox,
)
from twisted_mailstack.model.records import AppendResult, Attribute
from twisted_mailstack.model.sequence import NumberSet, SequenceSet


def _uid(session: IMAPSession, cursor: Cursor, byUID: bool) -> int:
    """
    @return: the UID of the message that is to be replaced.
    @raise MessageExpunged: if it is gone.
    """
    #   replace = "REPLACE" SP seq-number SP mailbox append-message
    #   seq-number = nz-number / "*"
    cursor.space()
    number = b"*" if cursor.skip(b"*") else b"%d" % cursor.number()
    indexes = session.theSelected().view.resolve(SequenceSet.parse(number), byUID)
    if not indexes:
        raise MessageExpunged("There is no such message")
    return session.theSelected().view.uids[next(iter(indexes))]


async def _octets(mailbox: IMailbox, uid: int) -> int:
    rows = await mailbox.fetch(NumberSet.of([uid]), (Attribute.OCTETS,))
    if not rows:
        raise MessageExpunged("There is no such message")
    octets: int = rows[0][1]
    return octets


async def _requireRemovable(session: IMAPSession) -> None:
    # "the union of the ACL rights required for UID STORE and UID EXPUNGE in the current mailbox,
    # and APPEND in the target mailbox" (§4.1); what can't be removed isn't added to, either.
    selected = session.theSelected()
    selected.requireWritable()
    if IRestrictedMailbox.providedBy(selected.mailbox):
        restricted: Any = selected.mailbox
        if not await restricted.rights() >= {"t", "e"}:
            raise AccessDenied()


def _sink(byUID: bool) -> LiteralSink:
    async def literalSink(session: IMAPSession, cursor: Cursor, size: int) -> IContentWriter | None:
        selected = session.theSelected()
        uid = _uid(session, cursor, byUID)
        reader = MessageReader(session, cursor, True)
        name = ""
        try:
            name = reader.mailbox()
            reader.one()
        except OrdinaryLiteral as ordinary:
            ordinary.check(size)
            return None
        except MessageLiteral as found:
            await _requireRemovable(session)
            # "only the net quota consumption is considered" (§3.4).
            freed = 0
            if IReplacingMailbox.providedBy(selected.mailbox):
                freed = await _octets(selected.mailbox, uid)
            return await sinkFor(session, reader, found, name, size, freed)
        raise SyntaxProblem("Unexpected literal")

    return literalSink


async def _replace(session: IMAPSession, cursor: Cursor, byUID: bool) -> None:
    selected = session.theSelected()
    uid = _uid(session, cursor, byUID)
    reader = MessageReader(session, cursor, False)
    name = reader.mailbox()
    reader.one()
    cursor.end()
    await _requireRemovable(session)
    destination = await openDestination(session, name)
    await requireKeywords(destination, reader.messages)
    annotations = annotationsFor(destination, reader.messages)
    async with staged(session, reader.messages) as messages:
        try:
            result = await _inPlace(*(selected.mailbox, uid, destination, messages[0]), annotations)
        except NoSuchMailbox:
            raise NoSuchMailbox(imapCode="TRYCREATE") from None
    # Before EXPUNGE (§4.3).
    session.stream.write(
        b"* OK [APPENDUID %d %d] Replacement ready\r\n" % (result.uidValidity, result.uids[0])
    )


async def _inPlace(
    mailbox: IMailbox, uid: int, destination: Any, message: Staged, annotations: tuple[Any, ...]
) -> AppendResult:
    mayAnnotate = not annotations or IAnnotatedMailbox.providedBy(mailbox)
    if IReplacingMailbox.providedBy(mailbox) and mayAnnotate:
        # zope's provider is the proof that mypy can't see.
        source: Any = mailbox
        try:
            done: AppendResult = await source.replaceMessage(
                uid, destination, message, *annotations
            )
        except CannotDoThat:
            # The destination may be somebody else's, who has it in a store of his own.
            pass
        else:
            return done
    await _octets(mailbox, uid)
    result: AppendResult = await destination.append([message], *annotations)
    await mailbox.expunge(NumberSet.of([uid]), False)
    return result


async def replace(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 8508 §3.2."""
    await _replace(session, cursor, False)


async def uidReplace(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 8508 §3.3."""
    await _replace(session, cursor, True)


EXTENSION = Extension(
    b"REPLACE",
    8508,
    (
        Command(
            b"REPLACE",
            ONLY_SELECTED,
            replace,
            usesSequenceNumbers=True,
            literalSink=_sink(False),
        ),
        Command(b"UID REPLACE", ONLY_SELECTED, uidReplace, literalSink=_sink(True)),
    ),
)
