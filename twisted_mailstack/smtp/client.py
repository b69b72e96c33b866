# -*- test-case-name: tests.smtp.test_client -*-
"""
Sending mail from an application: a client for SMTP (RFC 5321), submission (RFC 6409, RFC 8314) and
LMTP (RFC 2033)::

    async with SMTPClient(reactor, "smtp.example.org", username="alice", password=secret) as client:
        results = await client.send("alice@example.org", ["bob@example.net"], message)

L{sendMail} is that in one call. A server that can't be reached, isn't the right one or refuses to
serve raises a L{MailError<twisted_mailstack.errors.MailError>}; what becomes of a message is a
value for each recipient, and never raises.

There is no queue: what is to be tried again is the caller's business.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from tempfile import SpooledTemporaryFile
from types import MappingProxyType
from typing import IO, Any, Self, TypeVar

from twisted.internet.defer import DeferredLock
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import ConnectionClosed as TransportClosed
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IStreamClientEndpoint

from twisted_mailstack.errors import (
    ConnectionClosed,
    DestinationUnavailable,
    MailError,
    PlaintextInjected,
    SessionEnded,
    SyntaxProblem,
)
from twisted_mailstack.interfaces import IClientMechanism
from twisted_mailstack.model.address import NULL_PATH, Address, ReversePath, parseDomain
from twisted_mailstack.model.queue import AttemptResult
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.net.client import ClientConnection, connect
from twisted_mailstack.net.clienttls import ClientTLS, TLSAttempt, TLSProblem, isAddress
from twisted_mailstack.sasl.registry import CLIENT_MECHANISMS
from twisted_mailstack.smtp.clientauth import authenticate
from twisted_mailstack.smtp.clientsession import (
    WINDOW,
    BytesContent,
    ClientTimeouts,
    OutgoingMessage,
    Readable,
    SMTPClientSession,
)
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.framing import MalformedReply, Reply
from twisted_mailstack.smtp.registry import EXTENSIONS
from twisted_mailstack.wire.dots import LineInspector

CONNECT_TIMEOUT = 30.0
#: Seconds that a server which isn't used gets to answer QUIT.
QUIT_TIMEOUT = 5.0
#: Octets of a message that isn't lines ended by CRLF, above which its better form is in a file.
IN_MEMORY = 1024 * 1024

#: What may be said of TLS: none; use it where it works; demand it; demand it with a certificate
#: that is good for the host; the same, from the beginning (RFC 8314).
TLS_LEVELS = ("none", "opportunistic", "required", "verified", "implicit")
_PORT_SUBMISSIONS = 465
_PORT_SUBMISSION = 587

# What a connection can come to, besides refusals.
_BROKEN = (
    ConnectError,
    TransportClosed,
    DNSLookupError,
    ConnectionClosed,
    SessionEnded,
    MalformedReply,
    PlaintextInjected,
    OSError,
)
_NO_PARAMETERS: Mapping[str, str | None] = MappingProxyType({})
_NEWLINE = re.compile(rb"\r\n|\r|\n")

T = TypeVar("T")


class TLSUnavailable(DestinationUnavailable):
    """
    The connection isn't as safe as it must be (RFC 3463 §3.8: X.7.5).
    """

    enhancedStatus = "4.7.5"
    text = "TLS is not available as it must be"


class SMTPClient:
    """
    One connection, to be used with C{async with}, or by L{connect} and L{quit}.

    @ivar session: what talks, once it is connected; C{None} before and after.
    """

    def __init__(
        self,
        reactor: Any,
        host: str = "",
        port: int | None = None,
        *,
        path: str | None = None,
        endpoint: IStreamClientEndpoint | None = None,
        lmtp: bool = False,
        tls: str | None = None,
        trustRoot: Any = None,
        certificate: Any = None,
        name: str | None = None,
        username: str | None = None,
        password: str | None = None,
        authorizationIdentity: str | None = None,
        credentials: Any = None,
        mechanisms: Sequence[IClientMechanism] = CLIENT_MECHANISMS,
        allowPlaintextAuth: bool = False,
        extensions: Sequence[Extension] = EXTENSIONS,
        timeouts: ClientTimeouts | None = None,
        connectTimeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """
        @param host: a name or an IP address. What a certificate must be for.
        @param port: by default 465 with C{tls="implicit"}, 24 for LMTP, 587 with a username, else
            25.
        @param path: a Unix socket, instead of a host.
        @param endpoint: what connects, instead of the host and the port.
        @param lmtp: speak LMTP.
        @param tls: one of L{TLS_LEVELS}. By default C{implicit} at port 465, C{verified} at port
            587 or with a username, C{none} on a Unix socket or without a host, else
            C{opportunistic}.
        @param trustRoot: the authorities whose certificates are trusted, as
            C{twisted.internet.ssl.trustRootFromCertificates} makes it; by default the platform's.
        @param certificate: what servers are shown that ask for one (for EXTERNAL), a
            C{twisted.internet.ssl.PrivateCertificate}; by default none.
        @param name: what the client calls itself; by default the address that it connects from.
        @param username: to log in with C{password}, by the first of C{mechanisms} that the server
            offers.
        @param authorizationIdentity: whom to act as, C{None} for the same.
        @param credentials: instead of a username and a password: what other mechanisms log in with,
            such as L{TokenCredentials<twisted_mailstack.sasl.credentials.TokenCredentials>}.
        @param allowPlaintextAuth: the password may be sent without TLS, or to whoever interferes.
        @param extensions: whose client's halves take part.
        @param timeouts: while it talks; C{connectTimeout}: seconds for the connection, and for TLS
            where that comes first.
        @raise ValueError: if that makes no sense.
        """
        if (path is not None) + (endpoint is not None) > 1 or not (host or path or endpoint):
            raise ValueError("a host, a path or an endpoint is needed, and only one of them")
        if path is not None and host:
            raise ValueError("either a host or a path is needed")
        if (username is None) != (password is None):
            raise ValueError("a username and a password go together")
        if username is not None and credentials is not None:
            raise ValueError("either a username and a password or other credentials")
        known = username is not None or credentials is not None
        self._reactor = reactor
        self._host = host if not host or isAddress(host) else parseDomain(host)
        self._path = path
        self._endpoint = endpoint
        self._lmtp = lmtp
        if tls is None:
            tls = self._usualTLS(port, known)
        self._checkTLS(tls, known and not allowPlaintextAuth)
        self._level = tls
        self._port = port or self._usualPort(known)
        self._tls = ClientTLS(trustRoot, certificate)
        self._name = None if name is None else parseDomain(name)
        self._username, self._password = username, password or ""
        self._credentials = credentials
        self._authorizationIdentity = authorizationIdentity
        self._mechanisms = tuple(mechanisms)
        self._allowPlaintextAuth = allowPlaintextAuth
        self._extensions = tuple(extensions)
        self._timeouts = timeouts
        self._connectTimeout = connectTimeout
        self._lock = DeferredLock()
        self._connection: ClientConnection | None = None
        self.session: SMTPClientSession | None = None

    def _usualTLS(self, port: int | None, hasUser: bool) -> str:
        if not self._host:
            return "none"
        if port == _PORT_SUBMISSIONS:
            return "implicit"
        return "verified" if hasUser or port == _PORT_SUBMISSION else "opportunistic"

    def _checkTLS(self, level: str, secret: bool) -> None:
        if level not in TLS_LEVELS:
            raise ValueError(f"tls is one of {', '.join(TLS_LEVELS)}")
        if level != "none" and not self._host:
            raise ValueError("TLS needs the name of the host")
        if level == "opportunistic" and secret:
            raise ValueError(
                "whoever interferes would get the password: tls must be required, verified or"
                " implicit, or allowPlaintextAuth be given"
            )

    def _usualPort(self, hasUser: bool) -> int:
        if self._level == "implicit":
            return _PORT_SUBMISSIONS
        if self._lmtp:
            return 24
        return _PORT_SUBMISSION if hasUser else 25

    # --- beginning and end ---------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """As L{connect}."""
        await self.connect()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """As L{quit}; after an error it doesn't wait."""
        if error is None:
            await self.quit()
        else:
            self.abort()

    async def connect(self) -> None:
        """
        Connect, say EHLO, begin TLS and log in, as far as that was wanted.

        @raise DestinationUnavailable: if the server can't be reached, breaks off or doesn't speak
            SMTP.
        @raise TLSUnavailable: if the connection isn't as safe as it must be.
        @raise MailError: if the server refuses to serve, or the login, with its code; a wrong
            password is L{AuthenticationFailed<twisted_mailstack.errors.AuthenticationFailed>}.
        """
        if self.session is not None:
            raise ValueError("it is connected")
        try:
            await self._open(self._level)
        except TLSUnavailable:
            if self._level != "opportunistic":
                raise
            # RFC 7435 §3: better in the clear than not at all.
            await self._open("none")

    async def _open(self, level: str) -> None:
        attempt = self._attempt(level)
        try:
            await self._talk(self._reach(level, attempt))
        except MailError:
            await self._end(QUIT_TIMEOUT)
            raise
        except BaseException:
            self.abort()
            raise

    def _attempt(self, level: str) -> TLSAttempt | None:
        if level == "none":
            return None
        if level in ("verified", "implicit"):
            return self._tls.verified(self._host)
        return self._tls.opportunistic(self._host)

    async def _reach(self, level: str, attempt: TLSAttempt | None) -> None:
        endpoint = self._endpoint or self._makeEndpoint()
        if level == "implicit":
            assert attempt is not None
            endpoint = wrapClientTLS(attempt, endpoint)
        connection = self._connection = await connect(
            endpoint, self._reactor, tls=attempt, timeout=self._connectTimeout
        )
        session = self.session = SMTPClientSession(
            connection.stream,
            self._name or _ownName(connection),
            remote=self._host or self._path or "the server",
            lmtp=self._lmtp,
            extensions=self._extensions,
            timeouts=self._timeouts,
        )
        await session.greet()
        if attempt is not None and level != "implicit":
            await self._secure(session, level)
        if self._username is not None or self._credentials is not None:
            await authenticate(
                session,
                self._username or "",
                self._password,
                credentials=self._credentials,
                authorizationIdentity=self._authorizationIdentity,
                mechanisms=self._mechanisms,
                allowPlaintext=self._allowPlaintextAuth,
            )

    def _makeEndpoint(self) -> IStreamClientEndpoint:
        if self._path is not None:
            return UNIXClientEndpoint(self._reactor, self._path, self._connectTimeout)
        maker: Any = HostnameEndpoint
        if isAddress(self._host):
            maker = TCP6ClientEndpoint if ":" in self._host else TCP4ClientEndpoint
        endpoint: IStreamClientEndpoint = maker(
            self._reactor, self._host, self._port, self._connectTimeout
        )
        return endpoint

    async def _secure(self, session: SMTPClientSession, level: str) -> None:
        problem = "it offers no STARTTLS"
        if "STARTTLS" in session.offered:
            try:
                await session.startTLS()
                return
            except MailError as error:
                if session.stream.info.secure or not session.usable:
                    # That is the end of the session, not of TLS.
                    raise
                # RFC 3207 §4.1: the session goes on as it was.
                problem = f"it refused STARTTLS: {error.smtpCode} {error.text}"
            except (ConnectionClosed, SessionEnded, MalformedReply) as error:
                if session.stream.info.secure or level != "opportunistic":
                    raise
                # There are servers that offer it and break at it, every time.
                text = f"{session.remote}: it broke off at STARTTLS: {_text(error)}"
                raise TLSUnavailable(text) from error
        if level != "opportunistic":
            raise TLSUnavailable(f"{session.remote}: {problem}")

    async def _talk(self, talking: Awaitable[T]) -> T:
        try:
            return await talking
        except TLSProblem as problem:
            raise TLSUnavailable(f"{self._remote()}: {problem.text}") from problem
        except _BROKEN as error:
            found = None if self._connection is None else self._connection.tlsProblem
            if found is not None:
                raise TLSUnavailable(f"{self._remote()}: {found.text}") from error
            raise DestinationUnavailable(f"{self._remote()}: {_text(error)}") from error

    def _remote(self) -> str:
        return self._host or self._path or "the server"

    async def quit(self, patience: float = 10.0) -> None:
        """
        Say goodbye and close, when what is being sent has been. Never raises for what the server
        does.

        @param patience: seconds to wait for its reply.
        """
        await self._lock.acquire()
        try:
            await self._end(patience)
        finally:
            self._lock.release()

    async def _end(self, patience: float) -> None:
        session, self.session = self.session, None
        self._connection = None
        if session is not None:
            await session.quit(patience)

    def abort(self) -> None:
        """
        Cut the connection.
        """
        connection, self._connection = self._connection, None
        self.session = None
        if connection is not None:
            connection.abort()

    # --- messages ------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether another message can be sent."""
        session = self.session
        return session is not None and session.usable and not session.stream.closed

    @property
    def offered(self) -> Mapping[str, str]:
        """The server's extensions, upper case, and what stood behind their keyword."""
        return {} if self.session is None else self.session.offered

    async def send(
        self,
        reversePath: str | ReversePath,
        recipients: Sequence[str | Address | Recipient],
        content: Any,
        parameters: Mapping[str, str | None] = _NO_PARAMETERS,
    ) -> list[AttemptResult]:
        """
        Send a message. Several that are to be sent at the same time go one after the other.

        @param reversePath: where notifications go; C{None} or C{""}: nowhere.
        @param recipients: L{Recipient<twisted_mailstack.model.records.Recipient>} with parameters
            of RCPT, like C{NOTIFY}.
        @param content: C{bytes}, a file that is open for reading octets and is read from where it
            stands, or an L{IMessageContent<twisted_mailstack.interfaces.IMessageContent>} (or
            whatever has its C{size} and C{read}). Of C{bytes} and files CR, LF and CRLF all end a
            line, and are sent as CRLF.
        @param parameters: of MAIL, upper-case keywords, like C{RET} and C{ENVID}. C{BODY} and
            C{SMTPUTF8} need not be given. What the server doesn't offer is left out or a reason
            not to send the message, as its extension's RFC has it.
        @return: for each recipient, in order, what became of it. An address that is none has its
            result, too.
        @raise TypeError: if it is no such content; C{OSError} if the file can't be read at all.
        """
        if isinstance(recipients, str | bytes):
            raise TypeError("recipients are a sequence of addresses")
        results: list[AttemptResult | None] = [None] * len(recipients)
        try:
            sender = _parse(reversePath) if reversePath else NULL_PATH
        except SyntaxProblem as error:
            return [AttemptResult(553, "5.1.7", error.text)] * len(recipients)
        named = dict(_recipients(recipients, results))
        await self._lock.acquire()
        try:
            sent = await self._send(sender, list(named.values()), content, parameters)
        finally:
            self._lock.release()
        for number, result in zip(named, sent, strict=True):
            results[number] = result
        return [result for result in results if result is not None]

    async def _send(
        self,
        sender: ReversePath,
        recipients: Sequence[Recipient],
        content: Any,
        parameters: Mapping[str, str | None],
    ) -> list[AttemptResult]:
        session = self.session
        binary = (parameters.get("BODY") or "").upper() == "BINARYMIME"
        readable, close = await _readable(content, binary, self._breathe)
        try:
            if session is None:
                text = "There is no connection"
                return [AttemptResult(451, "4.4.2", text)] * len(recipients)
            # Whether it is needed the extension finds out, of the addresses and the headers.
            given = {**parameters, "SMTPUTF8": None}
            if (given.get("BODY") or "").upper() == "7BIT":
                # Nor is this taken on trust: no octets go out that weren't announced.
                del given["BODY"]
            return await session.send(OutgoingMessage(sender, recipients, readable, given))
        finally:
            close()

    async def _breathe(self) -> None:
        # In the midst of work on a large file. What became of the server is found when it is sent.
        if self.session is not None:
            try:
                await self.session.stream.breathe()
            except ConnectionClosed:
                pass

    # --- other commands ------------------------------------------------------------------------

    async def command(self, line: bytes) -> Reply:
        """
        Send any command of one line, and wait for its reply.

        @raise DestinationUnavailable: if the connection is no more.
        """
        await self._lock.acquire()
        try:
            if self.session is None:
                raise DestinationUnavailable("There is no connection")
            return await self._talk(self.session.command(line))
        finally:
            self._lock.release()

    async def noop(self) -> Reply:
        """
        NOOP, which keeps the connection alive. As L{command}.
        """
        return await self.command(b"NOOP")

    async def reset(self) -> Reply:
        """
        RSET. It isn't needed between messages. As L{command}.
        """
        return await self.command(b"RSET")

    async def verify(self, address: str) -> Reply:
        """
        VRFY (RFC 5321 §3.5.1): whether the server knows an address, which few say. As L{command}.
        """
        line = f"VRFY {address}"
        if not address.isascii() and "SMTPUTF8" in self.offered:
            # RFC 6531 §3.7.4.2
            line += " SMTPUTF8"
        return await self.command(line.encode("utf-8"))


