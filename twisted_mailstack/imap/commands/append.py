# -*- test-case-name: tests.imap.test_append -*-
"""
APPEND (RFC 9051 §6.3.12) of one message or several (MULTIAPPEND, RFC 3502), with APPENDUID
(RFC 4315 §3).

A message is put together from pieces: one literal, or what an extension's form of it names
(C{appendData} of L{Extension<twisted_mailstack.imap.extension.Extension>}; RFC 4466 §2.3). Literals
go straight to the store as they come, and other pieces are written between them, so that nothing of
a message is held. What is bound to fail is refused before the client sends it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import time
from typing import Any, NamedTuple, Protocol

from zope.interface import implementer

from twisted_mailstack.errors import (
    CannotDoThat,
    MailboxNotSelectable,
    MailError,
    MessageTooLarge,
    NoSuchMailbox,
    OverQuota,
    SyntaxProblem,
)
from twisted_mailstack.imap.extension import LOGGED_IN, Command
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import (
    IAnnotatedMailbox,
    IContentWriter,
    IMailbox,
    IRestrictedMailbox,
    ISharingAccount,
    IStagedContent,
)
from twisted_mailstack.model.flags import NO_FLAGS, Flags, KeywordSpelling
from twisted_mailstack.model.records import SMALL_MESSAGE, AnnotationKey, AppendResult, Quota
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.sharing.mailbox import INSERT
from twisted_mailstack.wire.binary import BinaryEncoder

#: Keywords that one mailbox may have: clients make them, and everyone is told all of them.
MAX_KEYWORDS = 1000
#: Messages of one command, and octets of those of them that a store may hold in memory.
MAX_MESSAGES = 1000
MAX_HELD = 16 * 1024 * 1024
#: Octets that are read again at a time.
WINDOW = 64 * 1024


def requireRoom(known: Sequence[str], new: Sequence[str]) -> None:
    """
    @param known: the mailbox's keywords.
    @param new: those that it is to get.
    @raise MailError: LIMIT (RFC 5530), if these are too many.
    """
    if new and len(known) + len(new) > MAX_KEYWORDS:
        raise MailError("The mailbox has too many keywords", imapCode="LIMIT")


async def openDestination(session: IMAPSession, name: str) -> IMailbox:
    """
    The mailbox to which APPEND, COPY or MOVE puts something.

    @raise NoSuchMailbox: with TRYCREATE: it could be created (RFC 9051 §7.1). Likewise
        L{MailboxNotSelectable}: CREATE makes a mailbox of a name that only held children.
    """
    account: Any = session.theAccount()
    try:
        mailbox: IMailbox = await account.openMailbox(name)
    except (NoSuchMailbox, MailboxNotSelectable) as error:
        if ISharingAccount.providedBy(account) and not await account.mayCreate(name):
            raise
        raise type(error)(imapCode="TRYCREATE") from None
    if IRestrictedMailbox.providedBy(mailbox):
        restricted: Any = mailbox
        await restricted.require(INSERT)
    return mailbox


class Piece(Protocol):
    """
    A part of a new message that doesn't come as a literal.
    """

    async def writeTo(self, session: IMAPSession, writer: MessageWriter) -> None:
        """
        Write its octets.

        @raise MailError: if there are none, or too many.
        """


class ReadSoFar(NamedTuple):
    """
    The beginning of a command, which needn't be read again at each of its literals: there may be
    thousands.

    @ivar name: of the destination.
    @ivar messages: that are whole.
    @ivar at: where the next one begins.
    @ivar contents: literals before it.
    """

    name: str
    messages: tuple[NewMessage, ...]
    at: int
    contents: int


@implementer(IContentWriter)
class MessageWriter:
    """
    Writes one new message.

    @ivar pieces: of its message that are in it, or on their way.
    @ivar hasNUL: whether a literal8 brought any.
    @ivar before: what was read of the command before its message; C{None}: that isn't known.
    """

    def __init__(self, inner: IContentWriter, limit: int) -> None:
        """
        @param limit: octets that it may have.
        """
        self._inner = inner
        self._limit = limit
        self._staged: IStagedContent | None = None
        self.pieces = 0
        self.hasNUL = False
        self.before: ReadSoFar | None = None

    @property
    def size(self) -> int:
        """Octets written so far."""
        return self._inner.size

    def requireRoomFor(self, octets: int) -> None:
        """
        @raise MessageTooLarge: if so many more are too many.
        """
        if self.size + octets > self._limit:
            raise MessageTooLarge()

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See L{IContentWriter}."""
        self.hasNUL = self.hasNUL or b"\0" in data
        return self.copy(data)

    def copy(self, data: bytes) -> Awaitable[None] | None:
        """
        Write octets that are stored already and are to stay as they are.
        """
        self.requireRoomFor(len(data))
        return self._inner.write(data)

    async def finish(self) -> IStagedContent:
        """See L{IContentWriter}."""
        staged, self._staged = self._staged, None
        return staged or await self._inner.finish()

    async def prepare(self) -> None:
        """
        All is written: do what C{finish} does, before it is called.
        """
        self._staged = await self._inner.finish()

    def abort(self) -> None:
        """See L{IContentWriter}."""
        self._inner.abort()
        if self._staged is not None:
            self._staged.discard()


