# -*- test-case-name: tests.smtp.test_clientsession -*-
"""
The client's side of an SMTP or LMTP session (RFC 5321, RFC 2033), over a L{Stream}.

What a server offers decides how a message goes: in one round trip where it can pipeline (RFC 2920),
in chunks without dot-stuffing where it has CHUNKING (RFC 3030). Parameters of MAIL and RCPT come
from the client's halves of the extensions.

What the server answers to a message is a value for each recipient, never an exception. A connection
that breaks is a temporary result for those whose fate isn't known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted_mailstack.errors import ConnectionClosed, MailError, SessionEnded
from twisted_mailstack.model.address import ReversePath, formatPath
from twisted_mailstack.model.queue import AttemptResult
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.framing import MalformedReply, Reply, readReply
from twisted_mailstack.wire.dots import DotWriter
from twisted_mailstack.wire.stream import Stream

#: Octets of a message in memory while it is sent.
WINDOW = 128 * 1024


class Readable(Protocol):
    """
    A message to be sent: L{IMessageContent<twisted_mailstack.interfaces.IMessageContent>}, or
    anything else that has these.
    """

    size: int

    def read(self, offset: int, length: int) -> Awaitable[bytes]:
        """Octets of that range, cut at the end."""


class BytesContent:
    """
    A message in memory.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    async def read(self, offset: int, length: int) -> bytes:
        """See L{Readable}."""
        return self._data[offset : offset + length]


@dataclass(frozen=True)
class OutgoingMessage:
    """
    @ivar recipients: with RCPT's parameters as the sender wished them; those that the server
        doesn't offer are left out by the extensions' rules.
    @ivar content: lines ended by CRLF.
    @ivar parameters: of MAIL, likewise.
    @ivar age: seconds since it was accepted, for what counts from then on (RFC 2852).
    """

    reversePath: ReversePath
    recipients: Sequence[Recipient]
    content: Readable
    parameters: Mapping[str, str | None]
    age: int = 0


@dataclass(frozen=True, kw_only=True)
class ClientTimeouts:
    """
    Seconds to wait, by RFC 5321 §4.5.3.2.
    """

    greeting: float = 300.0
    command: float = 300.0
    dataInitiation: float = 120.0
    dataBlock: float = 180.0
    dataTermination: float = 600.0


