# -*- test-case-name: tests.imap.test_client -*-
"""
Reading mail from an application: a client for IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051)::

    async with IMAPClient(reactor, "imap.example.org", username="alice", password=secret) as client:
        mailbox = await client.select("INBOX")
        for message in await client.fetch("1:*", ["UID", "FLAGS", "ENVELOPE"]):
            print(message.uid, message.envelope.subject)

Commands are methods, their results are values; what the server refuses raises
L{Refused<twisted_mailstack.imap.clientsession.Refused>}. Messages are named by UID everywhere.
Mailbox names are C{str}, with C{/} or whatever else is the server's delimiter between their levels.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
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
    MailError,
    PlaintextInjected,
    SessionEnded,
    SyntaxProblem,
)
from twisted_mailstack.imap.clientsession import (
    IDLE_TIME,
    IMAPClientSession,
    Literal,
    Readable,
    Refused,
    Result,
    SelectedMailbox,
    flagsOf,
)
from twisted_mailstack.imap.responses import (
    Data,
    MalformedResponse,
    Response,
    Sink,
    numberOf,
    octetsOf,
)
from twisted_mailstack.interfaces import IClientMechanism
from twisted_mailstack.model.dates import formatDateTime, parseDateTime
from twisted_mailstack.model.flags import FlagOperation, Flags
from twisted_mailstack.model.mailboxname import decodeName
from twisted_mailstack.model.records import AppendResult, CopyResult
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.net.client import ClientConnection
from twisted_mailstack.net.clienttls import TLSProblem
from twisted_mailstack.net.reach import Destination, TLSUnavailable
from twisted_mailstack.sasl.credentials import PasswordCredentials, WrongCredentials
from twisted_mailstack.sasl.registry import CLIENT_MECHANISMS, showsPassword, usable

_PORT_IMAP = 143
_PORT_IMAPS = 993
#: Octets of a set of UIDs in one command; servers take 8,000 octets at least (RFC 7162 §4).
MAX_SET = 7000
#: Parts within parts of a BODYSTRUCTURE that is read.
MAX_DEPTH = 200

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
#: UIDs, as a set in text or in any other form.
UIDs = str | NumberSet | Iterable[int]


class EmailAddress(NamedTuple):
    """
    An address of an ENVELOPE (RFC 9051 §7.5.2), as it stands in the header, encoded words and all.

    @ivar name: C{None} if there is none.
    @ivar localPart: C{None} ends a group, whose name is the local-part of the entry without domain
        that began it.
    """

    name: bytes | None
    route: bytes | None
    localPart: bytes | None
    domain: bytes | None


class Envelope(NamedTuple):
    """RFC 9051 §7.5.2. Strings are as they stand in the header, C{None} where there is none."""

    date: bytes | None
    subject: bytes | None
    sentFrom: tuple[EmailAddress, ...]
    sender: tuple[EmailAddress, ...]
    replyTo: tuple[EmailAddress, ...]
    to: tuple[EmailAddress, ...]
    cc: tuple[EmailAddress, ...]
    bcc: tuple[EmailAddress, ...]
    inReplyTo: bytes | None
    messageId: bytes | None


@dataclass(frozen=True)
class BodyPart:
    """
    A part of a BODYSTRUCTURE (RFC 9051 §7.5.2).

    @ivar number: its part number, like C{1.2}; empty for the whole of a multipart message.
    @ivar type: like C{text/plain}, lower case.
    @ivar parameters: lower-case names.
    @ivar octets: as it is encoded; 0 for a multipart.
    @ivar disposition: like C{attachment}, lower case, empty if there is none.
    @ivar parts: of a multipart, or the one that a message in the message has.
    """

    number: str
    type: str
    parameters: dict[str, bytes] = field(default_factory=dict)
    contentId: bytes | None = None
    description: bytes | None = None
    encoding: str = ""
    octets: int = 0
    lines: int | None = None
    disposition: str = ""
    dispositionParameters: dict[str, bytes] = field(default_factory=dict)
    envelope: Envelope | None = None
    parts: tuple[BodyPart, ...] = ()


class FetchedMessage:
    """
    What a FETCH response tells of a message.

    @ivar number: its sequence number; the UID, where the server uses only those (RFC 9586).
    @ivar items: as they came, by upper-case name, like C{BODY[HEADER.FIELDS (DATE)]}.
    """

    def __init__(self, number: int, items: dict[str, Any]) -> None:
        self.number = number
        self.items = items

    @property
    def uid(self) -> int:
        """Its UID; 0 if the response doesn't tell."""
        return numberOf(self.items["UID"]) if "UID" in self.items else 0

    @property
    def flags(self) -> Flags | None:
        """Its flags, C{None} if the response doesn't tell."""
        return flagsOf(self.items["FLAGS"]) if "FLAGS" in self.items else None

    @property
    def modSeq(self) -> int:
        """Its modSeq; 0 if the response doesn't tell."""
        value = self.items.get("MODSEQ")
        return numberOf(value[0]) if isinstance(value, tuple) and value else 0

    @property
    def octets(self) -> int:
        """RFC822.SIZE; 0 if the response doesn't tell."""
        return numberOf(self.items.get("RFC822.SIZE", "0"))

    @property
    def internalDate(self) -> tuple[int, int] | None:
        """Seconds since 1970, and the zone's minutes east of UTC."""
        value = self.items.get("INTERNALDATE")
        return None if value is None else parseDateTime(octetsOf(value))

    @property
    def envelope(self) -> Envelope:
        """
        @raise MalformedResponse: if there is none, or none that can be read.
        """
        return _envelope(self.items.get("ENVELOPE"))

    @property
    def bodyStructure(self) -> BodyPart:
        """
        @raise MalformedResponse: if there is none, or none that can be read.
        """
        return _part(self.items.get("BODYSTRUCTURE", self.items.get("BODY")), "", 0)

    def section(self, name: str = "") -> bytes | None:
        """
        @param name: between the brackets of C{BODY[]}.
        @return: its octets; C{None} if there is no such part.
        @raise KeyError: if it wasn't asked for.
        """
        prefix = f"BODY[{name.upper()}]"
        for key, value in self.items.items():
            if key == prefix or key.startswith(prefix + "<"):
                return None if value is None else octetsOf(value)
        raise KeyError(name)


