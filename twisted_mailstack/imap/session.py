# -*- test-case-name: tests.imap.test_session -*-
"""
The server's side of an IMAP session (RFC 3501, RFC 9051), as one coroutine.

Commands run strictly in order. Which commands, FETCH items, SEARCH keys and so on there are comes
from the tables of L{Registry}; this module knows states, tags and the selected mailbox, and turns
errors into tagged responses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from twisted.cred.portal import Portal
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mailstack.auth.login import Login
from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.errors import (
    AccessDenied,
    ConnectionClosed,
    LimitExceeded,
    MailError,
    NoSuchMailbox,
    PlaintextInjected,
    SessionEnded,
    SyntaxProblem,
)
from twisted_mailstack.imap.extension import (
    Command,
    Extension,
    FetchModifier,
    ListReturn,
    ListSelection,
    ParseModifier,
    SearchReturn,
    SelectParameter,
    ServerEntry,
    State,
    StatusQuery,
    StoreItem,
)
from twisted_mailstack.imap.framing import (
    AFTER_LOGIN,
    BEFORE_LOGIN,
    WINDOW_BEFORE_LOGIN,
    Refused,
    SinkFor,
    readCommand,
)
from twisted_mailstack.imap.grammar import TAG, Cursor
from twisted_mailstack.imap.selected import Selected
from twisted_mailstack.imap.views import Views
from twisted_mailstack.interfaces import IAccount, IContentWriter, IServerMechanism
from twisted_mailstack.wire.stream import HIGH_WATER, Stream

#   text = 1*TEXT-CHAR; TEXT-CHAR = any CHAR but CR and LF; CHAR = %x01-7F
_NOT_TEXT = re.compile(r"[^\x01-\x09\x0b\x0c\x0e-\x7f]")


@dataclass(frozen=True, kw_only=True)
class IMAPSettings:
    """
    @ivar hostname: what the server calls itself.
    @ivar timeout: seconds without a command before autologout; RFC 9051 §5.4: at least 30 minutes.
    @ivar loginTimeout: the same before login.
    @ivar maxMessageOctets: of APPEND.
    @ivar maxErrors: commands that may be malformed before login, until the session is closed.
    @ivar maxLoginFailures: before the session is closed.
    @ivar allowPlaintextAuth: passwords without TLS, for loopback only.
    @ivar maxMessages: that one command may be about (RFC 9738), at least 1,000; 0 for no limit.
    @ivar serverEntries: shared metadata entries of the server (RFC 5464 §3.2.1.1), by their names
        in lower case.
    @ivar referrals: where else mailboxes are (RFC 2221): the host of a server, by address or by
        domain, in lower case. Who logs in is sent there.
    """

    hostname: str
    timeout: float = 1800.0
    loginTimeout: float = 60.0
    maxMessageOctets: int = 50 * 1024 * 1024
    maxErrors: int = 20
    maxLoginFailures: int = 3
    allowPlaintextAuth: bool = False
    maxMessages: int = 0
    serverEntries: Mapping[str, bytes] = field(default_factory=dict)
    referrals: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.timeout < 1800:
            raise ValueError("timeout must be at least 1800 seconds (RFC 9051 §5.4)")
        if 0 < self.maxMessages < 1000:
            raise ValueError("maxMessages must be 0 or at least 1000 (RFC 9738 §3)")


class Listener(Protocol):
    """
    Something besides the selected mailbox of which a session tells news.
    """

    async def news(self) -> bytes:
        """
        @return: untagged responses that tell what happened since the last call.
        """

    def close(self) -> None:
        """
        The session is over, or nobody's any more.
        """


class Pusher(Protocol):
    """
    Decides what is told of the selected mailbox, and that news are told while the client says
    nothing (RFC 5465).
    """

    async def selectedNews(self, mayExpunge: bool) -> bytes:
        """
        @param mayExpunge: of the command under way, whether EXPUNGE may be told.
        @return: untagged responses; some may be written already.
        @raise MailError: as L{Selected.synchronise}.
        """


class Registry:
    """
    The tables of a server, made once.

    @ivar commands: by state and name.
    @ivar fetchItems: by name; C{searchKeys}, C{statusItems}, C{statusQueries},
        C{listSelections}, C{listReturns}, C{createParameters}, C{selectParameters},
        C{fetchModifiers}, C{storeModifiers}, C{storeItems}, C{searchReturns}, C{sortKeys},
        C{threadAlgorithms}, C{appendData}, C{appendOptions}, C{statusEnables} and
        C{serverMetadata} likewise.
    @ivar progress: that of the extension that has one.
    @ivar whenEnabled: called when a capability is enabled, by its name.
    @ivar implied: what is enabled along with a capability, by its name.
    @ivar listAttributes: of all extensions; C{selectResponses}, C{createCodes}, C{appendChecks}
        and C{metadataChecks} likewise.
    """

    def __init__(
        self,
        commands: Iterable[Command],
        fetchItems: dict[bytes, Any],
        searchKeys: dict[bytes, Any],
        statusItems: dict[bytes, Any],
        extensions: Sequence[Extension],
    ) -> None:
        self.extensions = tuple(extensions)
        self.known = {command.name: command for command in commands}
        self.fetchItems = dict(fetchItems)
        self.searchKeys = dict(searchKeys)
        self.sortKeys: dict[bytes, Any] = {}
        self.threadAlgorithms: dict[bytes, Any] = {}
        self.statusItems = dict(statusItems)
        self.statusQueries: dict[bytes, StatusQuery] = {}
        self.listSelections: dict[bytes, ListSelection | None] = {}
        self.listReturns: dict[bytes, ListReturn] = {}
        self.createParameters: dict[bytes, Any] = {}
        self.appendData: dict[bytes, Any] = {}
        self.selectParameters: dict[bytes, SelectParameter] = {}
        self.fetchModifiers: dict[bytes, FetchModifier] = {}
        self.storeModifiers: dict[bytes, ParseModifier] = {}
        self.storeItems: dict[bytes, StoreItem] = {}
        self.appendOptions: dict[bytes, Any] = {}
        self.searchReturns: dict[bytes, SearchReturn] = {}
        self.progress: Callable[[IMAPSession, bytes], Callable[[int], None]] | None = None
        self.statusEnables: dict[bytes, bytes] = {}
        self.serverMetadata: dict[str, ServerEntry] = {}
        self.implied: dict[bytes, tuple[bytes, ...]] = {}
        self.whenEnabled: dict[bytes, Callable[[IMAPSession], None]] = {}
        for extension in self.extensions:
            self.known.update({command.name: command for command in extension.commands})
            self.fetchItems.update(extension.fetchItems)
            self.searchKeys.update(extension.searchKeys)
            self.sortKeys.update(extension.sortKeys)
            self.threadAlgorithms.update(extension.threadAlgorithms)
            self.statusItems.update(extension.statusItems)
            self.statusQueries.update(extension.statusQueries)
            self.listSelections.update(extension.listSelections)
            self.listReturns.update(extension.listReturns)
            self.createParameters.update(extension.createParameters)
            self.appendData.update(extension.appendData)
            self.selectParameters.update(extension.selectParameters)
            self.fetchModifiers.update(extension.fetchModifiers)
            self.storeModifiers.update(extension.storeModifiers)
            self.storeItems.update(extension.storeItems)
            self.appendOptions.update(extension.appendOptions)
            self.searchReturns.update(extension.searchReturns)
            self.progress = extension.progress or self.progress
            self.statusEnables.update(extension.statusEnables)
            self.serverMetadata.update(extension.serverMetadata)
            self.implied.update(dict.fromkeys(extension.enables, extension.implies))
            if extension.whenEnabled is not None:
                self.whenEnabled.update(dict.fromkeys(extension.enables, extension.whenEnabled))
        self.commands = {
            state: {n: command for n, command in self.known.items() if state in command.states}
            for state in State
        }
        self.listAttributes = [
            each.listAttributes for each in self.extensions if each.listAttributes is not None
        ]
        self.selectResponses = [
            each.selectResponse for each in self.extensions if each.selectResponse is not None
        ]
        self.appendChecks = [
            each.checkAppend for each in self.extensions if each.checkAppend is not None
        ]
        self.metadataChecks = [
            each.checkMetadata for each in self.extensions if each.checkMetadata is not None
        ]
        self.createCodes = [
            each.createCode for each in self.extensions if each.createCode is not None
        ]


class IMAPSession:
    """
    One connection.

    @ivar state: which commands may be given.
    @ivar account: once logged in.
    @ivar mechanism: by which somebody has logged in.
    @ivar selected: the selected mailbox.
    @ivar enabled: what ENABLE, or a command that implies it, turned on; see L{enable}.
    @ivar named: what ENABLED responses have named.
    @ivar listeners: of what it tells news besides the selected mailbox.
    @ivar pusher: C{None}: news are told at the end of commands.
    @ivar running: the command under way.
    @ivar urls: authorises URLs (RFC 4467); C{None}: nobody does.
    @ivar views: of the mailboxes that sessions have selected.
    @ivar closing: set to end the session after this command.
    """

    log = Logger()

    def __init__(
        self,
        stream: Stream,
        settings: IMAPSettings,
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
        self.state = State.NOT_AUTHENTICATED
        self.account: IAccount | None = None
        self.mechanism = ""
        self.selected: Selected | None = None
        self.urls: URLAuthority | None = None
        self.views = Views()
        self.enabled: set[bytes] = set()
        self.named: set[bytes] = set()
        self.listeners: list[Listener] = []
        self.pusher: Pusher | None = None
        self.running: Command | None = None
        self.closing = False
        # The response code that says that the command under way is done in part (RFC 9738).
        self._limited = b""
        # Run once the tagged response of the command under way is written.
        self.afterResponse: Callable[[], None] | None = None
        self._errors = 0

    # --- what commands use ---------------------------------------------------------------------

    @property
    def plaintextAllowed(self) -> bool:
        """Whether a password may be sent now."""
        return self.stream.info.secure or self.settings.allowPlaintextAuth

    @property
    def utf8(self) -> bool:
        """Whether names and strings are in UTF-8 (RFC 6855 §3, RFC 9051 §5.1)."""
        return b"IMAP4REV2" in self.enabled or b"UTF8=ACCEPT" in self.enabled

    def capabilities(self) -> bytes:
        """
        @return: what holds now (RFC 9051 §7.2.2).
        """
        names = [b"IMAP4rev1"]
        for extension in self.registry.extensions:
            name = extension.capability
            shown = name if isinstance(name, bytes) else name(self)
            if shown:
                names.append(shown)
        return b" ".join(names)

    def theAccount(self) -> IAccount:
        """
        @return: the account of a session that is logged in.
        """
        assert self.account is not None
        return self.account

    def theSelected(self) -> Selected:
        """
        @return: the mailbox of a session that has selected one.
        """
        assert self.selected is not None
        return self.selected

    async def logIn(self, credentials: object, mechanism: str) -> None:
        """
        @raise AuthenticationFailed: after a delay.
        @raise MailError: with C{REFERRAL}, if the mailboxes are elsewhere.
        """
        account = await self.login.attempt(credentials, mechanism, self.stream.info)
        address = account.address
        referrals = self.settings.referrals
        host = referrals.get(str(address).lower()) or referrals.get(address.domain.lower())
        if host:
            # "MUST NOT give a login referral if authentication for that user fails" (RFC 2221 §6).
            self.login.logOut()
            user = quote(str(address), safe="")
            raise MailError(
                "The mailboxes are on another server",
                imapCode=f"REFERRAL imap://{user};AUTH=*@{host}/",
            )
        self.account = account
        self.mechanism = mechanism
        self.state = State.AUTHENTICATED
        self.stream.timeout = self.settings.timeout
        self.stream.setWindow(HIGH_WATER)

    def enable(self, name: bytes) -> None:
        """
        Turn an extension on, by ENABLE or by a command that implies it, for the rest of the
        connection (RFC 5161 §3.1). Does nothing if it is on.
        """
        if name in self.enabled:
            return
        self.enabled.add(name)
        if name in self.registry.whenEnabled:
            self.registry.whenEnabled[name](self)
        for implied in self.registry.implied.get(name, ()):
            self.enable(implied)
        if name == b"CONDSTORE" and self.selected is not None:
            # "A first CONDSTORE enabling command executed in the session with a mailbox selected
            # MUST cause the server to return HIGHESTMODSEQ" (RFC 7162 §3.1).
            self.stream.write(self.selected.announceModSeq())

    def disable(self) -> None:
        """
        Nothing is enabled any more, as on a new connection. For when no mailbox is selected.
        """
        self.enabled.clear()
        self.named.clear()

    def atMost(self, indexes: Sequence[int]) -> Sequence[int]:
        """
        @param indexes: of messages of the selected mailbox, that a command is about.
        @return: those that it is done for; the tagged OK says so if these are fewer (RFC 9738
            §3.1).
        """
        limit = self.settings.maxMessages
        if not limit or len(indexes) <= limit:
            return indexes
        done = indexes[-limit:]
        self._limited = b"[MESSAGELIMIT %d %d] " % (limit, self.theSelected().view.uids[done[0]])
        return done

    def requireAtMost(self, messages: int) -> None:
        """
        @param messages: how many a command is about that is done for all or for none.
        @raise MailError: if they are too many (RFC 9738 §3.1).
        """
        limit = self.settings.maxMessages
        if limit and messages > limit:
            raise MailError("Too many messages at once", imapCode=f"MESSAGELIMIT {limit}")

    def unselect(self) -> None:
        """
        No mailbox is selected any more.
        """
        if self.selected is not None:
            self.selected.close()
            self.selected = None
            self.state = State.AUTHENTICATED

    def leave(self) -> None:
        """
        Nothing of the account is looked at any more.
        """
        self.unselect()
        self.pusher = None
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            listener.close()

    def logOut(self) -> None:
        """
        Be as after the greeting, but for TLS (RFC 8437 §3).

        @raise PlaintextInjected: if the client sent something compressed behind its command.
        """
        self.leave()
        if self.account is not None:
            self._logLogout(self.account)
        self.account = None
        self.mechanism = ""
        self.state = State.NOT_AUTHENTICATED
        self.disable()
        self.stream.timeout = self.settings.loginTimeout
        self.stream.setWindow(WINDOW_BEFORE_LOGIN)
        self.stream.stopCompression()

    def _logLogout(self, account: IAccount) -> None:
        stream = self.stream
        self.log.info(
            "{service}: logout: user={user} peer={peer} in={octetsIn} out={octetsOut}",
            service=stream.info.service,
            user=str(account.address),
            peer=stream.info.peer,
            octetsIn=stream.bytesIn,
            octetsOut=stream.bytesOut,
        )
        self.login.logOut()

    def beginTLS(self) -> None:
        """
        Begin TLS; nothing that was learned before counts (RFC 9051 §6.2.1).

        @raise PlaintextInjected: if the client sent text behind STARTTLS.
        """
        self.stream.startTLS()
        self.disable()

    async def drainAmid(self) -> None:
        """
        In the midst of a response: wait until the peer has taken enough of it. Where that has no
        end the connection is closed without a goodbye, which would be taken for a part of it.

        @raise ConnectionClosed: if the peer is gone, or takes nothing.
        """
        try:
            await self.stream.drain()
        except SessionEnded:
            self.stream.close()
            raise ConnectionClosed() from None

    async def tellNews(self, mayExpunge: bool = True) -> None:
        """
        Write what others changed in the selected mailbox; nothing after BYE.
        """
        if self.selected is not None and not self.closing:
            try:
                if self.pusher is None:
                    news = await self.selected.synchronise(mayExpunge)
                else:
                    news = await self.pusher.selectedNews(mayExpunge)
            except (ConnectionClosed, SessionEnded):
                # While something was fetched.
                raise
            except NoSuchMailbox:
                # RFC 2180 §3.3: the mailbox was deleted by another session.
                self._goodbye("the selected mailbox was deleted")
            except AccessDenied:
                # RFC 4314 §5.1.1: it "MAY send an untagged BYE response and close connection".
                self._goodbye("the selected mailbox may not be read any more")
            except Exception:
                # The command under way is answered all the same; this is told with a later one.
                self.log.failure("what changed in {name} can't be told", name=self.selected.name)
            else:
                if news:
                    self.stream.write(news)
        for listener in tuple(self.listeners):
            try:
                self.stream.write(await listener.news())
            except Exception:
                self.log.failure("news can't be told")

    def tellModSeq(self) -> None:
        """
        Write HIGHESTMODSEQ if the client doesn't come to it by itself (L{Selected.modSeqNews});
        nothing after BYE.
        """
        if self.selected is not None and not self.closing:
            code = self.selected.modSeqNews()
            if code:
                self.stream.write(b"* OK %btold\r\n" % code)

    # --- running -------------------------------------------------------------------------------

    async def run(self) -> None:
        """
        Serve the connection to its end.
        """
        stream = self.stream
        stream.timeout = self.settings.loginTimeout
        stream.setWindow(WINDOW_BEFORE_LOGIN)
        stream.write(
            b"* OK [CAPABILITY %b] %b ready\r\n"
            % (self.capabilities(), self.settings.hostname.encode())
        )
        try:
            while not self.closing:
                await self._command()
        except SessionEnded as ended:
            if ended.reason == SessionEnded.TIMEOUT:
                self._goodbye("autologout: idle for too long")
            elif ended.reason == SessionEnded.SHUTDOWN:
                self._goodbye("shutting down")
        finally:
            self.leave()
            if self.account is not None:
                self._logLogout(self.account)

    async def _command(self) -> None:
        limits = BEFORE_LOGIN if self.account is None else AFTER_LOGIN
        if self.pusher is not None:
            await self._push()
            if self.closing:
                return
        try:
            text, sinks = await readCommand(self.stream, limits, self._sinksOf)
        except Refused as refused:
            self._failed(refused.text, refused.error)
            return
        try:
            await self._run(text, sinks)
        finally:
            for sink in sinks:
                # Does nothing to one that was finished.
                sink.abort()

    async def _push(self) -> None:
        # "The client listens for event notifications all the time (even when no command is in
        # progress)" (RFC 5465 §3.1).
        while not self.stream.buffered:
            await self.tellNews()
            self.tellModSeq()
            if self.closing:
                return
            await self.stream.wait()

    def _sinksOf(self, text: bytes) -> SinkFor | None:
        # What is no command now is refused before its literal is asked for (RFC 3501 §7.5).
        command, _ = self._parse(text)
        sink = command.literalSink
        if sink is None:
            return None
        return lambda text, sinks, size: sink(self, self._parse(text, sinks)[1], size)

    def _parse(self, text: bytes, sinks: Sequence[IContentWriter] = ()) -> tuple[Command, Cursor]:
        """
        @return: the command, and a cursor behind its name.
        @raise SyntaxProblem: if there is none of that name in this state.
        """
        tag = TAG.match(text)
        if tag is None:
            raise SyntaxProblem("A command begins with its tag")
        cursor = Cursor(text, sinks, tag.end())
        cursor.utf8 = self.utf8
        cursor.space()
        name = cursor.atom().upper()
        if name == b"UID":
            cursor.space()
            name = b"UID " + cursor.atom().upper()
        command = self.registry.commands[self.state].get(name)
        if command is None:
            if name in self.registry.known:
                raise SyntaxProblem(f"Not when {self.state.value}")
            raise SyntaxProblem("Unknown command")
        if command.usesSequenceNumbers and b"UIDONLY" in self.enabled:
            raise SyntaxProblem("UIDONLY is enabled", imapCode="UIDREQUIRED")
        return command, cursor

    async def _run(self, text: bytes, sinks: Sequence[IContentWriter]) -> None:
        command: Command | None = None
        selected = self.selected
        if selected is not None:
            selected.view.numbersUsed = False
        try:
            command, cursor = self._parse(text, sinks)
            self.running = command
            done = await command.execute(self, cursor)
        except (ConnectionClosed, SessionEnded, PlaintextInjected):
            raise
        except Exception as error:
            if command is not None and command.synchronises:
                await self.tellNews(self._mayExpunge(command))
                self.tellModSeq()
            self._failed(text, error, command)
        else:
            done = done or command.name + b" completed"
            if command.synchronises:
                await self.tellNews(self._mayExpunge(command))
                if done.startswith(b"["):
                    self.tellModSeq()
                elif self.selected is not None:
                    done = self.selected.modSeqNews() + done
            limited, self._limited = self._limited, b""
            if limited and done.startswith(b"["):
                # There is room for one response code only.
                self.stream.write(b"* NO %bdone in part\r\n" % limited)
                limited = b""
            self.stream.write(b"%b OK %b%b\r\n" % (_tag(text), limited, done))
            after, self.afterResponse = self.afterResponse, None
            if after is not None:
                after()
        finally:
            self.running = None
            self._limited = b""

    def _mayExpunge(self, command: Command) -> bool:
        # "MUST NOT be sent during a UID SEARCH command that contains message numbers in the search
        # criteria" (RFC 7162 §3.2.10.2). Others read all their numbers before they do anything.
        numbersInUID = (
            command.name.startswith(b"UID ")
            and self.selected is not None
            and self.selected.view.numbersUsed
        )
        return command.mayExpunge and not numbersInUID

    def _failed(self, text: bytes, error: Exception, command: Command | None = None) -> None:
        """
        Answer a command that failed.

        @param text: the command, or how it began.
        """
        if not isinstance(error, MailError):
            name = b"command" if command is None else command.name
            self.log.failure("{name} failed", Failure(error), name=name.decode("ascii"))
            error = MailError("internal error, try later", imapCode="SERVERBUG")
        bad = isinstance(error, SyntaxProblem | LimitExceeded)
        code = "" if error.imapCode is None else f"[{error.imapCode}] "
        #   resp-text = ["[" resp-text-code "]" SP] text
        said = _NOT_TEXT.sub("?", f"{'BAD' if bad else 'NO'} {code}{error.text}")
        self.stream.write(b"%b %b\r\n" % (_tag(text), said.encode("ascii")))
        if self.account is None:
            self._errors += bad
            if self._errors >= self.settings.maxErrors:
                self._goodbye("too many errors")
            elif self.login.exhausted:
                self._goodbye("too many failed logins")

    def _goodbye(self, why: str) -> None:
        self.stream.write(b"* BYE %b\r\n" % why.encode("ascii"))
        self.closing = True


def _tag(text: bytes) -> bytes:
    """
    @return: the tag of a command, C{*} if it has none.
    """
    match = TAG.match(text)
    return match.group() if match is not None else b"*"
