# -*- test-case-name: tests.smtp.test_mail,tests.smtp.test_data,tests.smtp.test_trace -*-
"""
Commands of a mail transaction: MAIL, RCPT, DATA (RFC 5321 §3.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from time import localtime, time

from twisted_mailstack.errors import (
    AuthenticationRequired,
    MailError,
    MessageTooLarge,
    SyntaxProblem,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import formatPath, parseDomain
from twisted_mailstack.model.dates import formatFieldDate
from twisted_mailstack.model.records import Envelope, Recipient
from twisted_mailstack.smtp.extension import CheckParameter, Command
from twisted_mailstack.smtp.grammar import POSTMASTER, decodeArgument, parseMailArgument
from twisted_mailstack.smtp.reply import reply
from twisted_mailstack.smtp.session import SMTPSession, Transaction
from twisted_mailstack.wire.dots import DotReader

#: Octets of data taken at a time.
WINDOW = 64 * 1024


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
    text = decodeArgument(argument)
    path, parameters = parseMailArgument(text, "FROM")
    _check(session, parameters, session.registry.mailParameters)
    if not text.isascii() and "SMTPUTF8" not in parameters:
        # RFC 6531 §3.5
        raise MailError("The address needs SMTPUTF8", smtpCode=550, enhancedStatus="5.6.7")
    session.transactions += 1
    if session.transactions > session.settings.maxTransactions:
        raise MailError("too many messages", smtpCode=421, enhancedStatus="4.7.0")
    envelope = Envelope(
        session.stream.info,
        session.helo,
        path,
        None if session.account is None else session.account.address,
        parameters,
        session.newQueueId(),
    )
    try:
        await session.policies.reversePath(envelope)
    except MailError as error:
        session.log.info(
            "{queueId}: refused: from={reversePath} peer={peer}: {text}",
            queueId=envelope.queueId,
            reversePath=formatPath(path),
            peer=envelope.connection.peer,
            text=f"{error.smtpCode} {error.enhancedStatus} {error.text}",
        )
        raise
    session.transaction = Transaction(envelope, session.target.begin(envelope))
    session.ok("OK", "2.1.0")


async def rcpt(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.3."""
    transaction = session.transaction
    if transaction is None:
        raise _outOfOrder("Say MAIL first")
    text = decodeArgument(argument)
    path, parameters = parseMailArgument(text, "TO")
    if path is None:
        raise SyntaxProblem("The null path is no recipient")
    _check(session, parameters, session.registry.rcptParameters)
    if not text.isascii() and "SMTPUTF8" not in transaction.envelope.parameters:
        # RFC 6531 §3.5
        raise MailError("The address needs SMTPUTF8", smtpCode=553, enhancedStatus="5.6.7")
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
        raise
    transaction.recipients.append(recipient)
    session.errors = max(0, session.errors - 1)
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
    try:
        # The trace field goes first, so that a store that takes nothing refuses DATA, not the text.
        waiting = transaction.delivery.write(receivedField(session, transaction))
        if waiting is not None:
            await waiting
    except BaseException:
        session.reset()
        raise
    session.stream.write(reply(354, "End data with <CR><LF>.<CR><LF>"))
    octets, refusal = await _receive(session, transaction)
    await finishMessage(session, transaction, octets, refusal)


async def _receive(session: SMTPSession, transaction: Transaction) -> tuple[int, MailError | None]:
    # Reads the text to its end, come what may: nothing of it may ever be taken for a command.
    stream = session.stream
    reader = DotReader()
    refusal: MailError | None = None
    octets = 0
    while not reader.finished:
        text = reader.feed(await stream.readSome(WINDOW))
        octets += len(text)
        if refusal is None and text:
            refusal = _judge(session, reader, octets) or await _write(session, transaction, text)
            if refusal is not None:
                session.abort(transaction)
    if reader.rest:
        stream.unread(reader.rest)
    return octets, refusal


def _judge(session: SMTPSession, reader: DotReader, octets: int) -> MailError | None:
    settings = session.settings
    if octets > settings.maxMessageOctets:
        return MessageTooLarge()
    if reader.nul or ((reader.bareCR or reader.bareLF) and settings.bareNewlines == "refuse"):
        return MailError(
            "The message has a NUL, or a CR or LF by itself: lines must end in CRLF",
            smtpCode=550,
            enhancedStatus="5.6.0",
        )
    if settings.maxLineOctets is not None and reader.longestLine > settings.maxLineOctets:
        return MailError("A line is too long", smtpCode=550, enhancedStatus="5.6.0")
    return None