class ListedMailbox(NamedTuple):
    """
    A LIST response (RFC 9051 §7.3.1).

    @ivar name: decoded.
    @ivar delimiter: between the levels of its name, empty if it has none.
    @ivar attributes: like C{\\Noselect}, as the server writes them.
    @ivar extended: extended data items (RFC 5258 §6), by upper-case name.
    """

    name: str
    delimiter: str
    attributes: frozenset[str]
    extended: dict[str, Any]

    def has(self, attribute: str) -> bool:
        """
        @return: whether it has an attribute, in any case.
        """
        return attribute.lower() in {each.lower() for each in self.attributes}

    @property
    def selectable(self) -> bool:
        """Whether it can be selected."""
        return not (self.has("\\Noselect") or self.has("\\NonExistent"))


class SearchResult(NamedTuple):
    """
    What was found.

    @ivar uids: in the order in which the server gave them; with SORT that is what it is about. With
        C{returns} that don't ask for all it is empty.
    @ivar modSeq: the highest modSeq of what was found, if the search was about them (RFC 7162
        §3.1.5), else 0.
    @ivar values: of ESEARCH (RFC 4731), by upper-case name: C{MIN}, C{COUNT}...
    """

    uids: list[int]
    modSeq: int
    values: dict[str, Any]


class MailboxState(NamedTuple):
    """
    What a client knows of a mailbox, to go on from (L{IMAPClient.synchronise}).

    @ivar highestModSeq: 0 if the server has none.
    """

    uidValidity: int
    highestModSeq: int
    uids: NumberSet


class MailboxChanges(NamedTuple):
    """
    What happened since a state.

    @ivar state: the one to go on from.
    @ivar reset: all that was known before is void: the mailbox is another one.
    @ivar changed: UIDs and their flags: of what is new, and what may have other flags than before.
    @ivar vanished: of what was known, what is gone.
    """

    state: MailboxState
    reset: bool
    changed: dict[int, Flags]
    vanished: NumberSet


