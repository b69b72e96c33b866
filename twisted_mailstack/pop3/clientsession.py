# -*- test-case-name: tests.pop3.test_clientsession -*-
"""
The client's side of a POP3 session (RFC 1939): commands one by one or pipelined (RFC 2449 §6.6),
multi-line responses whole or as a stream.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import a2b_base64
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from hashlib import md5
from typing import NamedTuple, Protocol

from twisted_mailstack.errors import (
    AuthenticationFailed,
    ConnectionClosed,
    MailError,
    SessionEnded,
    SyntaxProblem,
)
from twisted_mailstack.interfaces import IClientMechanism, ISASLClientExchange
from twisted_mailstack.sasl.saslprep import saslprep
from twisted_mailstack.wire.dots import DotReader
from twisted_mailstack.wire.stream import LineTooLong, Stream

#: Octets of a response's first line. RFC 2449 §4 says 512; challenges of mechanisms are longer.
MAX_LINE = 16 * 1024
#: Octets of a command with its CRLF (RFC 2449 §4).
MAX_COMMAND = 255
#: Octets of a multi-line response that is read into memory.
MAX_OCTETS = 256 * 1024 * 1024
#: Octets of a multi-line response that are read at a time.
WINDOW = 64 * 1024
#: Commands that are under way at once where the server can do that. They are short, so that the
#: server's end can always take them (RFC 2449 §6.6).
PIPELINE = 32
#: RFC 2449 §8, RFC 3206: what may be otherwise later.
_TEMPORARY = ("IN-USE", "LOGIN-DELAY", "SYS/TEMP")

_STATUS = re.compile(rb"(\+OK|-ERR)(?: (?:\[([^\]\r\n]*)\] ?)?(.*))?\Z", re.DOTALL)
_TIMESTAMP = re.compile(rb"<[!-;=?-~]+@[!-;=?-~]+>")


class MalformedResponse(Exception):
    """The server says what isn't POP3. The connection is closed."""


class Refused(MailError):
    """
    The server answered C{-ERR}; its response code is C{pop3Code} (RFC 2449 §8), upper case.
    """

    def __init__(self, text: str, pop3Code: str | None = None) -> None:
        temporary = pop3Code in _TEMPORARY
        super().__init__(text or "Refused", smtpCode=450 if temporary else None, pop3Code=pop3Code)


class Sink(Protocol):
    """
    Where a message is written to: an
    L{IContentWriter<twisted_mailstack.interfaces.IContentWriter>} is one.
    """

    def write(self, data: bytes) -> Awaitable[None] | None:
        """
        @return: something to wait for before the next, or C{None}.
        """


