# -*- test-case-name: tests.smtp.test_commands -*-
"""
Commands of a mail transaction: MAIL, RCPT, DATA (RFC 5321 §3.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from time import time

from twisted_mailstack.errors import (
    AuthenticationRequired,
    ConnectionClosed,
    MailError,
    MessageTooLarge,
    NoSuchDomain,
    SessionEnded,
    SyntaxProblem,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import Address, formatPath
from twisted_mailstack.model.dates import formatFieldDate
from twisted_mailstack.model.records import Envelope, Recipient
from twisted_mailstack.smtp.extension import CheckParameter, Command
from twisted_mailstack.smtp.grammar import decodeArgument, parseMailArgument
from twisted_mailstack.smtp.reply import reply
from twisted_mailstack.smtp.session import SMTPSession, Transaction
from twisted_mailstack.wire.dots import DotReader

#: Octets of data taken at a time.
WINDOW = 64 * 1024
#: What a client may call itself without it being put into a comment or lost in Received.
_NAME = re.compile(r"[A-Za-z0-9.\-_:\[\]]+\Z")


def _outOfOrder(text: str) -> MailError:
    return MailError(text, smtpCode=503, enhancedStatus="5.5.1")


async def mail(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.2."""
    if session.helo is None:
        raise _outOfOrder("Say EHLO first")
    if session.transaction is not None:
        raise _outOfOrder("A transaction is under way")
    if session.settings.submission and session.account is None:
        raise AuthenticationRequired()
    path, parameters = parseMailArgument(decodeArgument(argument), "FROM")
    _check(session, parameters, session.registry.mailParameters)
    if path is not None:
        _checkASCII(path, parameters)
    session.transactions += 1
    if session.transactions > session.settings.maxTransactions:
        session.closing = True
        raise MailError("Too many messages", smtpCode=421, enhancedStatus="4.7.0")
    envelope = Envelope(
        session.stream.info,
        session.helo,
        path,
        None if session.account is None else session.account.address,
        parameters,
        session.newQueueId(),
    )
    await session.policies.reversePath(envelope)
    session.transaction = Transaction(envelope, session.target.begin(envelope))
    session.ok("OK", "2.1.0")


