# -*- test-case-name: tests.pop3.test_client -*-
"""
Fetching mail from an application: a client for POP3 (RFC 1939)::

    async with POP3Client(reactor, "pop.example.org", username="alice", password=secret) as client:
        for message in await client.newMessages(seen):
            octets = await client.retrieve(message.number)
            seen.add(message.uniqueId)

Commands are methods; what the server refuses raises
L{Refused<twisted_mailstack.pop3.clientsession.Refused>}. What L{POP3Client.delete} marked is
deleted by L{POP3Client.quit}, and so at the end of C{async with}; after an error nothing is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self, TypeVar

from twisted.internet.defer import DeferredLock
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import ConnectionClosed as TransportClosed
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IStreamClientEndpoint

from twisted_mailstack.errors import (
    AuthenticationFailed,
    ConnectionClosed,
    DestinationUnavailable,
    EncryptionRequired,
    PlaintextInjected,
    SessionEnded,
    SyntaxProblem,
)
from twisted_mailstack.interfaces import IClientMechanism
from twisted_mailstack.net.client import ClientConnection
from twisted_mailstack.net.clienttls import TLSProblem
from twisted_mailstack.net.reach import Destination, TLSUnavailable
from twisted_mailstack.pop3.clientsession import (
    Gathered,
    MalformedResponse,
    POP3ClientSession,
    Refused,
    Request,
    Sink,
)
from twisted_mailstack.sasl.credentials import PasswordCredentials, WrongCredentials
from twisted_mailstack.sasl.registry import CLIENT_MECHANISMS, showsPassword, usable

_PORT_POP3 = 110
_PORT_POP3S = 995

# What a connection can come to, besides refusals.
_BROKEN = (
    ConnectError,
    TransportClosed,
    DNSLookupError,
    ConnectionClosed,
    SessionEnded,
    MalformedResponse,
    PlaintextInjected,
    OSError,
)

T = TypeVar("T")


class ListedMessage(NamedTuple):
    """
    A message of the maildrop.

    @ivar number: in this session.
    @ivar octets: as the server says.
    @ivar uniqueId: its name in every session (RFC 1939 §7); C{b""} where the server has none.
    """

    number: int
    octets: int
    uniqueId: bytes


class POP3Client:
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
        tls: str | None = None,
        trustRoot: Any = None,
        certificate: Any = None,
        username: str | None = None,
        password: str | None = None,
        authorizationIdentity: str | None = None,
        credentials: Any = None,
        mechanisms: Sequence[IClientMechanism] = CLIENT_MECHANISMS,
        allowPlaintextAuth: bool = False,
        utf8: bool = True,
        timeout: float = 300.0,
        connectTimeout: float = 30.0,
    ) -> None:
        """
        @param host: a name or an IP address. What a certificate must be for.
        @param port: by default 995, and 110 with another C{tls} than C{"implicit"}.
        @param path: a Unix socket, instead of a host.
        @param endpoint: what connects, instead of the host and the port.
        @param tls: one of L{TLS_LEVELS<twisted_mailstack.net.reach.TLS_LEVELS>}. By default
            C{verified} at port 110, C{none} on a Unix socket or without a host, else C{implicit}.
        @param trustRoot: the authorities whose certificates are trusted, as
            C{twisted.internet.ssl.trustRootFromCertificates} makes it; by default the platform's.
        @param certificate: what servers are shown that ask for one (for EXTERNAL), a
            C{twisted.internet.ssl.PrivateCertificate}; by default none.
        @param username: to log in with C{password}, by the first of C{mechanisms} that the server
            offers; or by USER and PASS, unless all of these keep the password to themselves.
        @param authorizationIdentity: whom to act as, C{None} for the same.
        @param credentials: instead of a username and a password: what other mechanisms log in with,
            such as L{TokenCredentials<twisted_mailstack.sasl.credentials.TokenCredentials>}.
        @param allowPlaintextAuth: the password may be sent without TLS.
        @param utf8: take headers in UTF-8 as they are, where the server has them (RFC 6856).
        @param timeout: seconds that the server may be silent; C{connectTimeout}: for the
            connection.
        @raise ValueError: if that makes no sense.
        """
        if (username is None) != (password is None):
            raise ValueError("a username and a password go together")
        if username is not None:
            if credentials is not None:
                raise ValueError("either a username and a password or other credentials")
            credentials = PasswordCredentials(
                username.encode("utf-8"),
                (password or "").encode("utf-8"),
                None if authorizationIdentity is None else authorizationIdentity.encode("utf-8"),
            )
        if tls is None:
            tls = "none" if not host else "verified" if port == _PORT_POP3 else "implicit"
        self._destination = Destination(
            reactor,
            host,
            port or (_PORT_POP3S if tls == "implicit" else _PORT_POP3),
            tls,
            path=path,
            endpoint=endpoint,
            trustRoot=trustRoot,
            certificate=certificate,
            connectTimeout=connectTimeout,
        )
        self._credentials = credentials
        self._mechanisms = tuple(mechanisms)
        self._allowPlaintextAuth = allowPlaintextAuth
        self._utf8 = utf8
        self._timeout = timeout
        self._lock = DeferredLock()
        self._connection: ClientConnection | None = None
        self.session: POP3ClientSession | None = None

    # --- beginning and end ---------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """As L{connect}."""
        await self.connect()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """As L{quit}; after an error as L{abort}, so that nothing is deleted."""
        if error is None:
            await self.quit()
        else:
            self.abort()

    async def connect(self) -> None:
        """
        Connect, begin TLS and log in, as far as that was wanted.

        @raise DestinationUnavailable: if the server can't be reached, breaks off or doesn't speak
            POP3.
        @raise TLSUnavailable: if the connection isn't as safe as it must be.
        @raise AuthenticationFailed: if the server refuses the login.
        @raise EncryptionRequired: if the password would have to be sent without TLS.
        @raise SyntaxProblem: if what one logs in with can't be said to this server.
        @raise Refused: if it refuses for now: C{pop3Code} is C{IN-USE}, C{LOGIN-DELAY}, C{SYS/TEMP}
            or C{SYS/PERM}.
        """
        if self.session is not None:
            raise ValueError("it is connected")
        try:
            await self._talk(self._reach())
        except BaseException:
            self.abort()
            raise

    async def _reach(self) -> None:
        connection = self._connection = await self._destination.connect()
        session = self.session = POP3ClientSession(
            connection.stream, self._destination.name, self._timeout
        )
        await session.greet()
        if self._destination.level in ("required", "verified"):
            try:
                await session.startTLS()
            except Refused as refused:
                raise TLSUnavailable(f"{session.remote}: {refused.text}") from None
        if self._credentials is not None:
            await self._logIn(session, self._credentials)
        await session.learnCapabilities()

    async def _logIn(self, session: POP3ClientSession, credentials: Any) -> None:
        capabilities = await session.learnCapabilities()
        if self._utf8 and "UTF8" in capabilities:
            try:
                await session.command(b"UTF8")
            except Refused:
                # "The server MAY respond to the UTF8 command with an -ERR response" (§2.1).
                pass
        names = {each.upper().encode("ascii", "replace") for each in capabilities.get("SASL", ())}
        info = session.stream.info
        problem: SyntaxProblem | None = None
        for mechanism in usable(self._mechanisms, names, info, self._allowPlaintextAuth):
            try:
                exchange = mechanism.begin(credentials, info)
            except WrongCredentials:
                continue
            except SyntaxProblem as error:
                problem = problem or error
                continue
            await session.authenticate(mechanism, exchange)
            return
        if not (info.secure or self._allowPlaintextAuth):
            raise EncryptionRequired("No password is sent without TLS")
        if (
            not showsPassword(self._mechanisms)
            or not isinstance(credentials, PasswordCredentials)
            or credentials.authorizationIdentity is not None
        ):
            raise problem or AuthenticationFailed(
                "The server offers no way to log in that is known here"
            )
        await session.logIn(credentials.username, credentials.password)

    async def _talk(self, talking: Awaitable[T]) -> T:
        name = self._destination.name
        try:
            return await talking
        except TLSProblem as problem:
            raise TLSUnavailable(f"{name}: {problem.text}") from problem
        except _BROKEN as error:
            found = None if self._connection is None else self._connection.tlsProblem
            if found is not None:
                raise TLSUnavailable(f"{name}: {found.text}") from error
            raise DestinationUnavailable(f"{name}: {_reason(error)}") from error

    async def quit(self) -> None:
        """
        Say QUIT, when what is under way is done: what was marked is deleted now.

        @raise Refused: if it isn't, or not all of it.
        @raise DestinationUnavailable: if the connection broke: then it isn't known.
        """
        await self._lock.acquire()
        try:
            session, self.session = self.session, None
            if session is not None:
                await self._talk(session.quit())
        finally:
            self._connection = None
            self._lock.release()

    def abort(self) -> None:
        """
        Cut the connection. Nothing is deleted.
        """
        connection, self._connection = self._connection, None
        self.session = None
        if connection is not None:
            connection.abort()

    # --- commands ------------------------------------------------------------------------------

    @property
    def capabilities(self) -> dict[str, list[str]]:
        """What the server can do: by upper-case name its parameters."""
        return (self.session.capabilities if self.session else None) or {}

    async def _locked(self, talk: Callable[[POP3ClientSession], Awaitable[T]]) -> T:
        await self._lock.acquire()
        try:
            if self.session is None:
                raise DestinationUnavailable("There is no connection")
            return await self._talk(talk(self.session))
        finally:
            self._lock.release()

    async def command(self, line: bytes, sink: Sink | None = None) -> str:
        """
        Send any command, and wait until it is done. Several that are sent at the same time go one
        after the other.

        @param line: without its CRLF.
        @param sink: of its multi-line response; C{None} if it has none.
        @return: the text of C{+OK}.
        @raise Refused: if the server answers C{-ERR}.
        @raise DestinationUnavailable: if the connection is no more.
        """
        return await self._locked(lambda session: session.command(line, sink))

    async def status(self) -> tuple[int, int]:
        """
        STAT (RFC 1939 §5).

        @return: how many messages there are, and their octets.
        """
        words = (await self.command(b"STAT")).split()
        if len(words) < 2 or not all(word.isdecimal() for word in words[:2]):
            raise DestinationUnavailable(f"{self._destination.name}: it doesn't say how many")
        return int(words[0]), int(words[1])

    async def listMessages(self) -> list[ListedMessage]:
        """
        LIST and UIDL (RFC 1939 §5, §7).

        @return: the messages that aren't marked, by number.
        """
        sizes, ids = Gathered(), Gathered()
        listed, identified = await self._locked(
            lambda session: session.pipeline([Request(b"LIST", sizes), Request(b"UIDL", ids)])
        )
        if isinstance(listed, Refused):
            raise listed
        octets = dict(_pairs(sizes.octets))
        names = {} if isinstance(identified, Refused) else dict(_pairs(ids.octets))
        return [
            ListedMessage(number, int(size) if size.isdigit() else 0, names.get(number, b""))
            for number, size in sorted(octets.items())
        ]

    async def newMessages(self, seen: Collection[bytes]) -> list[ListedMessage]:
        """
        What there is that wasn't there before.

        @param seen: unique-ids that are known.
        @return: the others; all, where the server has none.
        """
        return [
            each
            for each in await self.listMessages()
            if not each.uniqueId or each.uniqueId not in seen
        ]

    async def retrieve(self, number: int) -> bytes:
        """
        RETR (RFC 1939 §5).

        @return: the message.
        @raise Refused: if there is none, any more.
        """
        sink = Gathered()
        await self.retrieveTo(number, sink)
        return sink.octets

    async def retrieveTo(self, number: int, sink: Sink) -> None:
        """
        As L{retrieve}, never holding more than a window of it.
        """
        await self.command(b"RETR %d" % number, sink)

    async def retrieveAll(
        self,
        numbers: Iterable[int],
        sinkFor: Callable[[int], Sink],
        done: Callable[[int, Refused | None], Awaitable[None] | None] | None = None,
    ) -> None:
        """
        RETR of many, pipelined where the server can do that.

        @param sinkFor: given a number, makes the sink of that message when its first octets come;
            so not of one that has none.
        @param done: called when a message is there, or can't be had, before the next one is read.
            What it raises ends the connection.
        """

        async def talk(session: POP3ClientSession) -> None:
            waiting: list[int] = []

            def requests() -> Iterator[Request]:
                for number in numbers:
                    waiting.append(number)
                    yield Request(b"RETR %d" % number, _Late(sinkFor, number))

            async def answered(result: str | Refused) -> None:
                number = waiting.pop(0)
                if done is not None:
                    more = done(number, result if isinstance(result, Refused) else None)
                    if more is not None:
                        await more

            await session.pipeline(requests(), answered)

        await self._locked(talk)

    async def top(self, numbers: Iterable[int], lines: int = 0) -> dict[int, bytes]:
        """
        TOP (RFC 1939 §7), pipelined.

        @return: the headers, and so many lines of the body, of the messages that are there.
        """
        wanted = list(numbers)
        sinks = [Gathered() for _ in wanted]
        results = await self._locked(
            lambda session: session.pipeline(
                Request(b"TOP %d %d" % (number, lines), sink)
                for number, sink in zip(wanted, sinks, strict=True)
            )
        )
        return {
            number: sink.octets
            for number, sink, result in zip(wanted, sinks, results, strict=True)
            if not isinstance(result, Refused)
        }

    async def delete(self, *numbers: int) -> None:
        """
        DELE (RFC 1939 §5): marks messages, which L{quit} deletes.

        @raise Refused: if one isn't there, any more; the others are marked.
        """
        results = await self._locked(
            lambda session: session.pipeline(Request(b"DELE %d" % each) for each in numbers)
        )
        for result in results:
            if isinstance(result, Refused):
                raise result

    async def reset(self) -> None:
        """
        RSET (RFC 1939 §5): nothing is marked any more.
        """
        await self.command(b"RSET")

    async def noop(self) -> None:
        """
        NOOP: the server sees that we are there.
        """
        await self.command(b"NOOP")


class _Late:
    """
    A sink that is made when its first octets come.
    """

    def __init__(self, sinkFor: Callable[[int], Sink], number: int) -> None:
        self._sinkFor = sinkFor
        self._number = number
        self._sink: Sink | None = None

    def write(self, data: bytes) -> Awaitable[None] | None:
        if self._sink is None:
            self._sink = self._sinkFor(self._number)
        return self._sink.write(data)


def _pairs(octets: bytes) -> Iterator[tuple[int, bytes]]:
    for line in octets.split(b"\r\n"):
        number, _, value = line.partition(b" ")
        if number.isdigit() and value.strip():
            # RFC 1939 §5: more may follow the size.
            yield int(number), value.split()[0]


def _reason(error: BaseException) -> str:
    if isinstance(error, SessionEnded | ConnectTimeout):
        return "timeout"
    if isinstance(error, ConnectionClosed | TransportClosed):
        return "the connection was closed"
    if isinstance(error, MalformedResponse):
        return f"it does not speak POP3: {error}"
    if isinstance(error, PlaintextInjected):
        return "it sent something behind its OK to STLS"
    reason = getattr(error, "osError", None) or error
    return str(reason) or type(error).__name__