class Gathered:
    """
    A sink in memory.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._octets = 0

    def write(self, data: bytes) -> None:
        """See L{Sink}."""
        self._octets += len(data)
        if self._octets > MAX_OCTETS:
            raise MalformedResponse("its response is too long")
        self._parts.append(data)

    @property
    def octets(self) -> bytes:
        """What was written."""
        return b"".join(self._parts)


class Request(NamedTuple):
    """
    A command.

    @ivar line: without its CRLF.
    @ivar sink: of its multi-line response; C{None} if it has none.
    """

    line: bytes
    sink: Sink | None = None


class POP3ClientSession:
    """
    One connection.

    @ivar capabilities: what the server last said that it can: by upper-case name its parameters;
        C{None}: not known.
    @ivar timestamp: of the greeting, for APOP; C{b""} if it has none.
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
        self.capabilities: dict[str, list[str]] | None = None
        self.timestamp = b""
        self.authenticated = False
        self.usable = False
        stream.timeout = timeout

    # --- the beginning -------------------------------------------------------------------------

    async def greet(self) -> str:
        """
        Read the greeting (RFC 1939 §4).

        @return: its text.
        @raise Refused: if the server doesn't want us.
        @raise MalformedResponse: if it doesn't speak POP3.
        """
        text = await self._status()
        match = _TIMESTAMP.search(text)
        self.timestamp = match.group() if match else b""
        self.usable = True
        return text.decode("utf-8", "replace")

    async def learnCapabilities(self) -> dict[str, list[str]]:
        """
        @return: what the server can do (RFC 2449 §5); asked only if it isn't known. Nothing, if it
            doesn't know the question.
        """
        if self.capabilities is None:
            found: dict[str, list[str]] = {}
            try:
                for line in await self.lines(b"CAPA"):
                    words = line.decode("utf-8", "replace").split()
                    if words:
                        found[words[0].upper()] = words[1:]
            except Refused:
                pass
            self.capabilities = found
        return self.capabilities

    async def startTLS(self) -> None:
        """
        STLS (RFC 2595 §4). What was known of the server is forgotten.

        @raise Refused: if the server doesn't.
        @raise PlaintextInjected: if something came behind its OK, which anybody may have put there.
        """
        await self.command(b"STLS")
        self.capabilities = None
        self.stream.startTLS()

    async def logIn(self, username: bytes, password: bytes) -> None:
        """
        USER and PASS (RFC 1939 §7).

        @raise AuthenticationFailed: if the server refuses.
        @raise SyntaxProblem: if they can't be sent so.
        """
        for each in (username, password):
            if not each or any(octet in each for octet in b"\r\n\0"):
                raise SyntaxProblem("There is no such name or password in POP3")
        try:
            await self.command(b"USER " + username)
            await self.command(b"PASS " + password)
        except Refused as refused:
            raise _failedLogin(refused) from None
        self._loggedIn()

    async def apop(self, username: bytes, password: bytes) -> None:
        """
        APOP (RFC 1939 §7). Whoever listens can guess the password at leisure.

        @raise AuthenticationFailed: if the server refuses.
        @raise SyntaxProblem: if it has no timestamp, or that can't be said.
        """
        if not self.timestamp or not username or any(octet in username for octet in b"\r\n\0"):
            raise SyntaxProblem("APOP isn't possible")
        # RFC 6856 §2.2
        secret = saslprep(password.decode("utf-8")).encode("utf-8")
        digest = md5(self.timestamp + secret, usedforsecurity=False).hexdigest()
        try:
            await self.command(b"APOP %b %b" % (username, digest.encode("ascii")))
        except Refused as refused:
            raise _failedLogin(refused) from None
        self._loggedIn()

    async def authenticate(
        self, mechanism: IClientMechanism, exchange: ISASLClientExchange
    ) -> None:
        """
        AUTH (RFC 5034), with an initial response where it fits into a command.

        @raise AuthenticationFailed: if the server refuses, or isn't to be trusted.
        """
        line = b"AUTH " + mechanism.name
        initial = exchange.respond(None)
        if initial is not None:
            #   initial-response = base64 / "="
            encoded = b64encode(initial) or b"="
            if len(line) + len(encoded) + 3 <= MAX_COMMAND:
                line += b" " + encoded
                initial = None
        problem: MailError | None = None
        try:
            self._send(line)
            while (challenge := await self._challenge()) is not None:
                if problem is not None:
                    # It goes on all the same.
                    raise problem
                try:
                    # One that wasn't sent before is the response to the first challenge.
                    answer, initial = initial, None
                    if answer is None:
                        answer = exchange.respond(_decode(challenge)) or b""
                except MailError as error:
                    # RFC 5034 §4: a line with nothing but an asterisk cancels.
                    problem = error
                    self._send(b"*")
                else:
                    self._send(b64encode(answer))
        except Refused as refused:
            raise problem or _failedLogin(refused) from None
        except BaseException:
            self.leave()
            raise
        try:
            if problem is not None:
                raise problem
            exchange.accepted()
        except MailError:
            # It says that we are logged in, and isn't who it should be.
            self.leave()
            raise
        self._loggedIn()

    async def _challenge(self) -> bytes | None:
        line = await self._line()
        #   continue-req = "+" SP [base64] CRLF
        if line == b"+" or line.startswith(b"+ "):
            return line[2:]
        self._read(line)
        return None

    def _loggedIn(self) -> None:
        # RFC 2449 §5: they may be others in the next state.
        self.authenticated = True
        self.capabilities = None

    # --- commands ------------------------------------------------------------------------------

    async def command(self, line: bytes, sink: Sink | None = None) -> str:
        """
        Send a command, and read until it is done.

        @param line: without its CRLF.
        @param sink: of its multi-line response; C{None} if it has none.
        @return: the text of C{+OK}.
        @raise Refused: if the server answers C{-ERR}.
        @raise MalformedResponse: if what it says can't be read; the connection is closed.
        @raise ConnectionClosed: if it is lost; L{SessionEnded} if the server is silent for too
            long.
        """
        (result,) = await self.pipeline([Request(line, sink)])
        if isinstance(result, Refused):
            raise result
        return result

    async def lines(self, line: bytes) -> list[bytes]:
        """
        As L{command}.

        @return: the lines of its multi-line response.
        """
        sink = Gathered()
        await self.command(line, sink)
        return sink.octets.split(b"\r\n")[:-1]

    async def pipeline(
        self,
        requests: Iterable[Request],
        answered: Callable[[str | Refused], Awaitable[None]] | None = None,
    ) -> list[str | Refused]:
        """
        Send commands without waiting for each response, where the server can do that, and a bounded
        number at once.

        @param requests: the next is taken when it can be sent.
        @param answered: given each result, before the next response is read.
        @return: for each the text of its C{+OK}, or its refusal; none, if C{answered} had them.
        @raise MalformedResponse: as L{command}, and the others. Whatever is raised, by sinks too,
            the connection is closed.
        """
        if not self.usable:
            raise ConnectionClosed()
        several = self.capabilities is not None and "PIPELINING" in self.capabilities
        most = PIPELINE if several else 1
        results: list[str | Refused] = []
        pending: deque[Request] = deque()
        source = iter(requests)
        more = True
        try:
            while more or pending:
                while more and len(pending) < most:
                    request = next(source, None)
                    if request is None:
                        more = False
                    else:
                        self._send(request.line)
                        pending.append(request)
                if pending:
                    result = await self._response(pending.popleft())
                    if answered is None:
                        results.append(result)
                    else:
                        await answered(result)
        except BaseException:
            # What comes next can't be told from what belongs to this.
            self.leave()
            raise
        return results

    def _send(self, line: bytes) -> None:
        if any(octet in line for octet in b"\r\n\0"):
            raise SyntaxProblem("A command is one line")
        self.stream.write(line + b"\r\n")

    async def _response(self, request: Request) -> str | Refused:
        try:
            text = (await self._status()).decode("utf-8", "replace")
        except Refused as refused:
            return refused
        if request.sink is None:
            return text
        reader = DotReader()
        while not reader.finished:
            data = reader.feed(await self.stream.readSome(WINDOW))
            if data:
                waiting = request.sink.write(data)
                if waiting is not None:
                    await waiting
        if reader.rest:
            self.stream.unread(reader.rest)
        return text

    async def _line(self) -> bytes:
        try:
            return await self.stream.readLine(MAX_LINE)
        except LineTooLong:
            raise MalformedResponse("its line is too long") from None

    async def _status(self) -> bytes:
        return self._read(await self._line())

    def _read(self, line: bytes) -> bytes:
        match = _STATUS.match(line)
        if match is None:
            raise MalformedResponse("it neither agrees nor refuses")
        status, code, text = match.groups()
        if status == b"+OK":
            return line[4:]
        raise Refused(
            (text or b"").decode("utf-8", "replace"),
            None if code is None else code.decode("utf-8", "replace").upper(),
        )

    # --- the end -------------------------------------------------------------------------------

    async def quit(self) -> None:
        """
        QUIT (RFC 1939 §6): what was marked is deleted now, and the connection closed.

        @raise Refused: if it isn't, or not all of it.
        """
        try:
            await self.command(b"QUIT")
        finally:
            self.leave()

    async def logOut(self, patience: float = 10.0) -> None:
        """
        QUIT, and close. Never raises for what the server does.

        @param patience: seconds to wait for its answer.
        """
        if self.usable:
            self.stream.timeout = patience
            try:
                await self.quit()
            except (MailError, MalformedResponse, ConnectionClosed, SessionEnded):
                # It is over either way.
                pass
        self.leave()

    def leave(self) -> None:
        """
        Close without a word: nothing is deleted.
        """
        self.usable = False
        self.stream.close()


def _decode(text: bytes) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True) if text else b""
    except ValueError:
        raise AuthenticationFailed("The server asks what is not base64") from None


def _failedLogin(refused: Refused) -> MailError:
    # These say nothing of the password.
    code = refused.pop3Code
    if code is not None and (code in _TEMPORARY or code.startswith("SYS/")):
        return refused
    return AuthenticationFailed(refused.text, pop3Code=code)
