# -*- test-case-name: tests.smtp.test_mail,tests.smtp.test_data,tests.smtp.test_trace -*-
"""
Commands of a mail transaction: MAIL, RCPT, DATA (RFC 5321 §3.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
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
from twisted_mailstack.smtp.extension import CheckParameter, Command, Extension, TextFilter
from twisted_mailstack.smtp.grammar import POSTMASTER, decodeArgument, parseMailArgument
from twisted_mailstack.smtp.reply import errorReply, reply
from twisted_mailstack.smtp.session import SMTPSession, SMTPSettings, Transaction
from twisted_mailstack.smtp.submission import SubmissionFilter
from twisted_mailstack.wire.dots import DotReader, LineInspector
from twisted_mailstack.wire.newlines import NewlineConverter

#: Octets of data taken at a time.
WINDOW = 64 * 1024


def outOfOrder(text: str) -> MailError:
    """
    @return: the refusal of a command that makes no sense now.
    """
    return MailError(text, smtpCode=503, enhancedStatus="5.5.1")


async def mail(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.2."""
    if session.helo is None:
        raise outOfOrder(f"Say {'LHLO' if session.lmtp else 'EHLO'} first")
    if session.transaction is not None:
        raise outOfOrder("A transaction is under way")
    if session.settings.submission and session.authenticated is None:
        raise AuthenticationRequired()
    text = decodeArgument(argument)
    path, parameters = parseMailArgument(text, "FROM")
    _check(session, parameters, session.registry.mailParameters)
    if not text.isascii() and "SMTPUTF8" not in parameters:
        # RFC 6531 §3.5
        raise MailError("The address needs SMTPUTF8", smtpCode=550, enhancedStatus="5.6.7")
    given = dict(parameters)
    said: tuple[str, str] | None = None
    for extension, check in session.registry.checkMail:
        if extension.available(session):
            said = check(session, path, parameters) or said
    session.transactions += 1
    if session.transactions > session.settings.maxTransactions:
        raise MailError("too many messages", smtpCode=421, enhancedStatus="4.7.0")
    envelope = Envelope(
        session.info,
        session.helo,
        path,
        session.authenticated,
        parameters,
        session.newQueueId(),
        session.lmtp,
        session.forwarded,
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
    session.transaction = Transaction(envelope, session.target.begin(envelope), given, parameters)
    status, answer = said or ("2.1.0", "OK")
    session.ok(answer, status)


async def rcpt(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.3."""
    transaction = session.transaction
    if transaction is None:
        raise outOfOrder("Say MAIL first")
    if transaction.begun:
        raise outOfOrder("The text has begun to come")
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
    for extension, check in session.registry.checkRcpt:
        if extension.available(session):
            check(session, recipient)
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
    known: Mapping[str, Sequence[tuple[Extension, CheckParameter]]],
) -> None:
    if not parameters:
        return
    if not session.extended:
        # RFC 5321 §4.1.1.1: after HELO there are no extensions.
        raise MailError("Parameters need EHLO", smtpCode=555, enhancedStatus="5.5.4")
    for keyword, value in parameters.items():
        for extension, check in reversed(known.get(keyword, ())):
            if extension.available(session):
                check(session, value)
                break
        else:
            raise MailError(
                f"{keyword} is not a known parameter", smtpCode=555, enhancedStatus="5.5.4"
            )


async def data(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.4."""
    if argument:
        raise SyntaxProblem("DATA takes no argument")
    transaction = session.transaction
    if transaction is None:
        raise outOfOrder("Say MAIL first")
    if transaction.begun:
        raise outOfOrder("The text has begun to come otherwise")
    for extension, check in session.registry.checkData:
        if extension.available(session):
            check(session)
    if not transaction.recipients:
        # RFC 2920 §3.1: also if all recipients were refused and DATA was pipelined. LMTP says 503
        # (RFC 2033 §4.2).
        code = 503 if session.lmtp else 554
        raise MailError("No valid recipients", smtpCode=code, enhancedStatus="5.5.1")
    try:
        # The trace field goes first, so that a store that takes nothing refuses DATA, not the text.
        await beginText(session, transaction)
    except BaseException:
        session.reset()
        raise
    session.stream.write(reply(354, "End data with <CR><LF>.<CR><LF>"))
    await _receive(session, transaction)
    await finishMessage(session, transaction)


async def _receive(session: SMTPSession, transaction: Transaction) -> None:
    # Reads the text to its end, come what may: nothing of it may ever be taken for a command.
    stream = session.stream
    reader = DotReader()
    while not reader.finished:
        text = reader.feed(await stream.readSome(WINDOW))
        await takeText(session, transaction, text, reader.finished)
    if reader.rest:
        stream.unread(reader.rest)


async def beginText(session: SMTPSession, transaction: Transaction) -> None:
    """
    The text is about to come, by DATA or otherwise.
    """
    transaction.begun = True
    made = [
        make(session, transaction)
        for extension, make in session.registry.makeFilter
        if extension.available(session)
    ]
    transaction.filters = [each for each in made if each is not None]
    transaction.filters += _ownFilters(session.settings, transaction.envelope.queueId)
    waiting = transaction.delivery.write(receivedField(session, transaction))
    if waiting is not None:
        await waiting


def _ownFilters(settings: SMTPSettings, queueId: str) -> Iterator[TextFilter]:
    # Behind those of extensions, of which BINARYMIME's makes lines of what has none.
    if settings.bareNewlines == "normalise":
        yield NewlineConverter()
    if settings.submission:
        now = int(time())
        zone = localtime(now).tm_gmtoff // 60
        yield SubmissionFilter(queueId, settings.hostname, now, zone)


async def takeText(session: SMTPSession, transaction: Transaction, text: bytes, last: bool) -> None:
    """
    Give text to the delivery. Never raises for what is wrong with it: then the transaction is
    spoiled, and the rest of the text goes nowhere.

    @param last: it ends with that.
    """
    transaction.octets += len(text)
    if transaction.refusal is not None:
        return
    try:
        if transaction.octets > session.settings.maxMessageOctets:
            raise MessageTooLarge()
        for each in transaction.filters:
            text = each.feed(text) + (each.finish() if last else b"")
        if text or last:
            transaction.lines.inspect(text)
            if last:
                transaction.lines.finishInspection()
            _judge(session.settings, transaction.lines)
        if text and (waiting := transaction.delivery.write(text)) is not None:
            await waiting
    except MailError as error:
        session.spoil(transaction, error)
    except Exception:
        session.log.failure("{queueId}: storing failed", queueId=transaction.envelope.queueId)
        session.spoil(transaction, TemporaryFailure())


def _judge(settings: SMTPSettings, lines: LineInspector) -> None:
    if lines.nul or ((lines.bareCR or lines.bareLF) and settings.bareNewlines == "refuse"):
        raise MailError(
            "The message has a NUL, or a CR or LF by itself: lines must end in CRLF",
            smtpCode=550,
            enhancedStatus="5.6.0",
        )
    if settings.maxLineOctets is not None and lines.longestLine > settings.maxLineOctets:
        raise MailError("A line is too long", smtpCode=550, enhancedStatus="5.6.0")


async def finishMessage(session: SMTPSession, transaction: Transaction) -> None:
    """
    The message is read: commit it and say so, or say why not. In LMTP that is a reply for each
    recipient (RFC 2033 §4.2).

    @raise MailError: if it was refused; never in LMTP.
    """
    envelope, recipients = transaction.envelope, transaction.recipients
    refusal = transaction.refusal
    failures: Sequence[Exception | None] = ()

    async def inspect(content: IStagedContent) -> bytes:
        for extension, look in session.registry.inspect:
            if extension.available(session):
                await look(session, transaction, content)
        lines = await session.policies.message(envelope, recipients, content)
        if session.stream.closed:
            raise _clientGone()
        return lines

    # From here on the delivery is the target's: an abort would come too late.
    session.endTransaction()
    if refusal is None and session.stream.closed:
        refusal = _clientGone()
        session.abort(transaction)
    if refusal is None:
        try:
            failures = await transaction.delivery.commit(inspect)
        except MailError as error:
            refusal = error
        except Exception:
            session.log.failure("{queueId}: delivery failed", queueId=envelope.queueId)
            refusal = TemporaryFailure()
    if refusal is None:
        _logFailures(session, transaction, failures)
    results = [_asMailError(failure) for failure in failures] if refusal is None else []
    # A target that has nothing to say of a recipient took the message for it.
    results += [refusal] * (len(recipients) - len(results))
    if None not in results:
        # One reply is for all recipients (RFC 5321 §4.1.1.4): a refusal only if nobody got it.
        refusal = results[0]
    _log(session, transaction, refusal)
    if session.lmtp:
        _replyToEach(session, envelope, results)
        return
    if refusal is not None:
        raise refusal
    session.errors = 0
    session.ok(f"OK: {envelope.queueId}", "2.0.0")


def _asMailError(failure: Exception | None) -> MailError | None:
    return failure if failure is None or isinstance(failure, MailError) else TemporaryFailure()


def _replyToEach(
    session: SMTPSession, envelope: Envelope, results: Sequence[MailError | None]
) -> None:
    # One reply for each, whatever happens: the client counts them.
    for error in results:
        if error is None:
            session.ok(f"OK: {envelope.queueId}", "2.0.0")
        elif error.smtpCode == 421:
            session.stream.write(errorReply(TemporaryFailure(error.text)))
        else:
            session.stream.write(errorReply(error))
    session.errors = 0 if None in results else session.errors + 1


def _logFailures(
    session: SMTPSession, transaction: Transaction, failures: Sequence[Exception | None]
) -> None:
    for recipient, error in zip(transaction.recipients, failures, strict=False):
        if error is not None:
            session.log.error(
                "{queueId}: not delivered: to=<{recipient}>: {error}",
                queueId=transaction.envelope.queueId,
                recipient=str(recipient.address),
                error=str(error),
            )


def _log(session: SMTPSession, transaction: Transaction, refusal: MailError | None) -> None:
    envelope = transaction.envelope
    outcome = "accepted" if refusal is None else f"refused: {refusal.smtpCode} {refusal.text}"
    reversePath = formatPath(envelope.reversePath)
    recipients = _names(transaction.recipients)
    peer = envelope.connection.peer
    user = str(envelope.authenticated or "-")
    more = _words(" asked=", transaction.given) + _words(" forwarded=", envelope.forwarded)
    session.log.info(
        # One field: Twisted takes a microsecond or two to format each, and most servers write this
        # line more often than all others.
        "{line}",
        line=f"{envelope.queueId}: {outcome}: from={reversePath} to={recipients}"
        f" size={transaction.octets} peer={peer} helo={envelope.helo} user={user}{more}",
        queueId=envelope.queueId,
        outcome=outcome,
        reversePath=reversePath,
        recipients=recipients,
        octets=transaction.octets,
        peer=peer,
        helo=envelope.helo,
        user=user,
        more=more,
    )


def _words(head: str, values: Mapping[str, str | None]) -> str:
    # Neither parameters nor what is forwarded has spaces or control characters in it.
    words = [name if value is None else f"{name}={value}" for name, value in values.items()]
    return f"{head}{','.join(words)}" if words else ""


def _clientGone() -> MailError:
    # RFC 5321 §4.1.1.10: what is pending is cancelled when the client goes away. It wouldn't learn
    # that we took the message, and send it again.
    return TemporaryFailure("The client is gone")


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
    info = session.info
    #   with: RFC 3848, and RFC 6531 §3.7.3 for SMTPUTF8
    family = "LMTP" if session.lmtp else "SMTP"
    if "SMTPUTF8" in envelope.parameters:
        protocol = f"UTF8{family}"
    else:
        protocol = "ESMTP" if session.extended and not session.lmtp else family
    if session.extended:
        protocol += ("S" if info.secure else "") + ("A" if envelope.authenticated else "")
    try:
        parseDomain(envelope.helo)
        name = envelope.helo
    except SyntaxProblem:
        name = "unknown"
    peer = _literal(info.peer)
    tls = f" ({info.tlsVersion} {info.cipher})" if info.secure else ""
    recipients = transaction.recipients
    single = len(recipients) == 1 and recipients[0].address != POSTMASTER
    more = [
        trace(session, transaction)
        for extension, trace in session.registry.trace
        if extension.available(session)
    ]
    now = int(time())
    return (
        (
            f"Received: from {name}{peer and f' ({peer})'}\r\n"
            f"\tby {session.settings.hostname} with {protocol}{tls}\r\n"
            f"\tid {envelope.queueId}"
            + (f"\r\n\tfor <{recipients[0].address}>" if single else "")
            + "".join(f"\r\n\t{clause}" for clause in more if clause)
            + ";\r\n\t"
        ).encode()
        # RFC 5321 §4.4: "Local time (with an offset) SHOULD be used rather than UT".
        + formatFieldDate(now, localtime(now).tm_gmtoff // 60)
        + b"\r\n"
    )


@lru_cache(maxsize=1024)
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