class IMAPClient:
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
        timeout: float = 300.0,
        connectTimeout: float = 30.0,
    ) -> None:
        """
        @param host: a name or an IP address. What a certificate must be for.
        @param port: by default 993, and 143 with another C{tls} than C{"implicit"}.
        @param path: a Unix socket, instead of a host.
        @param endpoint: what connects, instead of the host and the port.
        @param tls: one of L{TLS_LEVELS<twisted_mailstack.net.reach.TLS_LEVELS>}. By default
            C{verified} at port 143, C{none} on a Unix socket or without a host, else C{implicit}.
        @param trustRoot: the authorities whose certificates are trusted, as
            C{twisted.internet.ssl.trustRootFromCertificates} makes it; by default the platform's.
        @param certificate: what servers are shown that ask for one (for EXTERNAL), a
            C{twisted.internet.ssl.PrivateCertificate}; by default none.
        @param username: to log in with C{password}, by the first of C{mechanisms} that the server
            offers; or by the command LOGIN, unless all of these keep the password to themselves.
        @param authorizationIdentity: whom to act as, C{None} for the same.
        @param credentials: instead of a username and a password: what other mechanisms log in with,
            such as L{TokenCredentials<twisted_mailstack.sasl.credentials.TokenCredentials>}.
        @param allowPlaintextAuth: the password may be sent without TLS.
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
            tls = "none" if not host else "verified" if port == _PORT_IMAP else "implicit"
        self._destination = Destination(
            reactor,
            host,
            port or (_PORT_IMAPS if tls == "implicit" else _PORT_IMAP),
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
        self._timeout = timeout
        self._lock = DeferredLock()
        self._connection: ClientConnection | None = None
        self.session: IMAPClientSession | None = None

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
        Connect, begin TLS and log in, as far as that was wanted.

        @raise DestinationUnavailable: if the server can't be reached, breaks off or doesn't speak
            IMAP.
        @raise TLSUnavailable: if the connection isn't as safe as it must be.
        @raise AuthenticationFailed: if the server refuses the login.
        @raise EncryptionRequired: if the password would have to be sent without TLS.
        @raise SyntaxProblem: if what one logs in with can't be said to this server.
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
        session = self.session = IMAPClientSession(
            connection.stream, self._destination.name, self._timeout
        )
        await session.greet()
        if self._destination.level in ("required", "verified"):
            await self._secure(session)
        if self._credentials is not None and not session.authenticated:
            await self._logIn(session, self._credentials)
        await session.learnCapabilities()

    async def _secure(self, session: IMAPClientSession) -> None:
        # A greeting that says we are logged in would keep TLS away (RFC 9051 §11.2).
        if session.authenticated:
            raise TLSUnavailable(f"{session.remote}: it greets with PREAUTH, so without TLS")
        try:
            await session.startTLS()
        except Refused as refused:
            raise TLSUnavailable(f"{session.remote}: {refused.text}") from None

    async def _logIn(self, session: IMAPClientSession, credentials: Any) -> None:
        names = {
            each.removeprefix("AUTH=").encode("ascii", "replace")
            for each in await session.learnCapabilities()
            if each.startswith("AUTH=")
        }
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
            "LOGINDISABLED" in session.capabilities
            or not showsPassword(self._mechanisms)
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

    async def quit(self, patience: float = 10.0) -> None:
        """
        Log out and close, when what is under way is done. Never raises for what the server does.

        @param patience: seconds to wait for its answer.
        """
        await self._lock.acquire()
        try:
            session, self.session = self.session, None
            self._connection = None
            if session is not None:
                await session.logOut(patience)
        finally:
            self._lock.release()

    def abort(self) -> None:
        """
        Cut the connection.
        """
        connection, self._connection = self._connection, None
        self.session = None
        if connection is not None:
            connection.abort()

    # --- any command ---------------------------------------------------------------------------

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server can do, upper case."""
        return frozenset() if self.session is None else self.session.capabilities

    @property
    def mailbox(self) -> SelectedMailbox | None:
        """The selected mailbox, kept up with what the server says."""
        return None if self.session is None else self.session.mailbox

    def _require(self) -> IMAPClientSession:
        if self.session is None:
            raise DestinationUnavailable("There is no connection")
        return self.session

    async def _locked(self, talk: Callable[[IMAPClientSession], Awaitable[T]]) -> T:
        await self._lock.acquire()
        try:
            return await self._talk(talk(self._require()))
        finally:
            self._lock.release()

    async def command(
        self,
        *parts: bytes | Literal,
        each: Callable[[Response], bool] | None = None,
        sinkFor: Any = None,
    ) -> Result:
        """
        Send any command, and wait until it is done. Several that are sent at the same time go one
        after the other.

        @param parts: as of
            L{IMAPClientSession.command<twisted_mailstack.imap.clientsession.IMAPClientSession
            .command>}.
        @raise Refused: if the server answers NO or BAD.
        @raise DestinationUnavailable: if the connection is no more.
        """
        return await self._locked(
            lambda session: session.command(*parts, each=each, sinkFor=sinkFor)
        )

    async def noop(self) -> Result:
        """
        NOOP: whatever is new is told.
        """
        return await self.command(b"NOOP")

    async def enable(self, *names: str) -> frozenset[str]:
        """
        ENABLE (RFC 5161).

        @return: all that is enabled.
        """
        await self.command(b"ENABLE " + " ".join(names).encode("ascii"))
        return frozenset(self._require().enabled)

    async def identify(self, given: dict[str, str] | None = None) -> dict[str, str]:
        """
        ID (RFC 2971).

        @param given: what to say of ourselves.
        @return: what the server says of itself.
        """
        parts: list[bytes | Literal] = [b"ID "]
        if given:
            parts.append(b"(")
            for number, (key, value) in enumerate(given.items()):
                for word in (key, value):
                    parts.append(b" " if number or word is value else b"")
                    parts.append(_quoted(word))
            parts.append(b")")
        else:
            parts.append(b"NIL")
        result = await self.command(*parts)
        for data in result.data("ID"):
            if data.values and isinstance(data.values[0], tuple):
                words = data.values[0]
                return {
                    _text(key): _text(value)
                    for key, value in zip(words[::2], words[1::2], strict=False)
                    if value is not None
                }
        return {}

    async def getMetadata(self, name: str, *entries: str) -> dict[str, bytes | None]:
        """
        GETMETADATA (RFC 5464 §4.2), where the server has METADATA or, for itself, METADATA-SERVER.

        @param name: of a mailbox; empty for the server.
        @param entries: names of entries, which are ASCII and have no case.
        @return: those that it tells of, by their names in lower case; C{None} for what isn't there.
        """

        async def talk(session: IMAPClientSession) -> Result:
            parts: list[bytes | Literal] = [b"GETMETADATA "]
            parts += session.mailboxName(name) if name else (b'""',)
            for number, entry in enumerate(entries):
                parts.append(b" " if number else b" (")
                parts += session.astring(entry.encode("ascii"))
            return await session.command(*parts, b")")

        result = await self._locked(talk)
        found: dict[str, bytes | None] = {}
        for data in result.data("METADATA"):
            # Without a list it tells what somebody changed (§4.4.2).
            if len(data.values) == 2 and isinstance(data.values[1], tuple):
                for entry, value in _pairs(data.values[1]).items():
                    found[entry.lower()] = None if value is None else octetsOf(value)
        return found

    # --- mailboxes -----------------------------------------------------------------------------

    async def listMailboxes(
        self, reference: str = "", pattern: str = "*", selections: str = "", returns: str = ""
    ) -> list[ListedMailbox]:
        """
        LIST (RFC 9051 §6.3.9).

        @param selections: selection options, like C{SUBSCRIBED}; C{returns}: return options, like
            C{CHILDREN SPECIAL-USE}; where the server has LIST-EXTENDED.
        """

        async def talk(session: IMAPClientSession) -> Result:
            parts: list[bytes | Literal] = [b"LIST "]
            if selections:
                parts.append(f"({selections}) ".encode("ascii"))
            parts += _pattern(session, reference)
            parts.append(b" ")
            parts += _pattern(session, pattern)
            if returns:
                parts.append(f" RETURN ({returns})".encode("ascii"))
            return await session.command(*parts)

        result = await self._locked(talk)
        return [self._listed(data) for data in result.data("LIST")]

    def _decode(self, value: Any) -> str:
        octets = octetsOf(value)
        utf8 = bool(self._require().enabled & {"UTF8=ACCEPT", "IMAP4REV2"})
        try:
            return decodeName(octets, utf8 or not octets.isascii())
        except MailError:
            # What isn't modified UTF-7 has to be called something.
            return octets.decode("utf-8", "surrogateescape")

    def _listed(self, data: Data) -> ListedMailbox:
        if len(data.values) < 3 or not isinstance(data.values[0], tuple):
            raise MalformedResponse("LIST has three values")
        attributes, delimiter, name = data.values[:3]
        extended = data.values[3] if len(data.values) > 3 else ()
        return ListedMailbox(
            self._decode(name),
            "" if delimiter is None else _text(delimiter),
            frozenset(_text(each) for each in attributes),
            _pairs(extended),
        )

    async def _named(self, command: bytes, *names: str, rest: bytes = b"") -> Result:
        async def talk(session: IMAPClientSession) -> Result:
            parts: list[bytes | Literal] = [command]
            for name in names:
                parts.append(b" ")
                parts += session.mailboxName(name)
            return await session.command(*parts, rest)

        return await self._locked(talk)

    async def createMailbox(self, name: str, specialUse: str | None = None) -> None:
        """
        CREATE (RFC 9051 §6.3.4; RFC 6154 §3 for C{specialUse}).
        """
        rest = f" (USE ({specialUse}))".encode("ascii") if specialUse else b""
        await self._named(b"CREATE", name, rest=rest)

    async def deleteMailbox(self, name: str) -> None:
        """
        DELETE (RFC 9051 §6.3.5).
        """
        await self._named(b"DELETE", name)

    async def renameMailbox(self, old: str, new: str) -> None:
        """
        RENAME (RFC 9051 §6.3.6).
        """
        await self._named(b"RENAME", old, new)

    async def setSubscribed(self, name: str, subscribed: bool) -> None:
        """
        SUBSCRIBE or UNSUBSCRIBE (RFC 9051 §6.3.7).
        """
        await self._named(b"SUBSCRIBE" if subscribed else b"UNSUBSCRIBE", name)

    async def status(self, name: str, items: Sequence[str]) -> dict[str, Any]:
        """
        STATUS (RFC 9051 §6.3.11).

        @return: by upper-case name, numbers as C{int}.
        """
        rest = f" ({' '.join(items)})".encode("ascii")
        result = await self._named(b"STATUS", name, rest=rest)
        for data in result.data("STATUS"):
            if len(data.values) == 2 and isinstance(data.values[1], tuple):
                return {key: _number(value) for key, value in _pairs(data.values[1]).items()}
        raise DestinationUnavailable(f"{self._destination.name}: it doesn't tell the status")

    async def select(self, name: str, readOnly: bool = False) -> SelectedMailbox:
        """
        SELECT or EXAMINE (RFC 9051 §6.3.2), with CONDSTORE where the server has it.
        """
        parameters = b"(CONDSTORE)" if "CONDSTORE" in self.capabilities else b""
        mailbox, _ = await self._locked(lambda session: session.select(name, readOnly, parameters))
        return mailbox

    async def closeMailbox(self, expunge: bool = False) -> None:
        """
        No mailbox is selected any more (RFC 3691).

        @param expunge: remove what has C{\\Deleted} (CLOSE).
        """

        async def talk(session: IMAPClientSession) -> None:
            if expunge:
                await session.command(b"CLOSE")
            elif session.capabilities & {"UNSELECT", "IMAP4REV2"}:
                await session.command(b"UNSELECT")
            else:
                # RFC 3691 §1: what a client without it does: select what isn't there.
                assert session.mailbox is not None
                await session.select(session.mailbox.name, readOnly=True)
                await session.command(b"CLOSE")
            session.mailbox = None

        await self._locked(talk)

    # --- messages ------------------------------------------------------------------------------

    async def fetch(
        self,
        uids: UIDs,
        items: Sequence[str],
        *,
        changedSince: int | None = None,
        each: Callable[[FetchedMessage], None] | None = None,
    ) -> list[FetchedMessage]:
        """
        UID FETCH (RFC 9051 §6.4.5).

        @param items: like C{FLAGS} or C{BODY.PEEK[HEADER]}.
        @param changedSince: only what has a higher modSeq (RFC 7162 §3.1.4.1).
        @param each: given each message as it comes; they aren't gathered then.
        @return: the messages of which the server told what was asked, in its order. What it tells
            unasked of others is not among them.
        """
        found: list[FetchedMessage] = []
        names = {_label(item) for item in items} - {"UID"}
        modifiers = b"" if changedSince is None else b" (CHANGEDSINCE %d)" % changedSince
        wanted = " ".join(items).encode("utf-8")

        def take(response: Response) -> bool:
            message = readFetched(response)
            if message is None or not all(
                any(key == name or key.startswith(name + "<") for key in message.items)
                for name in names
            ):
                return False
            (found.append if each is None else each)(message)
            return True

        for some in _sets(uids):
            await self.command(b"UID FETCH %b (%b)%b" % (some, wanted, modifiers), each=take)
        return found

    async def fetchTo(self, uid: int, sink: Sink, section: str = "") -> FetchedMessage | None:
        """
        Read a message, or a section of it, in bounded memory; it is not marked as seen.

        @param sink: what its octets are written to.
        @param section: between the brackets of C{BODY[]}.
        @return: what the server told besides, with UID, FLAGS and INTERNALDATE; C{None} if there is
            no such message, or no such section.
        """
        found: list[FetchedMessage] = []
        label = f"BODY[{section.upper()}]"

        def sinkFor(response: bytes, _: int) -> Sink | None:
            before = response.rpartition(b"{")[0].rstrip(b" ~")
            return sink if before.upper().endswith(label.encode("ascii")) else None

        def take(response: Response) -> bool:
            message = readFetched(response)
            if message is None or message.uid != uid or message.items.get(label) is None:
                return False
            value = message.items[label]
            if isinstance(value, bytes):
                # Short ones may come quoted.
                waiting.append(sink.write(value))
            found.append(message)
            return True

        waiting: list[Awaitable[None] | None] = []
        line = b"UID FETCH %d (UID FLAGS INTERNALDATE BODY.PEEK[%b])"
        await self.command(line % (uid, section.encode("ascii")), each=take, sinkFor=sinkFor)
        for each in waiting:
            if each is not None:
                await each
        return found[0] if found else None

    async def search(
        self, criteria: str, returns: str | None = None, *, texts: Sequence[str] = ()
    ) -> SearchResult:
        """
        UID SEARCH (RFC 9051 §6.4.4).

        @param criteria: like C{UNSEEN SINCE 1-Feb-2026}; each C{%s} in it stands for one of
            C{texts}.
        @param returns: return options (RFC 4731), like C{MIN COUNT}.
        """
        return await self._search("SEARCH", "", criteria, returns, texts)

    async def sort(
        self,
        order: str,
        criteria: str = "ALL",
        returns: str | None = None,
        *,
        texts: Sequence[str] = (),
    ) -> SearchResult:
        """
        UID SORT (RFC 5256).

        @param order: like C{REVERSE DATE SUBJECT}. The others are as of L{search}.
        """
        return await self._search("SORT", order, criteria, returns, texts)

    async def _search(
        self, command: str, order: str, criteria: str, returns: str | None, texts: Sequence[str]
    ) -> SearchResult:
        async def talk(session: IMAPClientSession) -> Result:
            parts: list[bytes | Literal] = [f"UID {command}".encode("ascii")]
            if returns is not None:
                parts.append(f" RETURN ({returns})".encode("ascii"))
            if order:
                parts.append(f" ({order}) UTF-8 ".encode("ascii"))
            elif all(text.isascii() for text in texts) or (
                # RFC 6855 §3: no CHARSET any more.
                session.enabled & {"UTF8=ACCEPT", "IMAP4REV2"}
            ):
                parts.append(b" ")
            else:
                parts.append(b" CHARSET UTF-8 ")
            pieces = criteria.split("%s")
            if len(pieces) != len(texts) + 1:
                raise ValueError("each %s stands for one text")
            for number, piece in enumerate(pieces):
                parts.append(piece.encode("utf-8"))
                if number < len(texts):
                    parts += session.astring(texts[number].encode("utf-8"))
            return await session.command(*parts)

        result = await self._locked(talk)
        uids: list[int] = []
        modSeq = 0
        values: dict[str, Any] = {}
        for data in result.data(command):
            for value in data.values:
                if isinstance(value, tuple):
                    # * SEARCH 2 5 6 (MODSEQ 917162500)
                    modSeq = numberOf(_pairs(value).get("MODSEQ"))
                else:
                    uids.append(numberOf(value))
        for data in result.data("ESEARCH"):
            found = _esearch(data)
            values.update(found)
            if "MODSEQ" in found:
                modSeq = numberOf(found["MODSEQ"])
            if "ALL" in found:
                uids += _inOrder(found["ALL"])
        return SearchResult(uids, modSeq, values)

    async def thread(self, algorithm: str = "REFERENCES", criteria: str = "ALL") -> tuple[Any, ...]:
        """
        UID THREAD (RFC 5256).

        @return: the threads as the server wrote them: tuples of UIDs, as text, and of tuples.
        """
        result = await self.command(f"UID THREAD {algorithm} UTF-8 {criteria}".encode())
        threads: tuple[Any, ...] = ()
        for data in result.data("THREAD"):
            threads += data.values
        return threads

    async def store(
        self,
        uids: UIDs,
        operation: FlagOperation,
        flags: Iterable[str],
        *,
        unchangedSince: int | None = None,
        silent: bool = False,
    ) -> tuple[list[FetchedMessage], NumberSet]:
        """
        UID STORE (RFC 9051 §6.4.6).

        @param unchangedSince: only what has no higher modSeq (RFC 7162 §3.1.3).
        @return: what the server told of them then, and the UIDs left alone for their modSeq.
        """
        sign = {FlagOperation.ADD: "+", FlagOperation.REMOVE: "-", FlagOperation.REPLACE: ""}
        name = f"{sign[operation]}FLAGS{'.SILENT' if silent else ''}"
        since = "" if unchangedSince is None else f" (UNCHANGEDSINCE {unchangedSince})"
        rest = f"{since} {name} ({' '.join(sorted(flags))})".encode("ascii")
        told: list[FetchedMessage] = []
        modified = NumberSet()
        for some in _sets(uids):
            result = await self.command(b"UID STORE " + some + rest)
            told += [each for each in map(readFetched, result.responses) if each is not None]
            code = result.code("MODIFIED")
            if code is not None and code.values:
                modified |= NumberSet.parse(octetsOf(code.values[0]))
        return told, modified

    async def copy(self, uids: UIDs, name: str) -> list[CopyResult]:
        """
        UID COPY (RFC 9051 §6.4.7).

        @return: which UIDs became which, as far as the server tells (RFC 4315).
        """
        return [_copied(await self._named(b"UID COPY " + some, name)) for some in _sets(uids)]

    async def move(self, uids: UIDs, name: str) -> list[CopyResult]:
        """
        UID MOVE (RFC 6851); where the server doesn't have it, what it says in its place: COPY,
        STORE and EXPUNGE.

        @return: as L{copy}.
        """
        if self.capabilities & {"MOVE", "IMAP4REV2"}:
            return [_copied(await self._named(b"UID MOVE " + some, name)) for some in _sets(uids)]
        sets = list(_sets(uids))
        results = []
        for some in sets:
            results += await self.copy(some.decode("ascii"), name)
            await self.store(some.decode("ascii"), FlagOperation.ADD, ("\\Deleted",), silent=True)
            await self.expunge(some.decode("ascii"))
        return results

    async def expunge(self, uids: UIDs | None = None) -> None:
        """
        Remove what has C{\\Deleted} (RFC 9051 §6.4.3).

        @param uids: only of these (RFC 4315).
        @raise MailError: if the server can't remove only these.
        """
        if uids is None:
            await self.command(b"EXPUNGE")
            return
        if not self.capabilities & {"UIDPLUS", "IMAP4REV2"}:
            raise MailError("The server can't remove some of what is marked only (UIDPLUS)")
        for some in _sets(uids):
            await self.command(b"UID EXPUNGE " + some)

    async def append(
        self,
        name: str,
        content: bytes | Readable,
        flags: Iterable[str] = (),
        internalDate: tuple[int, int] | None = None,
    ) -> AppendResult | None:
        """
        APPEND (RFC 9051 §6.3.12).

        @param content: the message, its lines ended by CRLF; what is read from isn't held in
            memory.
        @param internalDate: seconds since 1970, and the zone's minutes east of UTC.
        @return: the message's UID, where the server tells (RFC 4315).
        """

        async def talk(session: IMAPClientSession) -> Result:
            given = f" ({' '.join(sorted(flags))})".encode("ascii")
            date = b"" if internalDate is None else b' "%b"' % formatDateTime(*internalDate)
            return await session.command(
                b"APPEND ", *session.mailboxName(name), given + date + b" ", Literal(content)
            )

        code = (await self._locked(talk)).code("APPENDUID")
        if code is None or len(code.values) < 2:
            return None
        return AppendResult(
            numberOf(code.values[0]), list(NumberSet.parse(octetsOf(code.values[1])))
        )

    # --- news ----------------------------------------------------------------------------------

    async def idle(self, timeout: float = IDLE_TIME) -> list[Response]:
        """
        Wait until something happens in the selected mailbox (RFC 2177).

        @param timeout: seconds to wait at most.
        @return: what the server said; empty if nothing.
        """
        return await self._locked(lambda session: session.idle(timeout))

    def stopIdle(self) -> None:
        """
        End an L{idle} that is under way: other commands wait for it.
        """
        if self.session is not None:
            self.session.stopIdle()

    async def synchronise(
        self, name: str, known: MailboxState | None = None, readOnly: bool = True
    ) -> MailboxChanges:
        """
        Select a mailbox and learn what happened in it: with QRESYNC (RFC 7162 §3.2) in one step;
        with CONDSTORE by what has changed and which UIDs there are; else by all flags.

        @param known: what an earlier call gave as C{state}; C{None}: nothing is known.
        """
        if "QRESYNC" in self.capabilities and "QRESYNC" not in self._require().enabled:
            if self.mailbox is not None:
                # RFC 5161 §3.1: only while none is selected.
                await self.closeMailbox()
            await self.enable("QRESYNC")
        if known is not None and "QRESYNC" in self._require().enabled and known.highestModSeq:
            return await self._resynchronise(name, known, readOnly)
        mailbox = await self.select(name, readOnly)
        validity, highest = mailbox.uidValidity, mailbox.highestModSeq
        if known is not None and known.uidValidity != validity:
            known = None
        changed: dict[int, Flags] = {}

        def each(message: FetchedMessage) -> None:
            changed[message.uid] = message.flags or frozenset()

        everything = not (known is not None and known.highestModSeq and highest)
        since = None if known is None or everything else known.highestModSeq
        if mailbox.messages:
            await self.fetch("1:*", ["UID", "FLAGS"], changedSince=since, each=each)
        if everything:
            uids = NumberSet.of(changed)
        elif mailbox.messages:
            uids = NumberSet.of(sorted((await self.search("ALL")).uids))
        else:
            uids = NumberSet()
        vanished = NumberSet()
        if known is not None:
            vanished = NumberSet.of([uid for uid in known.uids if uid not in uids])
        return MailboxChanges(
            MailboxState(validity, highest, uids), known is None, changed, vanished
        )

    async def _resynchronise(
        self, name: str, known: MailboxState, readOnly: bool
    ) -> MailboxChanges:
        # Without the UIDs that are known: only of those it would tell (RFC 7162 §3.2.5.1), and not
        # of what is new.
        parameters = b"(QRESYNC (%d %d))" % (known.uidValidity, known.highestModSeq)
        mailbox, result = await self._locked(
            lambda session: session.select(name, readOnly, parameters)
        )
        if mailbox.uidValidity != known.uidValidity or not mailbox.highestModSeq:
            # Another mailbox, or one without modSeqs.
            await self.closeMailbox()
            return (await self.synchronise(name, None, readOnly))._replace(reset=True)
        changed: dict[int, Flags] = {}
        vanished = NumberSet()
        for response in result.responses:
            message = readFetched(response)
            if message is not None and message.uid and message.flags is not None:
                changed[message.uid] = message.flags
            elif isinstance(response, Data) and response.name == "VANISHED":
                vanished |= NumberSet.parse(octetsOf(response.values[-1]))
        gone = NumberSet.of([uid for uid in known.uids if uid in vanished])
        uids = NumberSet.of(
            sorted({uid for uid in known.uids if uid not in vanished} | set(changed))
        )
        state = MailboxState(mailbox.uidValidity, mailbox.highestModSeq, uids)
        return MailboxChanges(state, False, changed, gone)