async def sendMail(
    reactor: Any,
    host: str,
    reversePath: str | ReversePath,
    recipients: Sequence[str | Address | Recipient],
    content: Any,
    port: int | None = None,
    parameters: Mapping[str, str | None] = _NO_PARAMETERS,
    **options: Any,
) -> list[AttemptResult]:
    """
    Send one message to a server, over a connection of its own::

        results = await sendMail(
            reactor, "smtp.example.org", "alice@example.org", ["bob@example.net"], message,
            username="alice", password=secret,
        )

    @param options: as of L{SMTPClient}; the others as of L{SMTPClient.send}.
    @return: for each recipient, in order, what became of it.
    @raise MailError: as L{SMTPClient.connect}.
    """
    async with SMTPClient(reactor, host, port, **options) as client:
        return await client.send(reversePath, recipients, content, parameters)


def _ownName(connection: ClientConnection) -> str:
    # RFC 5321 §4.1.4: an address literal where there is no name. Looking for one would be asking
    # the DNS.
    address = getattr(connection.transport.getHost(), "host", None)
    if address is None:
        name = socket.gethostname()
        return name if name.isascii() and "." in name else "localhost"
    return f"[IPv6:{address.partition('%')[0]}]" if ":" in address else f"[{address}]"


def _text(error: BaseException) -> str:
    if isinstance(error, SessionEnded | ConnectTimeout):
        return "timeout"
    if isinstance(error, ConnectionClosed | TransportClosed):
        return "the connection was closed"
    if isinstance(error, MalformedReply):
        return f"it does not speak SMTP: {error}"
    if isinstance(error, PlaintextInjected):
        return "it sent something behind its reply to STARTTLS"
    reason = getattr(error, "osError", None) or error
    return str(reason) or type(error).__name__


