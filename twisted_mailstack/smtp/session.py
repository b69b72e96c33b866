# -*- test-case-name: tests.smtp.test_session -*-
"""
The server's side of an SMTP session (RFC 5321), for receiving (port 25) and submission (RFC 6409).

One coroutine runs it: commands in order, each answered before the next is looked at, however they
were pipelined. Every command and parameter comes from the tables of L{Registry}; this module knows
what a session and a transaction are, and turns errors into replies: a L{MailError} becomes its
reply in one place; anything else is a defect, is logged whole and answered as a temporary failure.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from time import time
from types import coroutine
from typing import Any

from twisted.cred.portal import Portal
from twisted.logger import Logger

from twisted_mailstack.auth.login import Login
from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.delivery.policy import Policies
from twisted_mailstack.errors import (
    AuthenticationRequired,
    ConnectionClosed,
    LimitExceeded,
    MailError,
    PlaintextInjected,
    SessionEnded,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import (
    IAccount,
    IDelivery,
    IDeliveryTarget,
    IHonouringTarget,
    IServerMechanism,
    ISpool,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient
from twisted_mailstack.smtp.extension import CheckParameter, Command, Extension, TextFilter
from twisted_mailstack.smtp.grammar import splitCommand
from twisted_mailstack.smtp.reply import errorReply, reply
from twisted_mailstack.wire.dots import LineInspector
from twisted_mailstack.wire.stream import Stream

#: Octets that are discarded at a time.
DISCARD_WINDOW = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class SMTPSettings:
    """
    What a server can be told. Limits below the RFC's minimum are refused.

    @ivar hostname: what the server calls itself, and the domain of a bare postmaster.
    @ivar submission: AUTH before MAIL (RFC 6409).
    @ivar maxMessageOctets: the largest message (RFC 1870); at least 64 KiB (RFC 5321 §4.5.3.1.7).
    @ivar maxRecipients: of one message; at least 100 (RFC 5321 §4.5.3.1.8).
    @ivar maxLineOctets: of a text line, CRLF included; longer ones are refused. RFC 5321
        §4.5.3.1.6 guarantees 1,000; real mail has longer ones. C{None}: any length.
    @ivar maxErrors: commands that may fail for good before the session is closed (RFC 5321 §7.8).
        A recipient that is accepted makes up for one failure, a message for all, so that a list
        with some dead addresses gets through.
    @ivar maxTransactions: messages of one connection.
    @ivar maxLoginFailures: before the session is closed.
    @ivar timeout: seconds to wait for a command or for data (RFC 5321 §4.5.3.2.7: 5 minutes).
    @ivar allowPlaintextAuth: passwords without TLS, for loopback only.
    @ivar bareNewlines: what is done with text that has a CR or LF by itself: C{"refuse"},
        C{"normalise"} (each becomes CRLF), or C{"keep"}. It never ends the text.
    @ivar verify: VRFY says whether an address exists; else it says 252.
    @ivar maxRecipientDomains: in the recipients of one session; C{None}: any number.
    @ivar maxHold: seconds that submitted messages may be held by their senders' wish (RFC 4865); 0:
        they may not be.
    @ivar minDeliverBy: seconds; nobody may want a message delivered or returned sooner (RFC 2852).
    @ivar maxPriority: the highest priority that an authenticated user may give to a message
        (RFC 6710), 0 to 9. Everybody may give one below 0.
    @ivar priorityNetworks: whose clients may give any priority.
    @ivar etrnNetworks: whose clients may start the queue (RFC 1985), besides authenticated users.
    @ivar xclientNetworks: of proxies that speak for their clients (XCLIENT). They are believed
        whatever they say, who has authenticated too.
    @ivar xforwardNetworks: of content filters that tell where mail comes from (XFORWARD).
    """

    hostname: str
    submission: bool = False
    maxMessageOctets: int = 50 * 1024 * 1024
    maxRecipients: int = 1000
    maxLineOctets: int | None = None
    maxErrors: int = 20
    maxTransactions: int = 10_000
    maxLoginFailures: int = 3
    timeout: float = 300.0
    allowPlaintextAuth: bool = False
    bareNewlines: str = "refuse"
    verify: bool = False
    maxRecipientDomains: int | None = None
    maxHold: int = 30 * 86400
    minDeliverBy: int = 0
    maxPriority: int = 0
    priorityNetworks: Collection[IPv4Network | IPv6Network] = ()
    etrnNetworks: Collection[IPv4Network | IPv6Network] = ()
    xclientNetworks: Collection[IPv4Network | IPv6Network] = ()
    xforwardNetworks: Collection[IPv4Network | IPv6Network] = ()

    def __post_init__(self) -> None:
        for name, least in (
            ("maxMessageOctets", 65536),
            ("maxRecipients", 100),
            ("maxLineOctets", 1000),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least} (RFC 5321 §4.5.3.1)")
        if self.bareNewlines not in ("refuse", "normalise", "keep"):
            raise ValueError('bareNewlines must be "refuse", "normalise" or "keep"')
        for name, least, most in (
            ("maxRecipientDomains", 1, 999_999),
            ("maxHold", 0, 999_999_999),
            ("minDeliverBy", 0, 999_999_999),
            ("maxPriority", 0, 9),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} must be {least} to {most}")


class Registry:
    """
    The tables of a server, made once.

    @ivar commands: by verb.
    @ivar extensions: in the order of the EHLO reply.
    @ivar owners: the extensions of those commands that belong to one.
    @ivar mailParameters: by keyword, whose it is and its check, of which the last that is available
        holds; C{rcptParameters} likewise.
    @ivar checkMail: whose it is and what it does, in the extensions' order; C{checkRcpt},
        C{checkData}, C{makeFilter}, C{trace} and C{inspect} likewise.
    """

    def __init__(self, commands: Iterable[Command], extensions: Sequence[Extension]) -> None:
        self.extensions = tuple(extensions)
        self.commands = {command.name: command for command in commands}
        self.owners: dict[bytes, Extension] = {}
        self.mailParameters: dict[str, list[tuple[Extension, CheckParameter]]] = {}
        self.rcptParameters: dict[str, list[tuple[Extension, CheckParameter]]] = {}
        self.lineLimits: dict[bytes, int] = {}
        self.checkMail = [(each, each.checkMail) for each in self.extensions if each.checkMail]
        self.checkRcpt = [(each, each.checkRcpt) for each in self.extensions if each.checkRcpt]
        self.checkData = [(each, each.checkData) for each in self.extensions if each.checkData]
        self.makeFilter = [(each, each.makeFilter) for each in self.extensions if each.makeFilter]
        self.trace = [(each, each.trace) for each in self.extensions if each.trace]
        self.inspect = [(each, each.inspect) for each in self.extensions if each.inspect]
        for extension in self.extensions:
            for command in extension.commands:
                self.commands[command.name] = command
                self.owners[command.name] = extension
            for keyword, check in extension.mailParameters.items():
                self.mailParameters.setdefault(keyword, []).append((extension, check))
            for keyword, check in extension.rcptParameters.items():
                self.rcptParameters.setdefault(keyword, []).append((extension, check))
        for command in self.commands.values():
            self.lineLimits[command.name] = command.maxLine
        self.lineLimits[b"MAIL"] += sum(each.mailOctets for each in self.extensions)
        self.lineLimits[b"RCPT"] += sum(each.rcptOctets for each in self.extensions)
        self.longestLine = max(self.lineLimits.values())

    def isAvailable(self, session: SMTPSession, verb: bytes) -> bool:
        """
        @return: whether there is such a command in this session.
        """
        owner = self.owners.get(verb)
        return verb in self.commands and (owner is None or owner.available(session))


@coroutine
def flushing(stream: Stream, serving: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """
    Run a session, and send what it has written whenever it waits for anything: a client that has
    sent all its commands gets the replies to those that are done, however long the last one takes
    (RFC 2920 §3.2: "MUST send all pending responses immediately").
    """
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            waiting = serving.send(value) if error is None else serving.throw(error)
        except StopIteration:
            return
        stream.flush()
        error = None
        try:
            value = yield waiting
        except GeneratorExit:
            serving.close()
            raise
        except BaseException as raised:
            error = raised


class Transaction:
    """
    From MAIL to the end of data.

    @ivar given: parameters of MAIL, as the client gave them.
    @ivar holding: those that hold, which the envelope has too.
    @ivar recipients: that were accepted, in their order.
    @ivar begun: the text has begun to come, so there can be no more recipients.
    @ivar octets: of the text so far, as the client sent it.
    @ivar filters: what the text goes through before it is inspected.
    @ivar lines: what is known of the text so far.
    @ivar refusal: why it was refused while it came. What still comes of it is discarded.
    """

    def __init__(
        self,
        envelope: Envelope,
        delivery: IDelivery,
        given: Mapping[str, str | None],
        holding: dict[str, str | None],
    ) -> None:
        self.envelope = envelope
        self.delivery = delivery
        self.given = given
        self.holding = holding
        self.recipients: list[Recipient] = []
        self.begun = False
        self.octets = 0
        self.filters: list[TextFilter] = []
        self.lines = LineInspector()
        self.refusal: MailError | None = None


class SMTPSession:
    """
    One connection.

    @ivar lmtp: it speaks LMTP (RFC 2033): each recipient gets a reply of its own in the end.
    @ivar claims: fields of L{info} that a trusted client or proxy said something else about.
    @ivar claimedLogin: whom a trusted proxy has authenticated.
    @ivar forwarded: what a trusted filter said about where the next message comes from (XFORWARD).
    @ivar recipientDomains: of the recipients so far, where they are limited.
    @ivar spool: the queue, for who may start it; C{None} if there is none.
    @ivar urls: opens URLs of messages (RFC 4467); C{None}: nobody does.
    @ivar helo: what the client called itself, C{None} before EHLO or HELO.
    @ivar extended: whether it said EHLO.
    @ivar account: whose session it is, C{None} before AUTH.
    @ivar transaction: the one under way.
    @ivar closing: set to end the session after this command.
    @ivar turnedAway: the greeting was a refusal: only QUIT is left.
    @ivar errors: commands that failed for good, less what made up for them.
    @ivar transactions: how many were begun.
    """

    log = Logger()

    def __init__(
        self,
        stream: Stream,
        settings: SMTPSettings,
        registry: Registry,
        target: IDeliveryTarget,
        *,
        policies: Policies,
        portal: Portal | None,
        mechanisms: Sequence[IServerMechanism],
        hasTLS: bool,
        lmtp: bool = False,
        spool: ISpool | None = None,
        urls: URLAuthority | None = None,
    ) -> None:
        self.stream = stream
        self.settings = settings
        self.registry = registry
        self.target = target
        self.policies = policies
        self.portal = portal
        self.mechanisms = mechanisms
        self.hasTLS = hasTLS
        self.lmtp = lmtp
        self.claims: dict[str, Any] = {}
        self.claimedLogin: Address | None = None
        self.forwarded: dict[str, str] = {}
        self.recipientDomains: frozenset[str] = frozenset()
        self.spool = spool
        self.urls = urls
        self.login = (
            None if portal is None else Login(portal, stream.sleep, settings.maxLoginFailures)
        )
        self.helo: str | None = None
        self.extended = False
        self.account: IAccount | None = None
        self.transaction: Transaction | None = None
        self.closing = False
        self.turnedAway = False
        self.errors = 0
        self.transactions = 0

    @property
    def info(self) -> ConnectionInfo:
        """
        What is known of the connection: everything goes by it that logs, judges or writes it down.
        """
        info = self.stream.info
        return info._replace(**self.claims) if self.claims else info

    @property
    def authenticated(self) -> Address | None:
        """Whose session it is; C{None} before AUTH."""
        return self.claimedLogin if self.account is None else self.account.address

    def isFrom(self, networks: Collection[IPv4Network | IPv6Network]) -> bool:
        """
        @return: whether the connection itself, whatever was said of it, comes from one of these.
        """
        if not networks:
            return False
        try:
            address = ip_address(self.stream.info.peer.partition("%")[0])
        except ValueError:
            return False
        # An IPv6 socket that takes IPv4 too shows it so.
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in networks)

    def honours(self, keyword: str) -> bool:
        """
        @return: whether the target heeds the parameters of an extension.
        """
        # zope's provider is the proof that mypy can't see.
        target: Any = self.target
        return IHonouringTarget.providedBy(target) and keyword in target.honours

    async def run(self) -> None:
        """
        Serve the connection to its end.
        """
        await flushing(self.stream, self._serve())

    async def _serve(self) -> None:
        stream = self.stream
        stream.timeout = self.settings.timeout
        try:
            await self.greet()
            while not self.closing:
                await self._command()
        except SessionEnded as ended:
            if ended.reason == SessionEnded.TIMEOUT:
                error = MailError("closing: timeout", smtpCode=421, enhancedStatus="4.4.2")
            else:
                error = MailError("shutting down", smtpCode=421, enhancedStatus="4.3.2")
            self._refuse(error)
        finally:
            self.forget()

    async def greet(self) -> None:
        """
        Say the greeting, or the refusal that takes its place.
        """
        hostname = self.settings.hostname
        error: MailError
        try:
            await self.policies.connection(self.info)
        except MailError as refusal:
            error = refusal
        except Exception:
            self.log.failure("a policy failed at the connection")
            error = TemporaryFailure()
        else:
            self.stream.write(reply(220, f"{hostname} {'LMTP' if self.lmtp else 'ESMTP'}"))
            return
        # RFC 5321 §4.3.2: a greeting is 220, 554 or 421; §4.3.1: our name comes first.
        self.turnedAway = not error.temporary
        self.closing = error.temporary
        code = 421 if error.temporary else 554
        info = self.info
        self.log.info(
            "{service}: refused: peer={peer}: {code} {text}",
            service=info.service,
            peer=info.peer,
            code=code,
            text=error.text,
        )
        self.stream.write(reply(code, f"{hostname} {error.text}"))

    async def _command(self) -> None:
        try:
            line = await self.stream.readLine(self.registry.longestLine, strict=True)
        except LimitExceeded:
            self._refuse(LimitExceeded("Line too long"))
            return
        verb, argument = splitCommand(line)
        command = self.registry.commands.get(verb)
        error: MailError | None = None
        if self.turnedAway and verb != b"QUIT":
            # RFC 5321 §3.1: after a 554 we wait for QUIT, and this is the answer until it comes.
            error = MailError("No service here", smtpCode=503, enhancedStatus="5.5.1")
        elif command is None:
            error = MailError("Command not recognised", smtpCode=500, enhancedStatus="5.5.1")
        elif not self.registry.isAvailable(self, verb):
            error = MailError("Not available here", smtpCode=502, enhancedStatus="5.5.1")
        elif len(line) + 2 > self.registry.lineLimits[verb]:
            error = LimitExceeded("Line too long")
        elif (
            self.settings.submission
            and not command.beforeAuthentication
            and self.authenticated is None
        ):
            error = AuthenticationRequired()
        if error is None:
            assert command is not None
            await self._execute(command, argument)
            return
        if command is not None and command.payload is not None:
            await self.discard(command.payload(argument))
            if self.transaction is not None:
                # A part of the message is missing.
                self.spoil(self.transaction, error)
        self._refuse(error, command is None or command.enhanced or self.turnedAway)

    async def discard(self, octets: int | None) -> None:
        """
        Read octets that nobody wants.

        @param octets: C{None}: nobody knows how many, so that the session is at its end.
        """
        if octets is None:
            self.closing = True
            return
        while octets:
            octets -= len(await self.stream.readSome(min(octets, DISCARD_WINDOW)))

    async def _execute(self, command: Command, argument: bytes) -> None:
        try:
            await command.execute(self, argument)
        except MailError as error:
            self._refuse(error, command.enhanced)
        except (ConnectionClosed, SessionEnded, PlaintextInjected):
            raise
        except Exception:
            self.log.failure("{verb} failed", verb=command.name.decode("ascii"))
            # What state the transaction is in isn't known any more.
            self.reset()
            self.errors += 1
            self._refuse(TemporaryFailure(), command.enhanced)

    def _refuse(self, error: MailError, enhanced: bool = True) -> None:
        if not error.temporary:
            self.errors += 1
        if self.errors > self.settings.maxErrors and error.smtpCode != 421:
            error = MailError("too many errors", smtpCode=421, enhancedStatus="4.7.0")
        if error.smtpCode == 421:
            # RFC 5321 §4.2.2: "421 <domain> Service not available, closing".
            self.closing = True
            error = MailError(
                f"{self.settings.hostname} {error.text}",
                smtpCode=421,
                enhancedStatus=error.enhancedStatus,
            )
        self.stream.write(errorReply(error, enhanced))

    def reset(self) -> None:
        """
        Forget the transaction.
        """
        transaction = self.endTransaction()
        if transaction is not None:
            self.abort(transaction)

    def endTransaction(self) -> Transaction | None:
        """
        Let the transaction under way go, and what was said for its sake.

        @return: it, C{None} if there is none.
        """
        transaction, self.transaction = self.transaction, None
        self.forwarded = {}
        return transaction

    def spoil(self, transaction: Transaction, refusal: MailError) -> None:
        """
        Nothing can come of a transaction any more; what still comes of its text is discarded.
        """
        if transaction.refusal is None:
            transaction.refusal = refusal
            self.abort(transaction)

    def abort(self, transaction: Transaction) -> None:
        """
        Tell the target that nothing will come of it; what goes wrong there is only logged.
        """
        try:
            transaction.delivery.abort()
        except Exception:
            self.log.failure("{queueId}: abort failed", queueId=transaction.envelope.queueId)

    def forget(self) -> None:
        """
        Forget everything that was said, as after STARTTLS (RFC 3207 §4.2).
        """
        self.reset()
        self.helo = None
        self.extended = False
        self.account = None
        self.claimedLogin = None
        if self.login is not None:
            self.login.logOut()

    def ok(
        self,
        text: str = "OK",
        enhancedStatus: str = "2.0.0",
        code: int = 250,
        utf8: bool = False,
    ) -> None:
        """
        Write a reply of success.
        """
        self.stream.write(reply(code, text, enhancedStatus, utf8))

    def newQueueId(self) -> str:
        """
        @return: a name for a message: a time, so that the log can be searched, and chance.
        """
        return f"{int(time() * 1000):011X}{secrets.token_hex(3).upper()}"