# --- reading values ------------------------------------------------------------------------------


def _text(value: Any) -> str:
    return octetsOf(value).decode("utf-8", "surrogateescape")


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _quoted(text: str) -> bytes:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'.encode()


def _pattern(session: IMAPClientSession, pattern: str) -> tuple[bytes | Literal, ...]:
    encoded = session.mailboxName(pattern)
    # An empty one, or one with wildcards, isn't an atom.
    return encoded if encoded != (b"",) else (b'""',)


def _pairs(values: Any) -> dict[str, Any]:
    if not isinstance(values, tuple):
        raise MalformedResponse("a list was expected")
    return {
        _text(key).upper(): value for key, value in zip(values[::2], values[1::2], strict=False)
    }


def _label(item: str) -> str:
    return item.upper().replace("BODY.PEEK[", "BODY[").replace("BINARY.PEEK[", "BINARY[").partition(
        "<"
    )[0].partition("]")[0] + ("]" if "[" in item else "")


def readFetched(response: Response) -> FetchedMessage | None:
    """
    @return: what a FETCH response tells, C{None} if it is another.
    @raise MalformedResponse: if it can't be read.
    """
    if not isinstance(response, Data) or response.name not in ("FETCH", "UIDFETCH"):
        return None
    if response.number is None or not response.values:
        raise MalformedResponse("FETCH has a number and a list")
    items = _pairs(response.values[0])
    if response.name == "UIDFETCH":
        items.setdefault("UID", str(response.number))
    return FetchedMessage(response.number, items)


