# -*- test-case-name: tests.pop3.test_session -*-
"""
The server's side of a POP3 session (RFC 1939), as one coroutine. Every command comes from the
tables of L{Registry}; errors become C{-ERR} here and only here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twisted.cred.portal import Portal
from twisted.logger import Logger

from twisted_mailstack.auth.login import Login
from twisted_mailstack.errors import (
    ConnectionClosed,
    LimitExceeded,
    MailError,
    PlaintextInjected,
    SessionEnded,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import IServerMechanism
from twisted_mailstack.pop3.extension import Command, Extension, State
from twisted_mailstack.pop3.maildrop import Maildrop
from twisted_mailstack.wire.stream import Stream

#: RFC 2449 §4: 255 octets, CRLF included.
MAX_LINE = 255
#: Of the AUTH command and its responses (RFC 4954's figure; RFC 5034 §4 names none for POP3).
MAX_AUTH_LINE = 12288


@dataclass(frozen=True, kw_only=True)
class POP3Settings:
    """
    @ivar hostname: what the server calls itself.
    @ivar timeout: seconds without a command before autologout; RFC 1939 §3: at least 10 minutes.
    @ivar loginTimeout: the same before login.
    @ivar maxErrors: commands that may fail before the session is closed.
    @ivar maxLoginFailures: before the session is closed.
    @ivar allowPlaintextAuth: passwords without TLS, for loopback only.
    """

    hostname: str
    timeout: float = 600.0
    loginTimeout: float = 60.0
    maxErrors: int = 20
    maxLoginFailures: int = 3
    allowPlaintextAuth: bool = False

    def __post_init__(self) -> None:
        if self.timeout < 600:
            raise ValueError("timeout must be at least 600 seconds (RFC 1939 §3)")


class Registry:
    """
    The tables of a server, made once: the commands of each state.
    """

    def __init__(self, commands: Iterable[Command], extensions: Sequence[Extension]) -> None:
        self.extensions = tuple(extensions)
        self.known = {
            command.name: command
            for command in (
                *commands,
                *(each for extension in extensions for each in extension.commands),
            )
        }
        self.commands = {
            state: {n: command for n, command in self.known.items() if state in command.states}
            for state in State
        }


class POP3Session:
    """
    One connection.

    @ivar state: which commands may be given.
    @ivar user: what USER said.
    @ivar maildrop: once logged in.
    @ivar closing: set to end the session after this command.
    """

    log = Logger()

    def __init__(
        self,
        stream: Stream,
        settings: POP3Settings,
        registry: Registry,
        portal: Portal,
        mechanisms: Sequence[IServerMechanism],
        hasTLS: bool,
    ) -> None:
        self.stream = stream
        self.settings = settings
        self.registry = registry
        self.mechanisms = mechanisms
        self.hasTLS = hasTLS
        self.login = Login(portal, stream.sleep, settings.maxLoginFailures)
        self.state = State.AUTHORIZATION
        self.user: bytes | None = None
        self.maildrop: Maildrop | None = None
        self.closing = False
        self._errors = 0
        self.who = "-"
        self.retrieved = 0

    @property
    def plaintextAllowed(self) -> bool:
        """Whether a password may be sent now."""
        return self.stream.info.secure or self.settings.allowPlaintextAuth

    async def run(self) -> None:
        """
        Serve the connection to its end.
        """
        stream = self.stream
        stream.timeout = self.settings.loginTimeout
        stream.write(b"+OK %b POP3 ready\r\n" % self.settings.hostname.encode())
        try:
            while not self.closing:
                await self._command()
        except SessionEnded as ended:
            # RFC 1939 §3: autologout does not enter UPDATE.
            why = b"idle for too long" if ended.reason == SessionEnded.TIMEOUT else b"shutting down"
            stream.write(b"-ERR [SYS/TEMP] %b, nothing was deleted\r\n" % why)
        finally:
            if self.maildrop is not None:
                self.maildrop.release()
                self.log.info(
                    "{service}: logout: user={user} peer={peer} retrieved={retrieved}"
                    " deleted={deleted}",
                    service=stream.info.service,
                    user=self.who,
                    peer=stream.info.peer,
                    retrieved=self.retrieved,
                    deleted=len(self.maildrop.deleted) if self.closing else 0,
                )

    async def _command(self) -> None:
        longest = MAX_LINE if self.state is State.TRANSACTION else MAX_AUTH_LINE
        try:
            line = await self.stream.readLine(longest)
            verb, _, argument = line.strip(b" \t").partition(b" ")
            verb = verb.upper()
            if len(line) + 2 > MAX_LINE and verb != b"AUTH":
                raise LimitExceeded()
            command = self.registry.commands[self.state].get(verb)
            if command is None:
                if verb in self.registry.known:
                    raise MailError("Not in this state")
                raise MailError("Unknown command")
            await command.execute(self, argument.strip(b" \t"))
        except MailError as error:
            self.failed(error)
        except (ConnectionClosed, SessionEnded, PlaintextInjected):
            raise
        except Exception:
            self.log.failure("a command failed")
            self.failed(TemporaryFailure())

    def failed(self, error: MailError) -> None:
        """
        Write the response for an error.
        """
        code = b"[%b] " % error.pop3Code.encode("ascii") if error.pop3Code else b""
        self.stream.write(b"-ERR %b%b\r\n" % (code, error.text.encode("utf-8")))
        self._errors += 1
        if self._errors >= self.settings.maxErrors or self.login.exhausted:
            self.closing = True
            if self.maildrop is not None:
                # Closed by us: what is marked stays.
                self.maildrop.deleted.clear()

    def ok(self, text: bytes = b"") -> None:
        """
        Write a positive response.
        """
        self.stream.write(b"+OK %b\r\n" % text if text else b"+OK\r\n")

    async def logIn(self, credentials: object, mechanism: str) -> None:
        """
        Try to log in and open the maildrop.

        @raise AuthenticationFailed: after a delay.
        @raise MaildropLocked: if another session has the maildrop.
        """
        self.user = None
        account = await self.login.attempt(credentials, mechanism, self.stream.info)
        self.maildrop = await Maildrop.open(account)
        self.state = State.TRANSACTION
        self.who = str(account.address)
        self.stream.timeout = self.settings.timeout
        self.ok(b"%d messages, %d octets" % (self.maildrop.count, self.maildrop.size))

    def forget(self) -> None:
        """
        Forget what was said before TLS (RFC 2595 §4).
        """
        self.user = None