class NewMessage:
    """
    A message as the command describes it.

    @ivar flags: its flags.
    @ivar date: its internal date and that one's zone.
    @ivar pieces: what it is made of; a L{MessageWriter} stands for a literal that it has taken.
    @ivar annotations: its annotations (RFC 5257).
    @ivar checks: each is given it whole before it is appended, and raises to refuse it.
    """

    def __init__(self) -> None:
        self.flags = NO_FLAGS
        self.date = int(time()), 0
        self.pieces: list[Piece | MessageWriter] = []
        self.annotations: dict[AnnotationKey, bytes] = {}
        self.checks: list[Callable[[IStagedContent], None]] = []

    @property
    def writer(self) -> MessageWriter | None:
        """That of its literals, if there was one."""
        return next((each for each in self.pieces if isinstance(each, MessageWriter)), None)

    async def writePieces(self, session: IMAPSession, writer: MessageWriter) -> None:
        """
        Write the pieces that are not yet in the writer; none of them is a literal.
        """
        for piece in self.pieces[writer.pieces :]:
            assert not isinstance(piece, MessageWriter)
            writer.pieces += 1
            await piece.writeTo(session, writer)


class OrdinaryLiteral(Exception):
    """
    The command goes on with a literal that is an argument like others.

    @ivar check: given its size, raises to refuse it before it is sent.
    """

    def __init__(self, check: Callable[[int], None]) -> None:
        self.check = check
        super().__init__(check)


def _anySize(size: int) -> None:
    # The framer has its own limit.
    return None


class MessageLiteral(Exception):
    """
    The command goes on with a literal that is a piece of the last message.

    @ivar mayBeEmpty: whether it may have no octets.
    """

    def __init__(self, mayBeEmpty: bool) -> None:
        self.mayBeEmpty = mayBeEmpty
        super().__init__(mayBeEmpty)


class MessageReader:
    """
    Reads what follows the mailbox's name (RFC 4466 §6)::

        append          = "APPEND" SP mailbox 1*append-message
        append-message  = append-opts SP append-data
        append-opts     = [SP flag-list] [SP date-time] *(SP append-ext)
        append-data     = literal / literal8 / append-data-ext

    @ivar session: whose command it is.
    @ivar cursor: where it is.
    @ivar messages: read so far.
    @ivar lastBegan: where the last of them begins, and how many literals are before it.
    """

    def __init__(self, session: IMAPSession, cursor: Cursor, partial: bool) -> None:
        """
        @param partial: the cursor is over a command up to one of its literals: that is told by
            L{OrdinaryLiteral} or L{MessageLiteral}.
        """
        self.session = session
        self.cursor = cursor
        self.messages: list[NewMessage] = []
        self.lastBegan = 0, 0
        self._partial = partial

    def mailbox(self) -> str:
        """SP mailbox"""
        self.cursor.space()
        self.mayBeLiteral()
        return self.cursor.mailbox()

    def astring(self) -> bytes:
        """astring"""
        self.mayBeLiteral()
        return self.cursor.astring()

    def mayBeLiteral(self, check: Callable[[int], None] = _anySize) -> None:
        """
        A string comes next.

        @param check: given the size of a literal, raises to refuse it.
        @raise OrdinaryLiteral: if the command goes on with a literal here.
        """
        if self._partial and self.cursor.atEnd:
            raise OrdinaryLiteral(check)

    def literal(self, binary: bool = False, mayBeEmpty: bool = False) -> None:
        """
        literal, or with C{binary} literal8: the next piece of the message.
        """
        if binary:
            self.cursor.expect(b"~")
        if self._partial and self.cursor.atEnd:
            raise MessageLiteral(mayBeEmpty)
        writer = self.cursor.content()
        if not isinstance(writer, MessageWriter):
            raise SyntaxProblem("Literal expected")
        self.add(writer)

    def add(self, piece: Piece | MessageWriter) -> None:
        """
        Something is the next piece of the message.
        """
        self.messages[-1].pieces.append(piece)

    def all(self) -> None:
        """
        1*append-message, to the end of the command.
        """
        if not self.messages:
            self.one()
        while not self.cursor.atEnd:
            if len(self.messages) >= MAX_MESSAGES:
                raise MailError("Too many messages at once", imapCode="LIMIT")
            self.one()

    def one(self) -> None:
        """
        append-message
        """
        cursor = self.cursor
        self.lastBegan = cursor.at, cursor.contentsTaken
        message = NewMessage()
        self.messages.append(message)
        cursor.space()
        if cursor.peek() == b"(":
            message.flags = cursor.flagList()
            cursor.space()
        if cursor.peek() == b'"':
            message.date = cursor.dateTime()
            cursor.space()
        registry = self.session.registry
        while True:
            following = cursor.peek()
            if following in (b"{", b"") or following == b"~":
                self.literal(following == b"~")
                return
            name = cursor.atom().upper()
            option = registry.appendOptions.get(name)
            if option is None:
                break
            cursor.space()
            option(self)
            cursor.space()
        read = registry.appendData.get(name)
        if read is None:
            raise SyntaxProblem("Literal expected")
        cursor.space()
        read(self)