def _sets(uids: UIDs) -> Iterable[bytes]:
    """
    @return: sets for one command each.
    """
    if isinstance(uids, str):
        if uids:
            yield uids.encode("ascii")
        return
    numbers = uids if isinstance(uids, NumberSet) else NumberSet.of(sorted(set(uids)))
    some: list[bytes] = []
    size = 0
    for first, last in numbers.ranges:
        text = b"%d" % first if first == last else b"%d:%d" % (first, last)
        if some and size + len(text) + 1 > MAX_SET:
            yield b",".join(some)
            some, size = [], 0
        some.append(text)
        size += len(text) + 1
    if some:
        yield b",".join(some)


def _inOrder(value: Any) -> list[int]:
    # Of SORT the order says something: not a set.
    numbers: list[int] = []
    for each in _text(value).split(","):
        first, colon, last = each.partition(":")
        if colon:
            one, other = numberOf(first), numberOf(last)
            numbers += range(one, other + 1) if one <= other else range(one, other - 1, -1)
        else:
            numbers.append(numberOf(first))
    return numbers


def _esearch(data: Data) -> dict[str, Any]:
    #   esearch-response = "ESEARCH" [search-correlator] [SP "UID"] *(SP search-return-data)
    values = list(data.values)
    if values and isinstance(values[0], tuple):
        values.pop(0)
    if values and isinstance(values[0], str) and values[0].upper() == "UID":
        values.pop(0)
    return _pairs(tuple(values))


