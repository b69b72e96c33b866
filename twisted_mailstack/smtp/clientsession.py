# -*- test-case-name: tests.smtp.test_clientsession -*-
"""
The client's side of an SMTP or LMTP session (RFC 5321, RFC 2033), over a L{Stream}.

What a server offers decides how a message goes: in one round trip where it can pipeline (RFC 2920),
in chunks without dot-stuffing where it has CHUNKING (RFC 3030). Parameters of MAIL and RCPT come
from the client's halves of the extensions. Recipients that are too many for one transaction are
named in another (RFC 5321 §4.5.3.1.10).

What the server answers to a message is a value for each recipient, never an exception. A connection
that breaks, or on which nobody can be sure any more which reply is to what, is a temporary result
for those whose fate isn't known, and is closed. Nothing ever ends a message that wasn't sent whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, NoReturn, Protocol

from twisted.logger import Logger

from twisted_mailstack.errors import (
    ConnectionClosed,
    MailError,
    SessionEnded,
    TemporaryFailure,
)
from twisted_mailstack.model.address import ReversePath, formatPath
from twisted_mailstack.model.queue import AttemptResult
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.framing import MalformedReply, Reply, readReply
from twisted_mailstack.wire.dots import DotWriter, LineInspector
from twisted_mailstack.wire.stream import Stream

#: Octets of a message in memory while it is sent.
WINDOW = 128 * 1024
#: Octets of a chunk (RFC 3030 §2: "a reasonable chunk size"): what is sent in vain at most, twice,
#: to a server that has no room for it.
CHUNK = 1024 * 1024
#: Octets of commands whose replies aren't there yet. RFC 2920 §3.1: a client that has to wait until
#: its commands are taken, and doesn't read meanwhile, may wait for ever.
AHEAD = 32 * 1024
#: Characters of a reply that are kept as a recipient's result.
MAX_TEXT = 1000
#: RFC 5321 §4.5.3.1.8: so many recipients any server takes.
MIN_RECIPIENTS = 100


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
    One connection, from the client's side. What it does is awaited one after the other.

    @ivar name: what the client calls itself.
    @ivar remote: what the server is called in results.
    @ivar greeting: the server's, once there.
    @ivar offered: the server's extensions, upper case, and what stood behind their keyword.
    @ivar usable: whether another message can be sent.
    @ivar authenticated: the server knows who we are, by AUTH; set by who did that.
    @ivar transactions: how many were begun.
    @ivar domains: of the recipients that were named.
    """

    log = Logger()

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
        @param name: a host name in ASCII, or an address literal.
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
        # Whether it is certain which reply is to what.
        self._inStep = True
        # Its 421, if it said that.
        self._goodbye: Reply | None = None
        # After how many recipients it said that they are too many.
        self._most: int | None = None

    # --- beginning and end ---------------------------------------------------------------------

    async def greet(self) -> Reply:
        """
        Wait for the greeting and say EHLO (LHLO), or HELO to a server that knows no EHLO.

        @raise MailError: if the server won't serve us, with its code.
        @raise ConnectionClosed: if it went away; L{SessionEnded} at a timeout; L{MalformedReply} if
            it speaks something else. The connection is closed then.
        """
        self.greeting = await self._reply(self.timeouts.greeting)
        if not self.greeting.positive:
            raise self._refused(self.greeting)
        return await self.hello()

    async def hello(self) -> Reply:
        """
        Say EHLO, as again after STARTTLS: what was offered before counts no more.

        @raise MailError: as L{greet}.
        """
        self.usable = False
        self.offered = {}
        verb = b"LHLO" if self.lmtp else b"EHLO"
        reply = await self.command(verb + b" " + self.name.encode("ascii"))
        if reply.positive:
            for line in reply.lines[1:]:
                keyword, _, value = line.partition(" ")
                self.offered.setdefault(keyword.upper(), value.strip())
        elif not self.lmtp and reply.code // 100 == 5 and reply.code != 521:
            # RFC 5321 §3.2: an old server, which has no extensions; not one that takes no mail
            # (RFC 7504).
            reply = await self.command(b"HELO " + self.name.encode("ascii"))
        if not reply.positive:
            raise self._refused(reply)
        # RFC 5321 §4.1.4: as by RSET.
        self._dirty = False
        self.usable = True
        return reply

    def _refused(self, reply: Reply) -> MailError:
        result = self.resultOf(reply)
        return MailError(
            result.text or "Refused", smtpCode=result.code, enhancedStatus=result.enhancedStatus
        )

    async def startTLS(self) -> None:
        """
        Begin TLS (RFC 3207) and say EHLO again.

        @raise MailError: if the server refuses.
        @raise PlaintextInjected: if it sent anything behind its reply. The connection must be
            dropped.
        """
        reply = await self.command(b"STARTTLS")
        if not reply.positive:
            raise self._refused(reply)
        self.stream.startTLS()
        self.authenticated = False
        await self.hello()

    async def quit(self, patience: float = 10.0) -> None:
        """
        QUIT, and close. Never raises for what the server does.

        @param patience: seconds to wait for the reply.
        """
        self.usable = False
        try:
            # RFC 5321 §3.8: a server that said 421 waits for nothing.
            if self._inStep and self._goodbye is None and not self.stream.closed:
                self.stream.write(b"QUIT\r\n")
                await self._reply(patience)
        except (ConnectionClosed, SessionEnded, MalformedReply):
            pass
        finally:
            self.leave()

    def leave(self) -> None:
        """
        Close without a word, since nobody would know what the answer is to.
        """
        self.usable = False
        self._inStep = False
        self.stream.close()

    # --- commands ------------------------------------------------------------------------------

    async def command(self, line: bytes) -> Reply:
        """
        Send one command, or one line of a longer exchange, and wait for its reply.

        @param line: without its end; it must not have CR or LF.
        @raise ConnectionClosed: as L{greet}; L{SessionEnded} and L{MalformedReply} too.
        """
        if b"\r" in line or b"\n" in line:
            raise ValueError("a command is one line")
        goodbye = await self._unasked()
        if goodbye is not None:
            return goodbye
        self.stream.write(line + b"\r\n")
        return await self._reply(self.timeouts.command)

    async def _unasked(self) -> Reply | None:
        """
        @return: what a server said before it closes, without being asked.
        @raise MalformedReply: if it said anything else: then its replies can't be told apart.
        """
        if not self.stream.buffered:
            return None
        reply = await self._reply(self.timeouts.command)
        if reply.code != 421:
            self.leave()
            raise MalformedReply(f"it said {reply.code} {reply.text[:80]!r} without being asked")
        return reply

    async def _reply(self, timeout: float) -> Reply:
        self.stream.timeout = timeout
        try:
            reply = await readReply(self.stream)
        except BaseException:
            # What came next would be taken for another command's reply.
            self.leave()
            raise
        if reply.code == 421:
            # RFC 5321 §3.8: the server closes.
            self.usable = False
            self._goodbye = reply
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

    # --- a message -----------------------------------------------------------------------------

    async def send(self, message: OutgoingMessage) -> list[AttemptResult]:
        """
        Send one message, in as many transactions as the server's limits make necessary.

        @return: for each recipient, in order, what became of it.
        """
        results: list[AttemptResult | None] = [None] * len(message.recipients)
        rest: AttemptResult | None = None
        try:
            await self._send(message, results)
        except MailError as error:
            # Our own finding, before anything was sent.
            rest = AttemptResult(error.smtpCode, error.enhancedStatus, error.text[:MAX_TEXT])
        except _Broken as broken:
            self.leave()
            rest = broken.result
        except (ConnectionClosed, SessionEnded, MalformedReply) as problem:
            self.leave()
            rest = self._problem(problem)
        except BaseException:
            self.leave()
            raise
        found = [result or rest for result in results]
        assert None not in found
        return [result for result in found if result is not None]

    def _problem(self, problem: Exception) -> AttemptResult:
        if self._goodbye is not None:
            return self.resultOf(self._goodbye)
        if isinstance(problem, MalformedReply):
            return self._broken(f"It sent what is no reply: {problem}", "4.5.0")
        if isinstance(problem, SessionEnded):
            return self._broken("Timeout while talking to it")
        return self._broken("It closed the connection in the midst of the dialogue")

    def _broken(self, text: str, status: str = "4.4.2") -> AttemptResult:
        return AttemptResult(451, status, text, self.remote)

    def resultOf(self, reply: Reply) -> AttemptResult:
        """
        @return: what a reply means for a recipient. One that is neither yes nor no (3yz) is no
            success.
        """
        code, status = reply.code, reply.enhancedStatus
        if code // 100 == 3:
            code, status = 451, "4.5.0"
        return AttemptResult(
            *(code, status, reply.text[:MAX_TEXT], self.remote, "DSN" in self.offered),
            # RFC 2033 §1: what replies by LMTP has delivered it.
            self.lmtp or "DELIVERBY" in self.offered,
        )

    async def _send(self, message: OutgoingMessage, results: list[AttemptResult | None]) -> None:
        if not self.usable:
            raise _Broken(self._broken("The connection can't be used any more"))
        message = await self._prepared(message)
        mail, parameters = self._mailLine(message)
        waiting = self._rcptLines(message, "SMTPUTF8" in parameters, results)
        while waiting:
            if self._goodbye is not None:
                raise _Broken(self.resultOf(self._goodbye))
            count = self._atOnce([message.recipients[number] for number, _ in waiting])
            if not count:
                self.usable = False
                full = AttemptResult(452, "4.5.3", "It takes no more on one connection")
                for number, _ in waiting:
                    results[number] = results[number] or full
                return
            transaction = _Transaction(self, message, mail, waiting[:count], results)
            # They get their chance at once, if this brings us forward.
            again = await transaction.run()
            waiting = [*again, *waiting[count:]]
            if not self._atOnce(()):
                self.usable = False

    async def _prepared(self, message: OutgoingMessage) -> OutgoingMessage:
        try:
            for extension in self.extensions:
                if extension.clientPrepare is not None:
                    message = await extension.clientPrepare(
                        self, message, self.offered.get(extension.keyword)
                    )
        except (MailError, ConnectionClosed, SessionEnded):
            raise
        except Exception as error:
            # A disk, for one. Nothing was said yet, so the connection is as good as before.
            self.log.failure("a message can't be read")
            raise TemporaryFailure("The message can't be read") from error
        return message

    def _atOnce(self, recipients: Sequence[Recipient]) -> int:
        """
        @return: how many of these may be named in one transaction; without any, whether there may
            be one.
        """
        count = len(recipients) or 1
        if self._most is not None:
            count = min(count, self._most)
        for extension in self.extensions:
            if extension.clientLimit is not None:
                offered = self.offered.get(extension.keyword)
                count = min(count, extension.clientLimit(self, recipients, offered))
        return count

    def _mailLine(self, message: OutgoingMessage) -> tuple[bytes, Mapping[str, str | None]]:
        parameters: dict[str, str | None] = {}
        for extension in self.extensions:
            if extension.clientMail is not None:
                offered = self.offered.get(extension.keyword)
                parameters.update(extension.clientMail(self, message, offered))
        head = "MAIL FROM:" + formatPath(message.reversePath)
        return _line(head, parameters, "SMTPUTF8" in parameters), parameters

    def _rcptLines(
        self, message: OutgoingMessage, utf8: bool, results: list[AttemptResult | None]
    ) -> list[_Named]:
        # Those that can't be named to this server have their result.
        lines = []
        for number, recipient in enumerate(message.recipients):
            parameters: dict[str, str | None] = {}
            try:
                for extension in self.extensions:
                    if extension.clientRcpt is not None:
                        offered = self.offered.get(extension.keyword)
                        parameters.update(extension.clientRcpt(self, message, recipient, offered))
                line = _line(f"RCPT TO:<{recipient.address}>", parameters, utf8)
            except MailError as error:
                results[number] = AttemptResult(error.smtpCode, error.enhancedStatus, error.text)
            else:
                lines.append(_Named(number, line))
        return lines