async def sinkFor(
    session: IMAPSession,
    reader: MessageReader,
    found: MessageLiteral,
    name: str,
    size: int,
    freed: int = 0,
) -> MessageWriter:
    """
    @param reader: that has found that a message's literal comes next.
    @param name: of the destination.
    @param size: of the literal.
    @param freed: octets that the account will have got rid of.
    @return: where it goes.
    @raise MailError: if the message can't be taken.
    """
    if not size and not found.mayBeEmpty:
        # RFC 3502 §6.3.11: also the way to give up in the midst of several.
        raise _empty()
    limit = session.settings.maxMessageOctets
    if size > limit:
        raise MessageTooLarge()
    account = session.theAccount()
    destination = await openDestination(session, name)
    message = reader.messages[-1]
    before = [each.writer for each in reader.messages[:-1]]
    sizes = [each.size for each in before if each is not None]
    if before and before[-1] is not None:
        # Only the last one's is looked at; and a writer has a buffer, until it has finished.
        before[-1].before = None
        await reader.messages[-2].writePieces(session, before[-1])
        await before[-1].prepare()
    if sum(each for each in sizes if each <= SMALL_MESSAGE) > MAX_HELD:
        raise MailError("Too many messages at once", imapCode="LIMIT")
    # The owner of another's mailbox is nobody's business; what doesn't fit there is refused when it
    # is appended.
    ours = not IRestrictedMailbox.providedBy(destination)
    quota = await account.quota() if ours else Quota(0, None, 0, None)
    writer = message.writer
    isNew = writer is None
    if writer is None:
        writer = MessageWriter(account.newContent(size), limit)
    try:
        await message.writePieces(session, writer)
        writer.requireRoomFor(size)
        octets = sum(sizes) + writer.size + size - freed
        if quota.octetLimit is not None and quota.octets + octets > quota.octetLimit:
            raise OverQuota()
    except BaseException:
        if isNew:
            writer.abort()
        raise
    writer.pieces += 1
    writer.before = ReadSoFar(name, tuple(reader.messages[:-1]), *reader.lastBegan)
    return writer


def _empty() -> MailError:
    return MailError("An empty message can't be appended")


Staged = tuple[IStagedContent, Flags, int, int]


@asynccontextmanager
async def staged(
    session: IMAPSession, messages: Sequence[NewMessage]
) -> AsyncIterator[Sequence[Staged]]:
    """
    Have messages written to their end, for as long as they are needed.
    """
    done: list[Staged] = []
    try:
        for message in messages:
            done.append((await _stage(session, message), message.flags, *message.date))
        yield done
    finally:
        for content, *_ in done:
            content.discard()


