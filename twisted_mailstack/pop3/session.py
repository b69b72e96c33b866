# -*- test-case-name: tests.pop3.test_session -*-
"""
The server's side of a POP3 session (RFC 1939), as one coroutine. Every command comes from the
tables of L{Registry}; errors become C{-ERR} here and only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from secrets import randbits
from time import time

from twisted.cred.portal import Portal
from twisted.logger import Logger

from twisted_mailstack.auth.login import Login
from twisted_mailstack.errors import (
    ConnectionClosed,
    LimitExceeded,
    LoginTooSoon,
    MailError,
    PlaintextInjected,
    SessionEnded,
    SyntaxProblem,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import (
    IAccount,
    IKeyedMemory,
    IMaildropSurvey,
    ISecretSource,
    IServerMechanism,
)
from twisted_mailstack.model.records import NEVER, MaildropSurvey
from twisted_mailstack.pop3.extension import Command, Extension, State
from twisted_mailstack.pop3.maildrop import Maildrop
from twisted_mailstack.wire.stream import Stream


@dataclass(frozen=True, kw_only=True)
class POP3Settings:
    """
    @ivar hostname: what the server calls itself.
    @ivar timeout: seconds without a command before autologout; RFC 1939 §3: at least 10 minutes.
    @ivar loginTimeout: the same before login.
    @ivar maxErrors: commands that may be wrong before the session is closed.
    @ivar maxLoginFailures: before the session is closed.
    @ivar allowPlaintextAuth: passwords without TLS, for loopback only.
    @ivar loginDelay: seconds that an account has to wait between two logins (RFC 2449 §6.5); 0 for
        none.
    @ivar expireDays: after how many days what a client has fetched is removed, at the end of a
        session (RFC 2449 §6.7); 0: at the end of the same session; C{None} for never.
    """

    hostname: str
    timeout: float = 600.0
    loginTimeout: float = 600.0
    maxErrors: int = 20
    maxLoginFailures: int = 3
    allowPlaintextAuth: bool = False
    loginDelay: int = 0
    expireDays: int | None = None

    def __post_init__(self) -> None:
        if min(self.timeout, self.loginTimeout) < 600:
            raise ValueError("timeouts must be at least 600 seconds (RFC 1939 §3)")
        if self.loginDelay < 0 or (self.expireDays or 0) < 0:
            raise ValueError("neither loginDelay nor expireDays is negative (RFC 2449 §6)")


class Registry:
    """
    The tables of a server, made once.

    @ivar commands: those of each state, by name.
    @ivar longest: octets of the longest line that each state needs.
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
        self.longest = {
            state: max(command.longest for command in self.commands[state].values())
            for state in State
        }