def _line(head: str, parameters: Mapping[str, str | None], utf8: bool) -> bytes:
    words = [head]
    words += [name if value is None else f"{name}={value}" for name, value in parameters.items()]
    line = " ".join(words)
    if "\r" in line or "\n" in line:
        raise ValueError("an address or a parameter with a line's end")
    if not utf8 and not line.isascii():
        # RFC 6531 §3.1
        raise MailError(
            "The address needs SMTPUTF8, which the server doesn't offer",
            smtpCode=553,
            enhancedStatus="5.6.7",
        )
    return line.encode("utf-8") + b"\r\n"


class _Broken(Exception):
    """
    The dialogue can't go on, and so the connection can't be used any more.

    @ivar result: of the recipients whose fate isn't known.
    """

    def __init__(self, result: AttemptResult) -> None:
        super().__init__(result.line)
        self.result = result


class _OutOfStep(_Broken):
    """
    Nor is it certain whose the replies before were.
    """


class _Named(NamedTuple):
    """
    A recipient that is named to the server.

    @ivar number: among the message's.
    @ivar line: RCPT.
    """

    number: int
    line: bytes


class _Step(NamedTuple):
    """
    A command of a transaction.

    @ivar recipient: of RCPT.
    """

    verb: str
    line: bytes
    recipient: _Named | None = None