def _parse(address: str | Address) -> Address:
    return Address.parse(address) if isinstance(address, str) else address


def _recipients(
    given: Sequence[str | Address | Recipient], results: list[AttemptResult | None]
) -> Iterable[tuple[int, Recipient]]:
    for number, each in enumerate(given):
        if isinstance(each, Recipient):
            yield number, each
            continue
        try:
            yield number, Recipient(_parse(each), {})
        except SyntaxProblem as error:
            results[number] = AttemptResult(553, "5.1.3", error.text)


# --- content -------------------------------------------------------------------------------------


class FileContent:
    """
    A message in a file.
    """

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self.size = size
        self._file = file
        self._start = start

    async def read(self, offset: int, length: int) -> bytes:
        """See L{Readable}."""
        self._file.seek(self._start + offset)
        return self._file.read(max(0, min(length, self.size - offset)))


def _nothing() -> None:
    pass


def _lines(data: bytes) -> bytes:
    if data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r"):
        return data
    return _NEWLINE.sub(b"\r\n", data)


async def _readable(
    content: Any, binary: bool, breathe: Callable[[], Awaitable[None]]
) -> tuple[Readable, Callable[[], object]]:
    """
    @return: the content, and what is to be called when it was sent.
    """
    if isinstance(content, bytes | bytearray | memoryview):
        data = bytes(content)
        return BytesContent(data if binary else _lines(data)), _nothing
    if hasattr(content, "size") and hasattr(content, "read"):
        return content, _nothing
    if not hasattr(content, "read"):
        raise TypeError("the content is bytes, a file or an IMessageContent")
    found = await _asItIs(content, binary, breathe)
    if found is not None:
        return found, _nothing
    copy: IO[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY)
    try:
        size = await _copy(content, copy, binary, breathe)
    except BaseException:
        copy.close()
        raise
    return FileContent(copy, 0, size), copy.close