def _copied(result: Result) -> CopyResult:
    code = result.code("COPYUID")
    if code is None or len(code.values) < 3:
        return CopyResult(0, [], [])
    validity, sources, destinations = code.values[:3]
    return CopyResult(numberOf(validity), _inOrder(sources), _inOrder(destinations))


def _envelope(value: Any) -> Envelope:
    if not isinstance(value, tuple) or len(value) < 10:
        raise MalformedResponse("an envelope has ten fields")
    date, subject, inReplyTo, messageId = (_nstring(value[at]) for at in (0, 1, 8, 9))
    sentFrom, sender, replyTo, to, cc, bcc = (
        tuple(_address(each) for each in addresses or ()) for addresses in value[2:8]
    )
    return Envelope(date, subject, sentFrom, sender, replyTo, to, cc, bcc, inReplyTo, messageId)


def _nstring(value: Any) -> bytes | None:
    return None if value is None else octetsOf(value)


def _address(value: Any) -> EmailAddress:
    if not isinstance(value, tuple) or len(value) < 4:
        raise MalformedResponse("an address has four fields")
    return EmailAddress(*(_nstring(each) for each in value[:4]))


def _parameters(value: Any) -> dict[str, bytes]:
    if not isinstance(value, tuple):
        return {}
    return {
        _text(key).lower(): octetsOf(each)
        for key, each in zip(value[::2], value[1::2], strict=False)
    }