async def _stage(session: IMAPSession, message: NewMessage) -> IStagedContent:
    account = session.theAccount()
    writer = message.writer
    if writer is None:
        writer = MessageWriter(account.newContent(), session.settings.maxMessageOctets)
    try:
        await message.writePieces(session, writer)
        if not writer.size:
            raise _empty()
        content = await writer.finish()
    except BaseException:
        writer.abort()
        raise
    try:
        if writer.hasNUL:
            content, binary = await _encoded(session, content), content
            binary.discard()
        for check in session.registry.appendChecks:
            await check(session, content)
        for inspect in message.checks:
            inspect(content)
    except BaseException:
        content.discard()
        raise
    return content


async def _encoded(session: IMAPSession, content: IStagedContent) -> IStagedContent:
    """
    A message with its binary parts in base64, as NULs can be fetched by BINARY alone: "The server
    MAY modify the CTE of the appended data" (RFC 3516 §4.4).

    @raise MailError: UNKNOWN-CTE, if there are NULs elsewhere.
    """
    encoder = BinaryEncoder()
    writer = MessageWriter(session.theAccount().newContent(), session.settings.maxMessageOctets)
    try:
        at = 0
        size = content.summary.size
        while at < size:
            data = await content.read(at, WINDOW)
            at += len(data)
            out = encoder.feed(data)
            waiting = writer.write(out + encoder.finish() if at >= size else out)
            if waiting is not None:
                await waiting
        if writer.hasNUL:
            raise CannotDoThat(
                "NULs are taken in parts whose transfer encoding is binary", imapCode="UNKNOWN-CTE"
            )
        return await writer.finish()
    except BaseException:
        writer.abort()
        raise


async def requireKeywords(mailbox: IMailbox, messages: Sequence[NewMessage]) -> None:
    """
    @raise MailError: as L{requireRoom}, for the flags of all messages.
    """
    flags = frozenset().union(*(each.flags for each in messages))
    if any(flag[0] != "\\" for flag in flags):
        if IRestrictedMailbox.providedBy(mailbox):
            restricted: Any = mailbox
            if not await restricted.rights() >= {"r", "w"}:
                # They aren't set, or aren't known.
                return
        known = (await mailbox.status()).keywords
        requireRoom(known, KeywordSpelling(known).apply(flags)[1])


def annotationsFor(
    mailbox: IMailbox, messages: Sequence[NewMessage]
) -> tuple[list[dict[AnnotationKey, bytes]], ...]:
    """
    @param mailbox: to which the messages are to be appended.
    @return: the argument of C{append} that only some mailboxes know; nothing if it isn't needed.
    @raise CannotDoThat: if it is, and this mailbox doesn't.
    """
    if not any(message.annotations for message in messages):
        return ()
    if not IAnnotatedMailbox.providedBy(mailbox):
        raise CannotDoThat("Messages of that mailbox have no annotations")
    return ([message.annotations for message in messages],)


async def literalSink(session: IMAPSession, cursor: Cursor, size: int) -> IContentWriter | None:
    """
    Messages go straight to the store; the mailbox's name may be a literal too.
    """
    reader = MessageReader(session, cursor, True)
    name = ""
    last = cursor.contents[-1] if cursor.contents else None
    try:
        if isinstance(last, MessageWriter) and last.before is not None:
            name = last.before.name
            reader.messages = list(last.before.messages)
            cursor.goOn(last.before.at, last.before.contents)
        else:
            name = reader.mailbox()
        reader.all()
    except OrdinaryLiteral as ordinary:
        ordinary.check(size)
        return None
    except MessageLiteral as found:
        return await sinkFor(session, reader, found, name, size)
    raise SyntaxProblem("Unexpected literal")


async def append(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 3502 §6.3.11: all messages are added, or none."""
    reader = MessageReader(session, cursor, False)
    name = reader.mailbox()
    reader.all()
    session.requireAtMost(len(reader.messages))
    mailbox = await openDestination(session, name)
    await requireKeywords(mailbox, reader.messages)
    annotations = annotationsFor(mailbox, reader.messages)
    adding: Any = mailbox
    async with staged(session, reader.messages) as messages:
        try:
            result: AppendResult = await adding.append(messages, *annotations)
        except NoSuchMailbox:
            # Deleted meanwhile.
            raise NoSuchMailbox(imapCode="TRYCREATE") from None
    return b"[APPENDUID %d %b] APPEND completed" % (
        result.uidValidity,
        NumberSet.of(result.uids).render(),
    )


COMMANDS = (Command(b"APPEND", LOGGED_IN, append, literalSink=literalSink),)
