# -*- test-case-name: tests.imap.test_clientsession -*-
"""
The client's side of an IMAP session (RFC 3501, RFC 9051): commands, literals, and what the server
says unasked.

One command at a time. A command's responses are what came until its tagged one; what of them the
command didn't ask for, and all that came between commands, is kept in the session's state:
L{IMAPClientSession.capabilities}, L{IMAPClientSession.mailbox}.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from twisted_mailstack.errors import AuthenticationFailed, ConnectionClosed, MailError, SessionEnded
from twisted_mailstack.imap.encode import astring
from twisted_mailstack.imap.responses import (
    Code,
    Continuation,
    Data,
    MalformedResponse,
    Response,
    SinkFor,
    Status,
    numberOf,
    octetsOf,
    readResponse,
)
from twisted_mailstack.interfaces import IClientMechanism, ISASLClientExchange
from twisted_mailstack.model.flags import NO_FLAGS, Flags
from twisted_mailstack.model.mailboxname import encodeName
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.wire.stream import Stream

#: Octets of a literal that are sent at a time.
WINDOW = 64 * 1024
#: RFC 7888 §5: what LITERAL- lets a client send without being asked.
SMALL_LITERAL = 4096
#: RFC 2177: "clients using IDLE are advised to terminate the IDLE and re-issue it at least every
#: 29 minutes".
IDLE_TIME = 29 * 60.0


class Readable(Protocol):
    """
    Where a message is read from: an
    L{IMessageContent<twisted_mailstack.interfaces.IMessageContent>} is one.

    @ivar size: octets.
    """

    size: int

    def read(self, offset: int, length: int) -> Awaitable[bytes]:
        """
        @return: the octets of that range, cut at the end.
        """


class Literal(NamedTuple):
    """
    Octets in the midst of a command.

    @ivar content: C{bytes}, or what they are read from.
    @ivar binary: as literal8 (RFC 3516 §4.4), which may have NUL octets.
    """

    content: bytes | Readable
    binary: bool = False


class Refused(MailError):
    """
    The server answered NO or BAD.

    @ivar status: its response.
    """

    def __init__(self, status: Status) -> None:
        super().__init__(
            status.text or "Refused", imapCode=None if status.code is None else status.code.name
        )
        self.status = status

    @property
    def bad(self) -> bool:
        """Whether it found the command malformed, or unknown."""
        return self.status.kind == "BAD"


class Result(NamedTuple):
    """
    What a command brought.

    @ivar status: the tagged OK.
    @ivar responses: the untagged ones until then, as far as nobody took them, in order.
    """

    status: Status
    responses: list[Response]

    def data(self, name: str) -> list[Data]:
        """
        @return: the responses of that name.
        """
        return [each for each in self.responses if isinstance(each, Data) and each.name == name]

    def code(self, name: str) -> Code | None:
        """
        @return: the response code of that name, of the tagged response or an untagged one.
        """
        for each in (self.status, *self.responses):
            if isinstance(each, Status) and each.code is not None and each.code.name == name:
                return each.code
        return None


@dataclass
class SelectedMailbox:
    """
    What is known of the selected mailbox; kept up while it is selected.

    @ivar name: as it was selected.
    @ivar readOnly: so selected.
    @ivar messages: how many there are (EXISTS).
    @ivar recent: how many are recent.
    @ivar flags: that the mailbox has; C{permanentFlags}: that can be changed for good, C{\\*}
        among them if new ones can be made.
    @ivar uidValidity: 0 if the server has no lasting UIDs.
    @ivar uidNext: as of SELECT, 0 if it wasn't told.
    @ivar highestModSeq: 0 if the mailbox has none (RFC 7162 §3.1.2).
    @ivar mailboxId: RFC 8474's, empty if it wasn't told.
    """

    name: str
    readOnly: bool = False
    messages: int = 0
    recent: int = 0
    flags: Flags = NO_FLAGS
    permanentFlags: frozenset[str] = frozenset()
    uidValidity: int = 0
    uidNext: int = 0
    highestModSeq: int = 0
    mailboxId: str = ""


@dataclass
class _Command:
    tag: str
    each: Callable[[Response], bool] | None
    responses: list[Response] = field(default_factory=list)


class IMAPClientSession:
    """
    One connection.

    @ivar capabilities: what the server last said that it can, upper case; empty: not known.
    @ivar enabled: what ENABLE turned on, upper case.
    @ivar mailbox: the selected mailbox, C{None} if there is none.
    @ivar authenticated: whether the server knows who we are.
    @ivar usable: whether a command can be sent.
    """

    def __init__(self, stream: Stream, remote: str = "the server", timeout: float = 300.0) -> None:
        """
        @param remote: its name, for people.
        @param timeout: seconds that the server may be silent.
        """
        self.stream = stream
        self.remote = remote
        self.capabilities: frozenset[str] = frozenset()
        self.enabled: set[str] = set()
        self.mailbox: SelectedMailbox | None = None
        self.authenticated = False
        self.usable = False
        self._timeout = timeout
        self._number = 0
        self._idling = False
        self._stopIdle = False
        self.stream.timeout = timeout

    # --- the beginning -------------------------------------------------------------------------

    async def greet(self) -> Status:
        """
        Read the greeting (RFC 9051 §7.1).

        @raise Refused: if the server says BYE.
        @raise MalformedResponse: if it doesn't speak IMAP.
        """
        greeting = await readResponse(self.stream)
        if not isinstance(greeting, Status) or greeting.tag != "*":
            raise MalformedResponse("it doesn't greet")
        self._take(greeting)
        if greeting.kind not in ("OK", "PREAUTH"):
            raise Refused(greeting)
        self.authenticated = greeting.kind == "PREAUTH"
        self.usable = True
        return greeting

    async def startTLS(self) -> None:
        """
        STARTTLS (RFC 9051 §6.2.1). What was known of the server is forgotten.

        @raise Refused: if the server doesn't.
        @raise PlaintextInjected: if something came behind its OK, which anybody may have put there.
        """
        await self.command(b"STARTTLS")
        self.capabilities = frozenset()
        self.stream.startTLS()

    async def learnCapabilities(self) -> frozenset[str]:
        """
        @return: what the server can do; asked only if it isn't known.
        """
        if not self.capabilities:
            await self.command(b"CAPABILITY")
        return self.capabilities

    async def logIn(self, username: bytes, password: bytes) -> None:
        """
        LOGIN (RFC 9051 §6.2.3). L{authenticate} is better.

        @raise AuthenticationFailed: if the server refuses.
        """
        self._forgetCapabilities()
        try:
            await self.command(b"LOGIN ", *self.astring(username), b" ", *self.astring(password))
        except Refused as refused:
            raise _failedLogin(refused) from None
        self.authenticated = True

    async def authenticate(
        self, mechanism: IClientMechanism, exchange: ISASLClientExchange
    ) -> None:
        """
        AUTHENTICATE (RFC 9051 §6.2.2), with an initial response where the server takes one (RFC
        4959).

        @raise AuthenticationFailed: if the server refuses, or isn't to be trusted.
        """
        withInitial = "SASL-IR" in await self.learnCapabilities()
        self._forgetCapabilities()
        line = b"AUTHENTICATE " + mechanism.name
        initial = exchange.respond(None)
        if initial is not None and withInitial:
            #   initial-resp = (base64 / "=")
            line += b" " + (b64encode(initial) or b"=")
            initial = None
        try:
            response, problem = await self._exchange(line, exchange, initial)
        except BaseException:
            self.leave()
            raise
        if response.kind != "OK":
            raise problem or _failedLogin(Refused(response))
        if problem is None:
            try:
                exchange.accepted()
            except AuthenticationFailed as error:
                problem = error
        if problem is not None:
            # It says that we are logged in, and isn't who it should be.
            self.leave()
            raise problem
        self.authenticated = True

    async def _exchange(
        self, line: bytes, exchange: ISASLClientExchange, initial: bytes | None
    ) -> tuple[Status, MailError | None]:
        problem: MailError | None = None
        command = self._begin(line + b"\r\n")
        while True:
            response = await self._until(command)
            if isinstance(response, Status):
                return response, problem
            if problem is not None:
                # It goes on all the same.
                raise problem
            try:
                challenge = a2b_base64(response.text, strict_mode=True) if response.text else b""
                # One that wasn't sent before is the response to the first challenge.
                answer, initial = initial, None
                if answer is None:
                    answer = exchange.respond(challenge) or b""
            except ValueError:
                problem = AuthenticationFailed("The server asks what is not base64")
            except MailError as error:
                problem = error
            else:
                self.stream.write(b64encode(answer) + b"\r\n")
                continue
            # RFC 9051 §6.2.2: a line with nothing but an asterisk cancels.
            self.stream.write(b"*\r\n")

    def _forgetCapabilities(self) -> None:
        # "A server MAY include a CAPABILITY response code in the tagged OK response of a successful
        # AUTHENTICATE command": what it said before doesn't hold then.
        self.capabilities = frozenset()

    # --- commands ------------------------------------------------------------------------------

    def astring(self, value: bytes) -> tuple[bytes | Literal, ...]:
        """
        @return: the parts of a command that stand for these octets.
        """
        #   QUOTED-CHAR = <any TEXT-CHAR except quoted-specials>: ASCII, unless UTF-8 is enabled.
        if value.isascii() and not any(octet in value for octet in b"\r\n\0"):
            return (astring(value) if len(value) <= 1000 else Literal(value),)
        return (Literal(value),)

    def mailboxName(self, name: str) -> tuple[bytes | Literal, ...]:
        """
        @return: likewise, for the name of a mailbox.
        """
        utf8 = bool(self.enabled & {"UTF8=ACCEPT", "IMAP4REV2"})
        encoded = encodeName(name, utf8)
        if utf8 and not encoded.isascii():
            return (b'"' + encoded.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"',)
        return self.astring(encoded)

    async def command(
        self,
        *parts: bytes | Literal,
        each: Callable[[Response], bool] | None = None,
        sinkFor: SinkFor | None = None,
    ) -> Result:
        """
        Send a command, and read until it is done.

        @param parts: the command behind its tag: octets and literals, without the final CRLF.
        @param each: given each untagged response as it comes; whether it took it: it isn't kept
            then.
        @param sinkFor: where literals of responses go.
        @raise Refused: if the server answers NO or BAD.
        @raise MalformedResponse: if what it says can't be read; the connection is closed.
        @raise ConnectionClosed: if it is lost; L{SessionEnded} if the server is silent for too
            long.
        """
        if not self.usable:
            raise ConnectionClosed()
        command: _Command | None = None
        pending = b""
        try:
            for part in parts:
                if isinstance(part, bytes):
                    pending += part
                    continue
                content = part.content
                size = len(content) if isinstance(content, bytes) else content.size
                unasked = self._takesUnasked(size)
                pending += b"%b{%d%b}\r\n" % (
                    b"~" if part.binary else b"",
                    size,
                    b"+" if unasked else b"",
                )
                command = self._send(command, pending, each)
                pending = b""
                if not unasked:
                    response = await self._until(command, sinkFor)
                    if isinstance(response, Status):
                        return self._done(command, response)
                await self._sendContent(content, size)
            command = self._send(command, pending + b"\r\n", each)
            while True:
                response = await self._until(command, sinkFor)
                if isinstance(response, Status):
                    return self._done(command, response)
                # Nothing was promised: it waits for what doesn't come.
                raise MalformedResponse("it asks for more of a command that is complete")
        except Refused:
            raise
        except BaseException:
            # What comes next can't be told from what belongs to this.
            self.leave()
            raise

    def _takesUnasked(self, size: int) -> bool:
        return "LITERAL+" in self.capabilities or (
            size <= SMALL_LITERAL and bool(self.capabilities & {"LITERAL-", "IMAP4REV2"})
        )

    def _begin(self, line: bytes, each: Callable[[Response], bool] | None = None) -> _Command:
        self._number += 1
        command = _Command(f"a{self._number}", each)
        self.stream.write(command.tag.encode("ascii") + b" " + line)
        return command

    def _send(
        self,
        command: _Command | None,
        data: bytes,
        each: Callable[[Response], bool] | None,
    ) -> _Command:
        if command is None:
            return self._begin(data, each)
        self.stream.write(data)
        return command

    async def _sendContent(self, content: bytes | Readable, size: int) -> None:
        if isinstance(content, bytes):
            self.stream.write(content)
            return
        at = 0
        while at < size:
            data = await content.read(at, min(WINDOW, size - at))
            if not data:
                raise MailError("the content is shorter than it said")
            self.stream.write(data)
            at += len(data)
            await self.stream.drain()

    async def _until(
        self, command: _Command, sinkFor: SinkFor | None = None
    ) -> Status | Continuation:
        """
        @return: the next response that decides how the command goes on.
        """
        while True:
            response = await readResponse(self.stream, sinkFor)
            if isinstance(response, Continuation):
                return response
            if isinstance(response, Status) and response.tag != "*":
                if response.tag != command.tag:
                    raise MalformedResponse(f"it answers {response.tag}, which wasn't asked")
                self._takeCode(response)
                return response
            self._take(response)
            if command.each is None or not command.each(response):
                command.responses.append(response)
            if isinstance(response, Status) and response.kind == "BYE":
                self.usable = False

    def _done(self, command: _Command, status: Status) -> Result:
        if status.kind == "OK":
            return Result(status, command.responses)
        raise Refused(status)

    # --- what the server says ------------------------------------------------------------------

    def _take(self, response: Response) -> None:
        if isinstance(response, Status):
            self._takeCode(response)
            return
        if not isinstance(response, Data):
            return
        name, number, values = response
        if name == "CAPABILITY":
            self._learn(values)
        elif name == "ENABLED":
            self.enabled |= {_word(each) for each in values}
        elif self.mailbox is None:
            return
        elif name == "EXISTS" and number is not None:
            self.mailbox.messages = number
        elif name == "RECENT" and number is not None:
            self.mailbox.recent = number
        elif name == "EXPUNGE":
            self.mailbox.messages = max(0, self.mailbox.messages - 1)
        elif name == "FLAGS" and values:
            self.mailbox.flags = flagsOf(values[0])
        elif name == "VANISHED" and values and not isinstance(values[0], tuple):
            self.mailbox.messages = max(0, self.mailbox.messages - _count(values[0]))

    def _takeCode(self, status: Status) -> None:
        code = status.code
        if code is None:
            return
        if code.name == "CAPABILITY":
            self._learn(code.values)
        mailbox = self.mailbox
        if mailbox is None or not code.values:
            return
        value = code.values[0]
        if code.name == "PERMANENTFLAGS":
            mailbox.permanentFlags = flagsOf(value)
        elif code.name == "UIDVALIDITY":
            mailbox.uidValidity = numberOf(value)
        elif code.name == "UIDNEXT":
            mailbox.uidNext = numberOf(value)
        elif code.name == "HIGHESTMODSEQ":
            mailbox.highestModSeq = numberOf(value)
        elif code.name == "MAILBOXID" and isinstance(value, tuple) and value:
            mailbox.mailboxId = octetsOf(value[0]).decode("ascii", "replace")

    def _learn(self, values: Iterable[Any]) -> None:
        self.capabilities = frozenset(_word(each) for each in values)

    # --- selecting -----------------------------------------------------------------------------

    async def select(
        self, name: str, readOnly: bool = False, parameters: bytes = b""
    ) -> tuple[SelectedMailbox, Result]:
        """
        SELECT or EXAMINE (RFC 9051 §6.3.2).

        @param parameters: as RFC 4466 §2.1 has them, in parentheses.
        @return: the mailbox, now C{self.mailbox}, and the responses.
        """
        # Already now: the responses tell of the new one.
        mailbox = self.mailbox = SelectedMailbox(name, readOnly)
        try:
            result = await self.command(
                b"EXAMINE " if readOnly else b"SELECT ",
                *self.mailboxName(name),
                b" " + parameters if parameters else b"",
            )
        except BaseException:
            # Whatever was selected isn't any more (RFC 9051 §6.3.2).
            self.mailbox = None
            raise
        code = result.status.code
        if code is not None and code.name == "READ-ONLY":
            mailbox.readOnly = True
        return mailbox, result

    # --- IDLE ----------------------------------------------------------------------------------

    async def idle(self, timeout: float = IDLE_TIME) -> list[Response]:
        """
        IDLE (RFC 2177): wait until the server says something.

        @param timeout: seconds to wait at most.
        @return: what it said; empty if nothing, or if L{stopIdle} was called.
        """
        stream = self.stream
        command = self._begin(b"IDLE\r\n")
        self._stopIdle = False
        try:
            response = await self._until(command)
            if isinstance(response, Status):
                # What it said before it refused is in the session's state.
                return self._done(command, response).responses
            self._idling = True
            stream.timeout = None
            timer = stream.clock.callLater(timeout, self.stopIdle)
            try:
                while not (self._stopIdle or self._said(command)):
                    if not stream.buffered:
                        await stream.wait()
                        if not stream.buffered:
                            continue
                    stream.timeout = self._timeout
                    response_ = await readResponse(stream)
                    stream.timeout = None
                    if isinstance(response_, Status) and response_.tag != "*":
                        return self._done(command, response_).responses
                    self._take(response_)
                    command.responses.append(response_)
                    if isinstance(response_, Status) and response_.kind == "BYE":
                        self.usable = False
            finally:
                self._idling = False
                if timer.active():
                    timer.cancel()
                stream.timeout = self._timeout
            stream.write(b"DONE\r\n")
            response = await self._until(command)
            if not isinstance(response, Status):
                raise MalformedResponse("it asks for more of IDLE")
            responses = self._done(command, response).responses
        except Refused:
            raise
        except BaseException:
            self.leave()
            raise
        return [each for each in responses if not _isChatter(each)]

    def _said(self, command: _Command) -> bool:
        return any(not _isChatter(each) for each in command.responses)

    def stopIdle(self) -> None:
        """
        End an L{idle} that is under way.
        """
        self._stopIdle = True
        if self._idling:
            self.stream.wake()

    # --- the end -------------------------------------------------------------------------------

    async def logOut(self, patience: float = 10.0) -> None:
        """
        LOGOUT, and close. Never raises for what the server does.

        @param patience: seconds to wait for its answer.
        """
        if self.usable:
            self.stream.timeout = patience
            try:
                await self.command(b"LOGOUT")
            except (MailError, MalformedResponse, ConnectionClosed, SessionEnded):
                # It is over either way.
                pass
        self.leave()

    def leave(self) -> None:
        """
        Close without a word.
        """
        self.usable = False
        self.mailbox = None
        self.stream.close()


def flagsOf(value: Any) -> Flags:
    """
    @return: the flags of a list of them.
    @raise MalformedResponse: if it is none.
    """
    if not isinstance(value, tuple):
        raise MalformedResponse("a list of flags was expected")
    return frozenset(octetsOf(each).decode("ascii", "replace") for each in value)


def _word(value: Any) -> str:
    return octetsOf(value).decode("ascii", "replace").upper()


def _count(value: Any) -> int:
    return len(NumberSet.parse(octetsOf(value)))


def _isChatter(response: Response) -> bool:
    # "* OK Still here" is what servers say to keep a connection alive.
    return isinstance(response, Status) and response.kind == "OK" and response.code is None


def _failedLogin(refused: Refused) -> MailError:
    code = refused.status.code
    # RFC 5530 §3: these say nothing of the password.
    if code is not None and code.name in (
        "UNAVAILABLE",
        "INUSE",
        "LIMIT",
        "SERVERBUG",
        "CORRUPTION",
    ):
        return refused
    return AuthenticationFailed(refused.text, imapCode=refused.imapCode)


__all__: Sequence[str] = (
    "IMAPClientSession",
    "Literal",
    "Refused",
    "Result",
    "SelectedMailbox",
    "flagsOf",
)