class POP3Session:
    """
    One connection.

    @ivar state: which commands may be given.
    @ivar user: what USER said.
    @ivar maildrop: once logged in.
    @ivar timestamp: that of the greeting, C{b""} where no APOP is possible (RFC 1939 §7).
    @ivar utf8: whether the client said UTF8 (RFC 6856 §2.1).
    @ivar closing: set to end the session after this command.
    @ivar retrieved: messages sent whole; C{removed}: deleted at the end.
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
        *,
        secrets: ISecretSource | None = None,
        memory: IKeyedMemory | None = None,
        survey: IMaildropSurvey | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        """
        @param secrets: for APOP; C{None}: it isn't there.
        @param memory: knows of earlier logins; C{None}: there is no delay between them.
        @param survey: knows what accounts have of their own; C{None}: that doesn't count.
        @param now: seconds since 1970, as C{memory} has them.
        """
        self.stream = stream
        self.settings = settings
        self.registry = registry
        self.mechanisms = mechanisms
        self.hasTLS = hasTLS
        self.login = Login(portal, stream.sleep, settings.maxLoginFailures)
        self.state = State.AUTHORIZATION
        self.user: bytes | None = None
        self.maildrop: Maildrop | None = None
        self.secrets = secrets
        self.timestamp = b""
        if secrets is not None:
            #   "in the form of a msg-id", another for each connection
            self.timestamp = b"<%d.%d@%b>" % (randbits(64), now(), settings.hostname.encode())
        self.utf8 = False
        self._memory = memory
        self._survey = survey
        self._now = now
        self.closing = False
        self.retrieved = 0
        self.removed = 0
        self._errors = 0
        self._who = "-"
        self._end = "quit"

    @property
    def plaintextAllowed(self) -> bool:
        """Whether a password may be sent now."""
        return self.stream.info.secure or self.settings.allowPlaintextAuth

    @property
    def usualLoginDelay(self) -> int:
        """Seconds between two logins of accounts that have nothing of their own."""
        return 0 if self._memory is None else self.settings.loginDelay

    def loginDelay(self, maildrop: Maildrop) -> int:
        """
        @return: seconds between two logins of the account.
        """
        own = maildrop.settings.loginDelay
        known = self._memory is not None and self._survey is not None
        return self.usualLoginDelay if own is None or not known else own

    @property
    def expireDays(self) -> int:
        """
        Days after which what was fetched is removed, or C{NEVER}: of this account, once it is
        known which.
        """
        own = self.settings.expireDays
        if self.maildrop is not None:
            if not self.maildrop.remembers:
                return NEVER
            if self._survey is not None and self.maildrop.settings.expireDays is not None:
                own = self.maildrop.settings.expireDays
        return NEVER if own is None else own

    async def surveyMaildrops(self) -> MaildropSurvey:
        """
        @return: what accounts have of their own, as far as it counts.
        """
        if self._survey is None:
            return MaildropSurvey()
        found = await self._survey.surveyMaildrops()
        return found if self._memory is not None else found._replace(loginDelays=None)

    def now(self) -> int:
        """
        @return: seconds since 1970.
        """
        return int(self._now())

    async def run(self) -> None:
        """
        Serve the connection to its end.
        """
        stream = self.stream
        stream.timeout = self.settings.loginTimeout
        # The host's name comes last: a text that began with its bracket were a response code.
        hostname = self.settings.hostname.encode()
        self.ok(b"POP3 ready %b" % (self.timestamp or b"at " + hostname))
        try:
            while not self.closing:
                await self._command()
        except SessionEnded as ended:
            self._end = ended.reason
            # RFC 1939 §3: autologout sends no response, and doesn't enter UPDATE.
            if ended.reason != SessionEnded.TIMEOUT:
                stream.write(b"-ERR [SYS/TEMP] shutting down, nothing was deleted\r\n")
        except ConnectionClosed:
            self._end = "disconnected"
            raise
        finally:
            if self.maildrop is not None:
                self.maildrop.release()
                self.log.info(
                    "{service}: logout: user={user} peer={peer} retrieved={retrieved}"
                    " deleted={deleted} end={end}",
                    service=stream.info.service,
                    user=self._who,
                    peer=stream.info.peer,
                    retrieved=self.retrieved,
                    deleted=self.removed,
                    end=self._end,
                )
            self.login.logOut()

    async def _command(self) -> None:
        try:
            line = await self.stream.readLine(self.registry.longest[self.state])
            #   command = keyword *(SP param) CRLF
            name, _, rest = line.partition(b" ")
            command = self._find(name.upper())
            if len(line) + 2 > command.longest:
                raise LimitExceeded()
            await command.execute(self, *_parameters(command, rest))
        except MailError as error:
            self.failed(error)
        except (ConnectionClosed, SessionEnded, PlaintextInjected):
            raise
        except Exception:
            self.log.failure("a command failed")
            self.failed(TemporaryFailure())

    def _find(self, name: bytes) -> Command:
        command = self.registry.commands[self.state].get(name)
        if command is None:
            known = name in self.registry.known
            raise SyntaxProblem("Not in this state" if known else "Unknown command")
        return command

    def failed(self, error: MailError) -> None:
        """
        Write the response for an error.
        """
        code = b"[%b] " % error.pop3Code.encode("ascii") if error.pop3Code else b""
        self.stream.write(b"-ERR %b%b\r\n" % (code, error.text.encode("utf-8")))
        # Who is logged in may ask for many messages that another session has removed.
        if self.state is State.AUTHORIZATION or isinstance(error, (SyntaxProblem, LimitExceeded)):
            self._errors += 1
        if self._errors >= self.settings.maxErrors or self.login.exhausted:
            self.closing = True
            self._end = "errors"

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
        @raise LoginTooSoon: if the account has to wait.
        """
        self.user = None
        account = await self.login.attempt(credentials, mechanism, self.stream.info)
        try:
            maildrop = await Maildrop.open(account)
            try:
                await self._noteLogin(account, self.loginDelay(maildrop))
            except BaseException:
                maildrop.release()
                raise
        except BaseException:
            self.login.logOut()
            raise
        self.maildrop = maildrop
        self.state = State.TRANSACTION
        self._who = str(account.address)
        self.stream.timeout = self.settings.timeout
        self.ok(b"%d messages, %d octets" % (self.maildrop.count, self.maildrop.size))

    async def _noteLogin(self, account: IAccount, delay: int) -> None:
        # One step, so that of two at the same time one is refused, in whatever processes they are.
        if not delay or self._memory is None:
            return
        key, ours = f"pop3:{account.accountId}", randbits(52)
        entry = (key, ours, self.now() + delay)
        if (await self._memory.introduce([entry]))[key] != ours:
            raise LoginTooSoon()

    def forget(self) -> None:
        """
        Forget what was said before TLS (RFC 2595 §4).
        """
        self.user = None


def _parameters(command: Command, rest: bytes) -> Sequence[bytes]:
    if command.verbatim:
        return (rest,)
    parameters = rest.split()
    if len(parameters) < command.least:
        raise SyntaxProblem("A parameter is missing")
    if len(parameters) > command.most:
        raise SyntaxProblem("Too many parameters")
    return parameters
