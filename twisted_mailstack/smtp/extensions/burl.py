# -*- test-case-name: tests.smtp.test_burl -*-
"""
BURL (RFC 4468): what is in a mailbox already is submitted without being downloaded and sent again.

URLs are those of this service's own mailboxes, authorised by URLAUTH (RFC 4467) for who submits;
nothing is ever fetched from elsewhere. A chunk that BURL names is held to the rules of one that
comes by BDAT, and both may make one message.
"""

from __future__ import annotations

import re

from twisted_mailstack.errors import MailError, StoreDamaged, SyntaxProblem, TemporaryFailure
from twisted_mailstack.model.imapurl import MAX_URL
from twisted_mailstack.smtp.commands.mail import outOfOrder, takeText
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.extensions.chunking import beginChunk, endChunk
from twisted_mailstack.smtp.session import SMTPSession, Transaction

#   burl-cmd = "BURL" SP absolute-URI [SP end-marker] CRLF
#   end-marker = "LAST"
_ARGUMENT = re.compile(rb"([^ ]+)(?: +(LAST))?", re.IGNORECASE)


def available(session: SMTPSession) -> bool:
    """For submission (§1), with CHUNKING, where the mailboxes are served too."""
    return (
        session.urls is not None
        and session.settings.submission
        and session.registry.isAvailable(session, b"BDAT")
    )


def ehlo(session: SMTPSession) -> str:
    """§3: what it may be used for is told to who may."""
    if session.authenticated is None or session.urls is None:
        return ""
    return f"imap imap://{session.urls.hostname}"


async def burl(session: SMTPSession, argument: bytes) -> None:
    """RFC 4468 §3.3."""
    match = _ARGUMENT.fullmatch(argument)
    if match is None:
        raise SyntaxProblem("Syntax: BURL url [LAST]")
    transaction = session.transaction
    if transaction is None:
        raise outOfOrder("Say MAIL first")
    before = transaction.refusal
    await beginChunk(session, transaction)
    octets = transaction.octets
    if transaction.refusal is None:
        try:
            await _copy(session, transaction, match.group(1))
        except MailError as error:
            session.spoil(transaction, error)
        except Exception:
            session.log.failure("{queueId}: reading failed", queueId=transaction.envelope.queueId)
            session.spoil(transaction, TemporaryFailure())
    last = match.group(2) is not None
    await endChunk(session, transaction, last, before, str(transaction.octets - octets))


async def _copy(session: SMTPSession, transaction: Transaction, url: bytes) -> None:
    reader = session.authenticated
    assert session.urls is not None and reader is not None
    try:
        content = await session.urls.open(url, reader, submitting=True)
        async for data in content.pieces():
            await takeText(session, transaction, data, False)
            if transaction.refusal is not None:
                return
    except (SyntaxProblem, StoreDamaged):
        raise
    except MailError as error:
        # RFC 4468 §3.3: X.6.6, "the message content could not be fetched".
        raise MailError(
            f"The URL can't be used: {error.text}", smtpCode=554, enhancedStatus="5.6.6"
        ) from None


EXTENSION = Extension(
    "BURL",
    4468,
    ehlo=ehlo,
    available=available,
    commands=(
        Command(
            b"BURL",
            burl,
            "BURL url [LAST]",
            maxLine=MAX_URL + 16,
            beforeAuthentication=False,
        ),
    ),
)
