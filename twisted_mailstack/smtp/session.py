# -*- test-case-name: tests.smtp.test_session -*-
"""
The server's side of an SMTP session (RFC 5321), for receiving (port 25) and submission (RFC 6409).

One coroutine runs it: commands in order, each answered before the next is looked at, however they
were pipelined. Every command and parameter comes from the tables of L{Registry}; this module knows
what a session and a transaction are, and turns errors into replies.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import time

from twisted.cred.portal import Portal
from twisted.logger import Logger

from twisted_mailstack.auth.login import Login
from twisted_mailstack.delivery.policy import Policies
from twisted_mailstack.errors import (
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
    IServerMechanism,
)
from twisted_mailstack.model.records import Envelope, Recipient
from twisted_mailstack.smtp.extension import CheckParameter, Command, Extension
from twisted_mailstack.smtp.grammar import splitCommand
from twisted_mailstack.smtp.reply import errorReply, reply
from twisted_mailstack.wire.stream import Stream


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
    @ivar maxErrors: commands that may fail before the session is closed.
    @ivar maxTransactions: messages of one connection.
    @ivar maxLoginFailures: before the session is closed.
    @ivar timeout: seconds to wait for a command or for data (RFC 5321 §4.5.3.2.7: 5 minutes).
    @ivar allowPlaintextAuth: passwords without TLS, for loopback only.
    @ivar bareNewlines: what is done with text that has a CR or LF by itself: C{"refuse"}, or
        C{"keep"}. It never ends the text.
    @ivar verify: VRFY says whether an address exists; else it says 252.
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

    def __post_init__(self) -> None:
        for name, least in (("maxMessageOctets", 65536), ("maxRecipients", 100)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least} (RFC 5321 §4.5.3.1)")


class Registry:
    """
    The tables of a server, made once.

    @ivar commands: by verb.
    @ivar extensions: in the order of the EHLO reply.
    @ivar mailParameters: by keyword; C{rcptParameters} likewise.
    """

    def __init__(self, commands: Iterable[Command], extensions: Sequence[Extension]) -> None:
        self.extensions = tuple(extensions)
        self.commands = {command.name: command for command in commands}
        self.mailParameters: dict[str, CheckParameter] = {}
        self.rcptParameters: dict[str, CheckParameter] = {}
        self.lineLimits: dict[bytes, int] = {}
        for extension in self.extensions:
            self.commands.update({command.name: command for command in extension.commands})
            self.mailParameters.update(extension.mailParameters)
            self.rcptParameters.update(extension.rcptParameters)
        for command in self.commands.values():
            self.lineLimits[command.name] = command.maxLine
        self.lineLimits[b"MAIL"] += sum(each.mailOctets for each in self.extensions)
        self.lineLimits[b"RCPT"] += sum(each.rcptOctets for each in self.extensions)
        self.longestLine = max(self.lineLimits.values())


class Transaction:
    """
    From MAIL to the end of data.
    """

    def __init__(self, envelope: Envelope, delivery: IDelivery) -> None:
        self.envelope = envelope
        self.delivery = delivery
        self.recipients: list[Recipient] = []


class SMTPSession:
    """
    One connection.

    @ivar helo: what the client called itself, C{None} before EHLO or HELO.
    @ivar extended: whether it said EHLO.
    @ivar account: whose session it is, C{None} before AUTH.
    @ivar transaction: the one under way.
    @ivar closing: set to end the session after this command.
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
    ) -> None:
        self.stream = stream
        self.settings = settings
        self.registry = registry
        self.target = target
        self.policies = policies
        self.portal = portal
        self.mechanisms = mechanisms
        self.hasTLS = hasTLS
        self.login = (
            None if portal is None else Login(portal, stream.sleep, settings.maxLoginFailures)
        )
        self.helo: str | None = None
        self.extended = False
        self.account: IAccount | None = None
        self.transaction: Transaction | None = None
        self.closing = False
        self.errors = 0
        self.transactions = 0

    async def run(self) -> None:
        """
        Serve the connection to its end.
        """
        stream = self.stream
        stream.timeout = self.settings.timeout
        try:
            try:
                await self.policies.connection(stream.info)
            except MailError as error:
                stream.write(errorReply(error))
                return
            stream.write(reply(220, f"{self.settings.hostname} ESMTP"))
            while not self.closing:
                await self._command()
        except SessionEnded as ended:
            text = "closing: timeout" if ended.reason == SessionEnded.TIMEOUT else "shutting down"
            stream.write(reply(421, f"{self.settings.hostname} {text}", "4.4.2"))
        finally:
            self.reset()

    async def _command(self) -> None:
        stream = self.stream
        try:
            line = await stream.readLine(self.registry.longestLine, strict=True)
        except LimitExceeded:
            self._failed(LimitExceeded("Line too long"))
            return
        verb, argument = splitCommand(line)
        command = self.registry.commands.get(verb)
        if command is None:
            self._failed(MailError("Command not recognised", smtpCode=500, enhancedStatus="5.5.1"))
            return
        if len(line) + 2 > self.registry.lineLimits[verb]:
            self._failed(LimitExceeded("Line too long"))
            return
        if self.settings.submission and not command.beforeAuthentication and self.account is None:
            self._failed(MailError("Authentication required", smtpCode=530, enhancedStatus="5.7.0"))
            return
        try:
            await command.execute(self, argument)
        except MailError as error:
            self._failed(error)
        except (ConnectionClosed, SessionEnded, PlaintextInjected):
            raise
        except Exception:
            self.log.failure("{verb} failed", verb=verb.decode("ascii"))
            # What state the transaction is in isn't known any more.
            self.reset()
            self._failed(TemporaryFailure())

    def _failed(self, error: MailError) -> None:
        self.errors += 1
        if self.errors > self.settings.maxErrors:
            self.stream.write(reply(421, f"{self.settings.hostname} too many errors", "4.7.0"))
            self.closing = True
        else:
            self.stream.write(errorReply(error))

    def reset(self) -> None:
        """
        Forget the transaction.
        """
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            transaction.delivery.abort()

    def forget(self) -> None:
        """
        Forget everything that was said, as after STARTTLS (RFC 3207 §4.2).
        """
        self.reset()
        self.helo = None
        self.extended = False
        self.account = None

    def ok(self, text: str = "OK", enhancedStatus: str = "2.0.0", code: int = 250) -> None:
        """
        Write a reply of success.
        """
        self.stream.write(reply(code, text, enhancedStatus))

    def newQueueId(self) -> str:
        """
        @return: a name for a message: a time, so that the log can be searched, and chance.
        """
        return f"{int(time() * 1000):011X}{secrets.token_hex(3).upper()}"