async def rcpt(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.3."""
    transaction = session.transaction
    if transaction is None:
        raise _outOfOrder("Say MAIL first")
    path, parameters = parseMailArgument(decodeArgument(argument), "TO")
    if path is None:
        raise SyntaxProblem("The null path is no recipient")
    if not path.domain:
        path = path._replace(domain=session.settings.hostname)
    _check(session, parameters, session.registry.rcptParameters)
    _checkASCII(path, transaction.envelope.parameters)
    if len(transaction.recipients) >= session.settings.maxRecipients:
        # RFC 5321 §4.5.3.1.10: the client sends the rest in another transaction.
        raise MailError("Too many recipients", smtpCode=452, enhancedStatus="4.5.3")
    recipient = Recipient(path, parameters)
    try:
        await session.policies.recipient(transaction.envelope, recipient)
        await transaction.delivery.addRecipient(recipient)
    except MailError as error:
        session.log.info(
            "{queueId}: refused: from={reversePath} to=<{recipient}> peer={peer}: {text}",
            queueId=transaction.envelope.queueId,
            reversePath=formatPath(transaction.envelope.reversePath),
            recipient=str(path),
            peer=transaction.envelope.connection.peer,
            text=f"{error.smtpCode} {error.enhancedStatus} {error.text}",
        )
        if isinstance(error, NoSuchDomain):
            raise NoSuchDomain("Relaying denied") from None
        raise
    transaction.recipients.append(recipient)
    session.ok("OK", "2.1.5")


def _check(
    session: SMTPSession,
    parameters: Mapping[str, str | None],
    known: Mapping[str, CheckParameter],
) -> None:
    if not parameters:
        return
    if not session.extended:
        # RFC 5321 §4.1.1.1: after HELO there are no extensions.
        raise MailError("Parameters need EHLO", smtpCode=555, enhancedStatus="5.5.4")
    for keyword, value in parameters.items():
        check = known.get(keyword)
        if check is None:
            raise MailError(
                f"{keyword} is not a known parameter", smtpCode=555, enhancedStatus="5.5.4"
            )
        check(session, value)


def _checkASCII(path: Address, parameters: Mapping[str, str | None]) -> None:
    if not path.isASCII and "SMTPUTF8" not in parameters:
        # RFC 6531 §3.5
        raise MailError("The address needs SMTPUTF8", smtpCode=553, enhancedStatus="5.6.7")


async def data(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.4."""
    if argument:
        raise SyntaxProblem("DATA takes no argument")
    transaction = session.transaction
    if transaction is None:
        raise _outOfOrder("Say MAIL first")
    if not transaction.recipients:
        # RFC 2920 §3.1: also if all recipients were refused and DATA was pipelined.
        raise MailError("No valid recipients", smtpCode=554, enhancedStatus="5.5.1")
    session.stream.write(reply(354, "End data with <CR><LF>.<CR><LF>"))
    octets, refusal = await _receive(session, transaction)
    await finishMessage(session, transaction, octets, refusal)


async def _receive(session: SMTPSession, transaction: Transaction) -> tuple[int, MailError | None]:
    # Reads the text to its end, come what may: nothing of it may ever be taken for a command.
    stream = session.stream
    settings = session.settings
    delivery = transaction.delivery
    reader = DotReader()
    refusal: MailError | None = None
    octets = 0
    trace = receivedField(session, transaction)
    try:
        delivery.write(trace)
    except MailError as error:
        refusal = error
    while not reader.finished:
        text = reader.feed(await stream.readSome(WINDOW))
        octets += len(text)
        if refusal is not None or not text:
            continue
        if octets > settings.maxMessageOctets:
            refusal = MessageTooLarge()
        elif reader.nul or ((reader.bareCR or reader.bareLF) and settings.bareNewlines == "refuse"):
            refusal = MailError(
                "The message has a NUL, or a CR or LF by itself: lines must end in CRLF",
                smtpCode=550,
                enhancedStatus="5.6.0",
            )
        elif settings.maxLineOctets is not None and reader.longestLine > settings.maxLineOctets:
            refusal = MailError("A line is too long", smtpCode=550, enhancedStatus="5.6.0")
        else:
            try:
                waiting = delivery.write(text)
                if waiting is not None:
                    await waiting
                continue
            except MailError as error:
                refusal = error
            except (ConnectionClosed, SessionEnded):
                raise
            except Exception:
                session.log.failure("storing a message failed")
                refusal = TemporaryFailure()
        delivery.abort()
    if reader.rest:
        stream.unread(reader.rest)
    return octets, refusal


async def finishMessage(
    session: SMTPSession, transaction: Transaction, octets: int, refusal: MailError | None
) -> None:
    """
    The message is read: commit it and say so, or say why not.

    @param octets: its size as the client sent it.
    @param refusal: if it was refused while it was read.
    """
    envelope = transaction.envelope

    async def inspect(content: IStagedContent) -> bytes:
        return await session.policies.message(envelope, transaction.recipients, content)

    # From here on the delivery is the target's: an abort would come too late.
    session.transaction = None
    if refusal is None:
        try:
            await transaction.delivery.commit(inspect)
        except MailError as error:
            refusal = error
        except Exception:
            session.log.failure("{queueId}: delivery failed", queueId=envelope.queueId)
            refusal = TemporaryFailure()
    else:
        transaction.delivery.abort()
    outcome = "accepted" if refusal is None else f"refused: {refusal.smtpCode} {refusal.text}"
    session.log.info(
        "{queueId}: {outcome}: from={reversePath} to={recipients} size={octets} peer={peer}"
        " helo={helo} user={user}",
        queueId=envelope.queueId,
        outcome=outcome,
        reversePath=formatPath(envelope.reversePath),
        recipients=_names(transaction.recipients),
        octets=octets,
        peer=envelope.connection.peer,
        helo=envelope.helo,
        user=str(envelope.authenticated or "-"),
    )
    if refusal is not None:
        raise refusal
    session.ok(f"OK: {envelope.queueId}", "2.0.0")


def _names(recipients: list[Recipient]) -> str:
    shown = ",".join(f"<{recipient.address}>" for recipient in recipients[:10])
    return shown if len(recipients) <= 10 else f"{shown},... ({len(recipients)} in all)"


def receivedField(session: SMTPSession, transaction: Transaction) -> bytes:
    """
    @return: the trace field (RFC 5321 §4.4), its line end included. Names a recipient only if it is
        the only one, so that nobody learns of a Bcc (§7.2).
    """
    envelope = transaction.envelope
    info = session.stream.info
    #   with: RFC 3848, and RFC 6531 §3.7.3 for SMTPUTF8
    protocol = "ESMTP" if session.extended else "SMTP"
    if "SMTPUTF8" in envelope.parameters:
        protocol = "UTF8SMTP"
    if session.extended:
        protocol += ("S" if info.secure else "") + ("A" if session.account else "")
    helo = envelope.helo if _NAME.match(envelope.helo) else "unknown"
    peer = f"IPv6:{info.peer}" if ":" in info.peer else info.peer
    tls = f" ({info.tlsVersion} {info.cipher})" if info.secure else ""
    single = (
        f"\r\n\tfor <{transaction.recipients[0].address}>"
        if len(transaction.recipients) == 1
        else ""
    )
    return (
        (
            f"Received: from {helo} ([{peer}])\r\n"
            f"\tby {session.settings.hostname} with {protocol}{tls}\r\n"
            f"\tid {envelope.queueId}{single};\r\n\t"
        ).encode()
        + formatFieldDate(int(time()))
        + b"\r\n"
    )


COMMANDS = (
    Command(b"MAIL", mail, "MAIL FROM:<address> [parameters]"),
    Command(b"RCPT", rcpt, "RCPT TO:<address> [parameters]", beforeAuthentication=False),
    Command(b"DATA", data, "DATA", beforeAuthentication=False),
)