def _octets(file: IO[bytes], length: int) -> bytes:
    data: object = file.read(length)
    if not isinstance(data, bytes):
        raise TypeError("the file is to be open for reading octets")
    return data


async def _asItIs(
    file: IO[bytes], binary: bool, breathe: Callable[[], Awaitable[None]]
) -> FileContent | None:
    """
    @return: the file, if it can be sent as it is.
    """
    try:
        start = file.tell()
        file.seek(start)
    except (OSError, AttributeError):
        return None
    inspector = LineInspector()
    size = 0
    while data := _octets(file, WINDOW):
        size += len(data)
        inspector.inspect(data)
        await breathe()
    inspector.finishInspection()
    file.seek(start)
    if not binary and (inspector.bareCR or inspector.bareLF):
        return None
    return FileContent(file, start, size)


async def _copy(
    file: IO[bytes], to: IO[bytes], binary: bool, breathe: Callable[[], Awaitable[None]]
) -> int:
    held = b""
    while data := _octets(file, WINDOW):
        data = held + data
        # What follows a CR at the end decides about it.
        held = b"\r" if data.endswith(b"\r") and not binary else b""
        data = data[: len(data) - len(held)]
        to.write(data if binary else _lines(data))
        await breathe()
    to.write(b"\r\n" if held else b"")
    return to.tell()