def _part(value: Any, number: str, depth: int) -> BodyPart:
    if not isinstance(value, tuple) or not value or depth > MAX_DEPTH:
        raise MalformedResponse("not a BODYSTRUCTURE")
    below = f"{number}." if number else ""
    if isinstance(value[0], tuple):
        return _multipart(value, number, below, depth)
    if len(value) < 7:
        raise MalformedResponse("a part has seven fields")
    kind = f"{_text(value[0])}/{_text(value[1])}".lower()
    envelope: Envelope | None = None
    parts: tuple[BodyPart, ...] = ()
    lines: int | None = None
    rest = 7
    # A message that isn't a multipart is its part 1.
    own = number or "1"
    if kind in ("message/rfc822", "message/global") and len(value) >= 10:
        envelope = _envelope(value[7])
        inner = value[8]
        isMultipart = isinstance(inner, tuple) and inner and isinstance(inner[0], tuple)
        parts = (_part(inner, own if isMultipart else f"{own}.1", depth + 1),)
        lines = numberOf(value[9])
        rest = 10
    elif kind.startswith("text/") and len(value) >= 8:
        lines = numberOf(value[7])
        rest = 8
    disposition, dispositionParameters = _disposition(value[rest + 1 : rest + 2])
    return BodyPart(
        own,
        kind,
        _parameters(value[2]),
        _nstring(value[3]),
        _nstring(value[4]),
        _text(value[5]).lower() if value[5] is not None else "",
        numberOf(value[6]),
        lines,
        disposition,
        dispositionParameters,
        envelope,
        parts,
    )