class _Transaction:
    """
    One transaction (RFC 5321 §3.3): a message, and as many of its recipients as may be named at
    once.
    """

    def __init__(
        self,
        session: SMTPClientSession,
        message: OutgoingMessage,
        mail: bytes,
        recipients: Sequence[_Named],
        results: list[AttemptResult | None],
    ) -> None:
        """
        @param results: of the message's recipients; here they get theirs.
        """
        domains = {message.recipients[each.number].address.domain for each in recipients}
        session.domains.update(domains)
        session.transactions += 1
        self._session = session
        self._stream = session.stream
        self._content = message.content
        self._recipients = recipients
        self._results = results
        self._chunking = "CHUNKING" in session.offered
        self._pipelining = "PIPELINING" in session.offered
        # BINARYMIME's text isn't lines.
        binary = (message.parameters.get("BODY") or "").upper() == "BINARYMIME"
        self._inspector = None if binary else LineInspector()
        # What isn't sent yet, and what isn't answered.
        self._unsent = deque([_Step("RSET", b"RSET\r\n")] if session._dirty else [])
        self._unsent.append(_Step("MAIL", mail))
        self._unsent.extend(_Step("RCPT", each.line, each) for each in recipients)
        if not self._chunking:
            # RFC 2920 §3.1: DATA may be the last of a group. BDAT is not in it, since its octets
            # would be sent in vain if nobody is there to get them.
            self._unsent.append(_Step("DATA", b"DATA\r\n"))
        self._unanswered: deque[_Step] = deque()
        self._begun = False
        self._accepted: list[int] = []
        # Those that were too many.
        self._again: list[_Named] = []
        # The server waits for the text.
        self._go = False

    async def run(self) -> list[_Named]:
        """
        @return: the recipients that are worth another transaction at once.
        """
        try:
            await self._run()
        except (_OutOfStep, MalformedReply):
            for number, _ in self._recipients:
                result = self._results[number]
                if result is not None and not result.delivered:
                    self._results[number] = None
            raise
        for number in self._accepted:
            result = self._results[number]
            if result is not None and result.delivered:
                # RFC 5321 §4.5.3.1.10: it takes some each time.
                return self._again
        return []

    async def _run(self) -> None:
        session = self._session
        session.usable = False
        session._dirty = True
        await self._begin()
        if self._accepted and (self._chunking or self._go):
            await (self._sendChunks() if self._chunking else self._sendData())
        session.usable = session._goodbye is None

    # --- the envelope --------------------------------------------------------------------------

    async def _nothingUnasked(self) -> None:
        # What is there before it was asked for would be taken for a reply to what comes.
        goodbye = await self._session._unasked()
        if goodbye is not None:
            raise _Broken(self._session.resultOf(goodbye))

    async def _begin(self) -> None:
        session = self._session
        ahead = 0
        while True:
            if not self._unanswered:
                await self._nothingUnasked()
            while self._unsent and self._mayFollow(self._unsent[0], ahead):
                step = self._unsent.popleft()
                self._unanswered.append(step)
                self._stream.write(step.line)
                ahead += len(step.line)
            if not self._unanswered:
                return
            step = self._unanswered.popleft()
            ahead -= len(step.line)
            isData = step.verb == "DATA"
            timeouts = session.timeouts
            reply = await session._reply(timeouts.dataInitiation if isData else timeouts.command)
            if reply.code == 421:
                raise _Broken(session.resultOf(reply))
            if (reply.code // 100 == 3) if not isData else reply.positive:
                # It may wait for a text by now, or have none in mind.
                raise self._outOfStep(step.verb, reply)
            await self._TAKE[step.verb](self, step, reply)

    def _mayFollow(self, step: _Step, ahead: int) -> bool:
        if self._unanswered:
            return self._pipelining and ahead + len(step.line) <= AHEAD
        return step.verb != "DATA" or bool(self._accepted)

    def _outOfStep(self, verb: str, reply: Reply) -> _OutOfStep:
        said = f"{reply.code} {reply.text[:MAX_TEXT]}"
        return _OutOfStep(self._session._broken(f"It replied to {verb}: {said}", "4.5.0"))

    async def _takeReset(self, step: _Step, reply: Reply) -> None:
        if not reply.positive:
            # That says nothing of the message.
            raise self._outOfStep("RSET", reply)

    async def _takeMail(self, step: _Step, reply: Reply) -> None:
        self._begun = reply.positive
        if not self._begun:
            self._these((each.number for each in self._recipients), reply)
            self._unsent.clear()

    async def _takeRcpt(self, step: _Step, reply: Reply) -> None:
        assert step.recipient is not None
        if not self._begun:
            return
        number = step.recipient.number
        if reply.positive:
            self._accepted.append(number)
        elif self._isTooMany(reply):
            self._tooMany(step.recipient, reply)
        else:
            self._results[number] = self._session.resultOf(reply)

    def _isTooMany(self, reply: Reply) -> bool:
        # RFC 3463 §3.6: X.5.3. Without it 452 says so too, if it comes behind others that were
        # accepted, and 552, as RFC 821 had it, behind as many as any server takes.
        if reply.enhancedStatus.endswith(".5.3"):
            return True
        if not reply.enhancedStatus.endswith(".0.0"):
            return False
        fewest = {452: 1, 552: MIN_RECIPIENTS}.get(reply.code)
        return fewest is not None and len(self._accepted) >= fewest

    def _tooMany(self, recipient: _Named, reply: Reply) -> None:
        # RFC 5321 §4.5.3.1.10: temporary, whatever the code.
        session = self._session
        result = session.resultOf(reply)._replace(code=452, enhancedStatus="4.5.3")
        self._results[recipient.number] = result
        if self._accepted:
            session._most = min(len(self._accepted), session._most or len(self._accepted))
            self._again.append(recipient)
            # Nor will it take any more.
            for step in [step for step in self._unsent if step.recipient is not None]:
                assert step.recipient is not None
                self._unsent.remove(step)
                self._results[step.recipient.number] = result
                self._again.append(step.recipient)

    async def _takeData(self, step: _Step, reply: Reply) -> None:
        if reply.code // 100 != 3:
            self._these(self._accepted, reply)
        elif self._accepted:
            self._go = True
        elif self._begun and not self._session.lmtp:
            # RFC 2920 §3.1: it waits for a message that nobody is to get.
            self._stream.write(b".\r\n")
            await self._session._reply(self._session.timeouts.dataTermination)
        else:
            # Who would get it then?
            raise _Broken(self._session._broken("It wants a message for nobody", "4.5.0"))

    _TAKE = MappingProxyType(
        {"RSET": _takeReset, "MAIL": _takeMail, "RCPT": _takeRcpt, "DATA": _takeData}
    )

    def _these(self, numbers: Iterable[int], reply: Reply) -> None:
        result = self._session.resultOf(reply)
        for number in numbers:
            self._results[number] = result

    # --- the text ------------------------------------------------------------------------------

    async def _read(self, offset: int, end: int) -> bytes:
        length = min(WINDOW, end - offset)
        try:
            data = await self._content.read(offset, length)
        except MailError as error:
            raise self._unreadable(error) from error
        except Exception as error:
            self._session.log.failure("a message can't be read")
            raise self._unreadable(None) from error
        if not 0 < len(data) <= length:
            raise self._unreadable(None)
        if self._inspector is not None:
            self._inspector.inspect(data)
            if offset + len(data) >= self._content.size:
                self._inspector.finishInspection()
            if self._inspector.bareCR or self._inspector.bareLF:
                # RFC 5321 §2.3.8. What one server takes for text may end it for another.
                raise _Broken(
                    AttemptResult(554, "5.6.0", "The message has other line ends than CRLF")
                )
        return data

    def _unreadable(self, error: MailError | None) -> _Broken:
        # Octets that can't be had any more: only closing the connection says so.
        if error is None or not error.temporary:
            error = TemporaryFailure("The message can't be read")
        return _Broken(AttemptResult(error.smtpCode, error.enhancedStatus, error.text))

    async def _drain(self) -> None:
        self._stream.timeout = self._session.timeouts.dataBlock
        try:
            await self._stream.drain()
        except (ConnectionClosed, SessionEnded):
            await self._lastWords()
            raise

    async def _lastWords(self) -> None:
        # A server that has no use for the rest may say why before it goes.
        try:
            while True:
                reply = await self._session._reply(0)
                if reply.code >= 400:
                    self._refused(reply)
        except (ConnectionClosed, SessionEnded, MalformedReply):
            pass

    def _refused(self, reply: Reply) -> NoReturn:
        # By a server that isn't sent the rest.
        self._these(self._accepted, reply)
        if reply.code == 421:
            raise _Broken(self._session.resultOf(reply))
        raise _Broken(self._session._broken("It took no more in the midst of the dialogue"))

    async def _sendData(self) -> None:
        session, stream = self._session, self._stream
        dots = DotWriter()
        offset, size = 0, self._content.size
        while offset < size:
            data = await self._read(offset, size)
            offset += len(data)
            stream.write(dots.feed(data))
            await self._drain()
            if stream.buffered:
                # Nothing was to be said yet: refusing it early is all that it can mean.
                reply = await session._reply(session.timeouts.dataTermination)
                if reply.code < 400:
                    raise self._outOfStep("a part of the message", reply)
                self._refused(reply)
        stream.write(dots.finish())
        await self._finish()
        # Whatever was said of it (RFC 5321 §4.1.1.4).
        session._dirty = False

    async def _sendChunks(self) -> None:
        stream = self._stream
        offset, size = 0, self._content.size
        unanswered = 0
        refusal: Reply | None = None
        last = False
        while refusal is None and not last:
            end = min(offset + CHUNK, size)
            last = end == size
            if not unanswered:
                await self._nothingUnasked()
            stream.write(b"BDAT %d%b\r\n" % (end - offset, b" LAST" if last else b""))
            while offset < end:
                data = await self._read(offset, end)
                offset += len(data)
                stream.write(data)
                await self._drain()
            unanswered += not last
            # A chunk's reply may be under way while the next one is sent.
            while unanswered and (last or refusal or not self._pipelining or unanswered > 1):
                unanswered -= 1
                taken = await self._takeChunk()
                refusal = refusal or taken
        if refusal is None:
            # RFC 3030 §2: RSET must follow a BDAT that was refused.
            self._session._dirty = not await self._finish()
            return
        # The whole transaction has failed.
        self._these(self._accepted, refusal)
        if last and self._session.lmtp:
            # How many replies that gets nobody says.
            self._refused(refusal)
        if last:
            await self._session._reply(self._session.timeouts.dataTermination)

    async def _takeChunk(self) -> Reply | None:
        # Its reply, if it refuses the chunk.
        reply = await self._session._reply(self._session.timeouts.dataTermination)
        if reply.code == 421:
            self._refused(reply)
        if reply.code // 100 == 3:
            raise self._outOfStep("BDAT", reply)
        return None if reply.positive else reply

    async def _finish(self) -> bool:
        """
        @return: whether the server took the message for all who were accepted.
        """
        session, timeout = self._session, self._session.timeouts.dataTermination
        if not session.lmtp:
            reply = await session._reply(timeout)
            if reply.code // 100 == 3:
                raise self._outOfStep("the end of the message", reply)
            if reply.code == 421:
                self._refused(reply)
            self._these(self._accepted, reply)
            return reply.positive
        # RFC 2033 §4.2: a reply for each recipient that was accepted. Behind a 421 there may be
        # others.
        positive = True
        for number in self._accepted:
            reply = await session._reply(timeout)
            if reply.code // 100 == 3:
                raise self._outOfStep("the end of the message", reply)
            self._results[number] = session.resultOf(reply)
            positive = positive and reply.positive
        return positive
