# -*- test-case-name: tests.smtp.test_chunking -*-
"""
CHUNKING (RFC 3030 §2): BDAT, the text in pieces whose lengths are told before, without dots.

The text is held to the same rules as that of DATA. What is announced is read, whatever is wrong
with the command, so that none of it is ever taken for a command. When a chunk is refused the
transaction is: what follows it gets the same refusal, until the last chunk or RSET.
"""

from __future__ import annotations

import re

from twisted_mailstack.errors import MailError, SyntaxProblem, TemporaryFailure
from twisted_mailstack.smtp.commands.mail import (
    WINDOW,
    beginText,
    finishMessage,
    outOfOrder,
    takeText,
)
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.reply import errorReply
from twisted_mailstack.smtp.session import SMTPSession, Transaction

#   bdat-cmd   ::= "BDAT" SP chunk-size [ SP end-marker ] CR LF
#   chunk-size ::= 1*DIGIT
_ARGUMENT = re.compile(rb"[0-9]+(?: +(LAST))?", re.IGNORECASE)
#   Deviation: nobody sends a chunk whose length has more digits than a size has (RFC 1870 §6.1).
_SIZE = re.compile(rb"([0-9]{1,20})(?: |\Z)")


def chunkSize(argument: bytes) -> int | None:
    """
    @return: how many octets follow BDAT's line; C{None} if it doesn't say.
    """
    match = _SIZE.match(argument)
    return None if match is None else int(match.group(1))


async def bdat(session: SMTPSession, argument: bytes) -> None:
    """RFC 3030 §2."""
    octets = chunkSize(argument)
    if octets is None:
        # Nobody can tell where the next command begins.
        session.closing = True
        raise _malformed()
    match = _ARGUMENT.fullmatch(argument)
    last = match is not None and match.group(1) is not None
    transaction = session.transaction
    if transaction is None:
        await session.discard(octets)
        # RFC 2033 §4.3: to the last one a reply for each recipient, so here "zero replies".
        if not (session.lmtp and last):
            raise outOfOrder("Say MAIL first")
        return
    before = transaction.refusal
    if match is None:
        session.spoil(transaction, _malformed())
    await beginChunk(session, transaction)
    while octets:
        text = await session.stream.readSome(min(octets, WINDOW))
        octets -= len(text)
        await takeText(session, transaction, text, False)
    await endChunk(session, transaction, last, before, argument.split(b" ")[0].decode("ascii"))


def _malformed() -> MailError:
    return SyntaxProblem("Syntax: BDAT octets [LAST]")


async def beginChunk(session: SMTPSession, transaction: Transaction) -> None:
    """
    A chunk is about to come, the first or another. Never raises for what is wrong with it: then the
    transaction is spoiled.
    """
    if not transaction.recipients:
        code = 503 if session.lmtp else 554
        session.spoil(
            transaction, MailError("No valid recipients", smtpCode=code, enhancedStatus="5.5.1")
        )
    if transaction.refusal is None and not transaction.begun:
        try:
            await beginText(session, transaction)
        except MailError as error:
            session.spoil(transaction, error)
        except Exception:
            session.log.failure("{queueId}: storing failed", queueId=transaction.envelope.queueId)
            session.spoil(transaction, TemporaryFailure())
    # Also if nobody wants it: there are no more recipients from here on.
    transaction.begun = True


async def endChunk(
    session: SMTPSession,
    transaction: Transaction,
    last: bool,
    before: MailError | None,
    octets: str,
) -> None:
    """
    A chunk was read: say so, or why it was refused.

    @param last: the message ends with it.
    @param before: why the transaction was spoiled before this chunk came.
    @param octets: how many it had.
    @raise MailError: if it was refused.
    """
    if last:
        await takeText(session, transaction, b"", True)
        await _finish(session, transaction)
    elif transaction.refusal is None:
        session.ok(f"{octets} octets received")
    elif before is None:
        raise transaction.refusal
    else:
        # Not counted again: these were under way before the client could know.
        session.stream.write(errorReply(before))


async def _finish(session: SMTPSession, transaction: Transaction) -> None:
    if transaction.recipients:
        await finishMessage(session, transaction)
        return
    session.reset()
    if not session.lmtp:
        assert transaction.refusal is not None
        raise transaction.refusal


EXTENSION = Extension(
    "CHUNKING",
    3030,
    commands=(
        Command(b"BDAT", bdat, "BDAT octets [LAST]", beforeAuthentication=False, payload=chunkSize),
    ),
)