async def _write(session: SMTPSession, transaction: Transaction, text: bytes) -> MailError | None:
    try:
        waiting = transaction.delivery.write(text)
        if waiting is not None:
            await waiting
    except MailError as error:
        return error
    except Exception:
        session.log.failure("{queueId}: storing failed", queueId=transaction.envelope.queueId)
        return TemporaryFailure()
    return None


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
        lines = await session.policies.message(envelope, transaction.recipients, content)
        if session.stream.closed:
            raise _clientGone()
        return lines

    # From here on the delivery is the target's: an abort would come too late.
    session.transaction = None
    if refusal is None and session.stream.closed:
        refusal = _clientGone()
    if refusal is not None:
        session.abort(transaction)
    else:
        try:
            results = await transaction.delivery.commit(inspect)
            refusal = _failures(session, transaction, results)
        except MailError as error:
            refusal = error
        except Exception:
            session.log.failure("{queueId}: delivery failed", queueId=envelope.queueId)
            refusal = TemporaryFailure()
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
    session.errors = 0
    session.ok(f"OK: {envelope.queueId}", "2.0.0")


def _clientGone() -> MailError:
    # RFC 5321 §4.1.1.10: what is pending is cancelled when the client goes away. It wouldn't learn
    # that we took the message, and send it again.
    return TemporaryFailure("The client is gone")


def _failures(
    session: SMTPSession, transaction: Transaction, results: Sequence[Exception | None]
) -> MailError | None:
    # One reply is for all recipients (RFC 5321 §4.1.1.4): a refusal only if nobody got it.
    failures = [
        (recipient, error)
        for recipient, error in zip(transaction.recipients, results, strict=False)
        if error is not None
    ]
    for recipient, error in failures:
        session.log.error(
            "{queueId}: not delivered: to=<{recipient}>: {error}",
            queueId=transaction.envelope.queueId,
            recipient=str(recipient.address),
            error=str(error),
        )
    if not failures or len(failures) < len(transaction.recipients):
        return None
    first = failures[0][1]
    return first if isinstance(first, MailError) else TemporaryFailure()


def _names(recipients: list[Recipient]) -> str:
    shown = ",".join(f"<{recipient.address}>" for recipient in recipients[:10])
    return shown if len(recipients) <= 10 else f"{shown},... ({len(recipients)} in all)"


def receivedField(session: SMTPSession, transaction: Transaction) -> bytes:
    """
    @return: the trace field (RFC 5321 §4.4), its line end included. Names a recipient only if it is
        the only one, so that nobody learns of a Bcc (§7.2). Nothing that the client said gets into
        it but a valid domain or address literal and a parsed address.
    """
    envelope = transaction.envelope
    info = session.stream.info
    #   with: RFC 3848, and RFC 6531 §3.7.3 for SMTPUTF8
    protocol = "ESMTP" if session.extended else "SMTP"
    if "SMTPUTF8" in envelope.parameters:
        protocol = "UTF8SMTP"
    if session.extended:
        protocol += ("S" if info.secure else "") + ("A" if session.account else "")
    try:
        parseDomain(envelope.helo)
        name = envelope.helo
    except SyntaxProblem:
        name = "unknown"
    peer = _literal(info.peer)
    tls = f" ({info.tlsVersion} {info.cipher})" if info.secure else ""
    recipients = transaction.recipients
    single = len(recipients) == 1 and recipients[0].address != POSTMASTER
    now = int(time())
    return (
        (
            f"Received: from {name}{peer and f' ({peer})'}\r\n"
            f"\tby {session.settings.hostname} with {protocol}{tls}\r\n"
            f"\tid {envelope.queueId}"
            + (f"\r\n\tfor <{recipients[0].address}>" if single else "")
            + ";\r\n\t"
        ).encode()
        # RFC 5321 §4.4: "Local time (with an offset) SHOULD be used rather than UT".
        + formatFieldDate(now, localtime(now).tm_gmtoff // 60)
        + b"\r\n"
    )


def _literal(peer: str) -> str:
    # RFC 5321 §4.1.3; empty for what has no IP address.
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        # What a dual-stack socket calls an IPv4 peer.
        return f"[{address.ipv4_mapped or f'IPv6:{address}'}]"
    return f"[{address}]"


COMMANDS = (
    Command(b"MAIL", mail, "MAIL FROM:<address> [parameters]"),
    Command(b"RCPT", rcpt, "RCPT TO:<address> [parameters]", beforeAuthentication=False),
    Command(b"DATA", data, "DATA", beforeAuthentication=False),
)