def _multipart(value: tuple[Any, ...], number: str, below: str, depth: int) -> BodyPart:
    count = next((at for at, each in enumerate(value) if not isinstance(each, tuple)), len(value))
    parts = tuple(
        _part(each, f"{below}{at}", depth + 1) for at, each in enumerate(value[:count], 1)
    )
    subtype = _text(value[count]).lower() if count < len(value) else "mixed"
    disposition, dispositionParameters = _disposition(value[count + 2 : count + 3])
    return BodyPart(
        number,
        f"multipart/{subtype}",
        _parameters(value[count + 1] if len(value) > count + 1 else None),
        disposition=disposition,
        dispositionParameters=dispositionParameters,
        parts=parts,
    )


def _disposition(values: tuple[Any, ...]) -> tuple[str, dict[str, bytes]]:
    if not values or not isinstance(values[0], tuple) or not values[0]:
        return "", {}
    given = values[0]
    return _text(given[0]).lower(), _parameters(given[1] if len(given) > 1 else None)


def _reason(error: BaseException) -> str:
    if isinstance(error, SessionEnded | ConnectTimeout):
        return "timeout"
    if isinstance(error, ConnectionClosed | TransportClosed):
        return "the connection was closed"
    if isinstance(error, MalformedResponse):
        return f"it does not speak IMAP: {error}"
    if isinstance(error, PlaintextInjected):
        return "it sent something behind its OK to STARTTLS"
    reason = getattr(error, "osError", None) or error
    return str(reason) or type(error).__name__