class SMTPClientSession:
    """
    One connection, from the client's side.

    @ivar name: what the client calls itself.
    @ivar remote: what the server is called in results.
    @ivar greeting: the server's, once there.
    @ivar offered: the server's extensions, upper case, and what stood behind their keyword.
    @ivar usable: whether another message can be sent.
    @ivar authenticated: the server knows who we are, by AUTH; set by who did that.
    @ivar transactions: how many were begun.
    @ivar domains: of the recipients that were named.
    """

    def __init__(
        self,
        stream: Stream,
        name: str,
        *,
        remote: str = "",
        lmtp: bool = False,
        extensions: Sequence[Extension] = (),
        timeouts: ClientTimeouts | None = None,
    ) -> None:
        """
        @param extensions: whose client's halves take part.
        """
        self.stream = stream
        self.name = name
        self.remote = remote
        self.lmtp = lmtp
        self.extensions = tuple(extensions)
        self.timeouts = timeouts or ClientTimeouts()
        self.greeting: Reply | None = None
        self.offered: dict[str, str] = {}
        self.usable = False
        self.authenticated = False
        self.transactions = 0
        self.domains: set[str] = set()
        # Whether the server may still be in a transaction.
        self._dirty = False

    # --- beginning -----------------------------------------------------------------------------

    async def greet(self) -> Reply:
        """
        Wait for the greeting and say EHLO (LHLO), or HELO to a server that knows no EHLO.

        @raise MailError: if the server won't serve us, with its code.
        @raise ConnectionClosed: if it went away; L{SessionEnded} at a timeout; L{MalformedReply} if
            it speaks something else.
        """
        self.stream.timeout = self.timeouts.greeting
        self.greeting = await readReply(self.stream)
        if not self.greeting.positive:
            raise self._refused(self.greeting)
        return await self.hello()

    async def hello(self) -> Reply:
        """
        Say EHLO, as again after STARTTLS: what was offered before counts no more.

        @raise MailError: as L{greet}.
        """
        self.offered = {}
        verb = b"LHLO" if self.lmtp else b"EHLO"
        reply = await self.command(verb + b" " + self.name.encode("ascii"), enhanced=False)
        if not reply.positive and not self.lmtp and reply.code // 100 == 5:
            # RFC 5321 §3.2: an old server, which has no extensions.
            reply = await self.command(b"HELO " + self.name.encode("ascii"), enhanced=False)
            if reply.positive:
                self.usable = True
                return reply
        if not reply.positive:
            raise self._refused(reply)
        for line in reply.lines[1:]:
            keyword, _, value = line.partition(" ")
            # Some servers say AUTH=PLAIN, for clients of 1997.
            self.offered.setdefault(keyword.upper(), value.strip())
        self.usable = True
        return reply

    def _refused(self, reply: Reply) -> MailError:
        return MailError(
            reply.text or "Refused", smtpCode=reply.code, enhancedStatus=reply.enhancedStatus
        )

    async def startTLS(self) -> None:
        """
        Begin TLS (RFC 3207) and say EHLO again.

        @raise MailError: if the server refuses.
        """
        reply = await self.command(b"STARTTLS")
        if not reply.positive:
            raise self._refused(reply)
        self.stream.startTLS()
        await self.hello()

    # --- commands ------------------------------------------------------------------------------

    async def command(self, line: bytes, enhanced: bool = True) -> Reply:
        """
        Send one command and wait for its reply.

        @param line: without its end; it must not have CR or LF.
        """
        if b"\r" in line or b"\n" in line:
            raise ValueError("a command is one line")
        self.stream.write(line + b"\r\n")
        return await self._reply(self.timeouts.command, enhanced)

    async def _reply(self, timeout: float, enhanced: bool = True) -> Reply:
        self.stream.timeout = timeout
        reply = await readReply(self.stream, enhanced)
        if reply.code == 421:
            # RFC 5321 §3.8: the server closes.
            self.usable = False
        return reply

    async def reset(self) -> None:
        """
        RSET.

        @raise MailError: if the server refuses.
        """
        reply = await self.command(b"RSET")
        if not reply.positive:
            raise self._refused(reply)
        self._dirty = False

    async def quit(self, patience: float = 10.0) -> None:
        """
        QUIT, and close. Never raises.

        @param patience: seconds to wait for the reply.
        """
        try:
            if not self.stream.closed:
                self.stream.write(b"QUIT\r\n")
                await self._reply(patience)
        except (ConnectionClosed, SessionEnded, MalformedReply):
            pass
        finally:
            self.usable = False
            self.stream.close()

    # --- a message -----------------------------------------------------------------------------

    async def send(self, message: OutgoingMessage) -> list[AttemptResult]:
        """
        Send one message.

        @return: for each recipient, in order, what became of it.
        """
        results: list[AttemptResult | None] = [None] * len(message.recipients)
        try:
            await self._send(message, results)
        except MailError as error:
            own = AttemptResult(error.smtpCode, error.enhancedStatus, error.text)
            return [result or own for result in results]
        except (ConnectionClosed, SessionEnded, MalformedReply) as problem:
            self.usable = False
            if isinstance(problem, MalformedReply):
                text, status = f"It sent what is no reply: {problem}", "4.5.0"
            elif isinstance(problem, SessionEnded):
                text, status = "Timeout while talking to it", "4.4.2"
            else:
                text, status = "It closed the connection in the midst of the dialogue", "4.4.2"
            broken = AttemptResult(451, status, text, self.remote)
            return [result or broken for result in results]
        assert None not in results
        return [result for result in results if result is not None]

    def _result(self, reply: Reply) -> AttemptResult:
        if reply.code // 100 == 3:
            # Neither yes nor no, where nothing is to follow: it has lost its way.
            raise MalformedReply(f"{reply.code}, and nothing to go on with")
        return AttemptResult(
            reply.code, reply.enhancedStatus, reply.text, self.remote, "DSN" in self.offered
        )

    async def _send(self, message: OutgoingMessage, results: list[AttemptResult | None]) -> None:
        for extension in self.extensions:
            if extension.clientPrepare is not None:
                message = await extension.clientPrepare(
                    self, message, self.offered.get(extension.keyword)
                )
        mail = self._mailLine(message)
        rcpts = self._rcptLines(message, results)
        while rcpts:
            count = self._atOnce([message.recipients[number] for number, _ in rcpts])
            if not count:
                self.usable = False
                full = AttemptResult(452, "4.5.3", "It takes no more on one connection")
                for number, _ in rcpts:
                    results[number] = full
                return
            await self._transaction(message, mail, rcpts[:count], results)
            rcpts = rcpts[count:]
            if not self._atOnce(()):
                self.usable = False

    def _atOnce(self, recipients: Sequence[Recipient]) -> int:
        """
        @return: how many of these may be named in one transaction; without any, whether there may
            be one.
        """
        count = len(recipients) or 1
        for extension in self.extensions:
            if extension.clientLimit is not None:
                offered = self.offered.get(extension.keyword)
                count = min(count, extension.clientLimit(self, recipients, offered))
        return count

    async def _transaction(
        self,
        message: OutgoingMessage,
        mail: bytes,
        rcpts: Sequence[tuple[int, bytes]],
        results: list[AttemptResult | None],
    ) -> None:
        if self._dirty:
            await self.reset()
        self._dirty = True
        self.transactions += 1
        self.domains.update(message.recipients[number].address.domain for number, _ in rcpts)
        chunking = "CHUNKING" in self.offered
        if "PIPELINING" in self.offered:
            await self._pipelined(message, mail, rcpts, chunking, results)
        else:
            await self._stepwise(message, mail, rcpts, chunking, results)

    def _mailLine(self, message: OutgoingMessage) -> bytes:
        parameters: dict[str, str | None] = {}
        for extension in self.extensions:
            if extension.clientMail is not None:
                offered = self.offered.get(extension.keyword)
                parameters.update(extension.clientMail(self, message, offered))
        return _line("MAIL FROM:" + formatPath(message.reversePath), parameters)

    def _rcptLines(
        self, message: OutgoingMessage, results: list[AttemptResult | None]
    ) -> list[tuple[int, bytes]]:
        # With each recipient's number; those that can't be named to this server have their result.
        lines = []
        for number, recipient in enumerate(message.recipients):
            parameters: dict[str, str | None] = {}
            try:
                for extension in self.extensions:
                    if extension.clientRcpt is not None:
                        offered = self.offered.get(extension.keyword)
                        parameters.update(extension.clientRcpt(self, message, recipient, offered))
            except MailError as error:
                results[number] = AttemptResult(error.smtpCode, error.enhancedStatus, error.text)
            else:
                lines.append((number, _line(f"RCPT TO:<{recipient.address}>", parameters)))
        return lines

    async def _stepwise(
        self,
        message: OutgoingMessage,
        mail: bytes,
        rcpts: Sequence[tuple[int, bytes]],
        chunking: bool,
        results: list[AttemptResult | None],
    ) -> None:
        self.stream.write(mail)
        reply = await self._reply(self.timeouts.command)
        if not reply.positive:
            self._these(results, [number for number, _ in rcpts], reply)
            return
        accepted: list[int] = []
        for number, line in rcpts:
            self.stream.write(line)
            self._note(number, await self._reply(self.timeouts.command), accepted, results)
        if not accepted:
            return
        if not chunking:
            self.stream.write(b"DATA\r\n")
            reply = await self._reply(self.timeouts.dataInitiation)
            if reply.code != 354:
                self._refusedData(reply)
                self._these(results, accepted, reply)
                return
        await self._transfer(message, chunking)
        await self._finish(accepted, results)

    async def _pipelined(
        self,
        message: OutgoingMessage,
        mail: bytes,
        rcpts: Sequence[tuple[int, bytes]],
        chunking: bool,
        results: list[AttemptResult | None],
    ) -> None:
        # RFC 2920 §3.1: DATA may be the last of a group; BDAT is sent only when somebody is there
        # to get it, since its octets would be wasted.
        lines = b"".join(line for _, line in rcpts)
        self.stream.write(mail + lines + (b"" if chunking else b"DATA\r\n"))
        begun = await self._reply(self.timeouts.command)
        accepted: list[int] = []
        for number, _ in rcpts:
            reply = await self._reply(self.timeouts.command)
            if begun.positive:
                self._note(number, reply, accepted, results)
        if not begun.positive:
            self._these(results, [number for number, _ in rcpts], begun)
        if chunking:
            if not accepted:
                return
        else:
            reply = await self._reply(self.timeouts.dataInitiation)
            if reply.code != 354:
                self._refusedData(reply)
                self._these(results, accepted, reply)
                return
            if not accepted:
                # RFC 2920 §3.1: it waits for a message that nobody is to get.
                self.stream.write(b".\r\n")
                await self._reply(self.timeouts.dataTermination)
                return
        await self._transfer(message, chunking)
        await self._finish(accepted, results)

    def _refusedData(self, reply: Reply) -> None:
        if reply.positive:
            # It has lost its way: this is no "yes" to a message that it hasn't got.
            raise MalformedReply(f"{reply.code} to DATA")

    def _note(
        self,
        number: int,
        reply: Reply,
        accepted: list[int],
        results: list[AttemptResult | None],
    ) -> None:
        if reply.positive:
            accepted.append(number)
        else:
            results[number] = self._result(reply)

    def _these(
        self, results: list[AttemptResult | None], numbers: Sequence[int], reply: Reply
    ) -> None:
        for number in numbers:
            results[number] = self._result(reply)

    async def _transfer(self, message: OutgoingMessage, chunking: bool) -> None:
        stream, content = self.stream, message.content
        stream.timeout = self.timeouts.dataBlock
        dots = DotWriter()
        offset, size = 0, content.size
        while offset < size:
            try:
                data = await content.read(offset, min(WINDOW, size - offset))
            except BaseException:
                # Or what comes next would be taken for the rest of the message.
                self.usable = False
                stream.close()
                raise
            if not data:
                # Octets that can't be had any more: only closing the connection says so.
                stream.close()
                raise ConnectionClosed()
            offset += len(data)
            if chunking:
                last = b" LAST" if offset >= size else b""
                stream.write(b"BDAT %d%b\r\n%b" % (len(data), last, data))
                if not last:
                    reply = await self._reply(self.timeouts.dataTermination)
                    if not reply.positive:
                        raise self._refusedChunk(reply)
            else:
                stream.write(dots.feed(data))
                await stream.drain()
        if not chunking:
            stream.write(dots.finish())
        elif not size:
            stream.write(b"BDAT 0 LAST\r\n")
        await stream.drain()

    def _refusedChunk(self, reply: Reply) -> MailError:
        # RFC 3030 §2: the whole transaction has failed; RSET follows.
        return MailError(
            f"{self.remote} said: {reply.text}",
            smtpCode=reply.code,
            enhancedStatus=reply.enhancedStatus,
        )

    async def _finish(self, accepted: Sequence[int], results: list[AttemptResult | None]) -> None:
        timeout = self.timeouts.dataTermination
        if self.lmtp:
            # RFC 2033 §4.2: a reply for each recipient that was accepted.
            for number in accepted:
                results[number] = self._result(await self._reply(timeout))
        else:
            self._these(results, accepted, await self._reply(timeout))
        self._dirty = False


def _line(head: str, parameters: Mapping[str, str | None]) -> bytes:
    words = [head]
    words += [name if value is None else f"{name}={value}" for name, value in parameters.items()]
    return (" ".join(words) + "\r\n").encode("utf-8")
