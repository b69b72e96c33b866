"""
What the SMTP tests share: a server over the memory store, whose sessions are conversations.

Everything is predictable: C{mx.example.test} serves the domain C{example.test} with the accounts
C{alice} and C{bob}, password C{secret}; transactions are called Q1, Q2, ...; the time of day is
L{TODAY}; the clock stands at 0 until a test moves it.

At the end of each test every transaction has to be over: nothing that was written is left staged.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_network
from itertools import count
from time import gmtime
from typing import Any, NamedTuple, TypeVar

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.localrelay import LocalRelay
from twisted_mailstack.delivery.notification import Notifier
from twisted_mailstack.delivery.queue import QueueRunner
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.target import MailTarget
from twisted_mailstack.errors import DestinationUnavailable
from twisted_mailstack.interfaces import (
    IDelivery,
    IDeliveryTarget,
    IMailStore,
    IPasswordHasher,
    IPolicyStep,
    IRelay,
    IRelayConnection,
    IServerMechanism,
    IStagedContent,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import (
    DELIVERED,
    EXPANDED,
    AttemptResult,
    QueuedMessage,
    QueueFilter,
)
from twisted_mailstack.model.records import Envelope, Recipient
from twisted_mailstack.sasl.registry import MECHANISMS
from twisted_mailstack.smtp import session as sessionModule
from twisted_mailstack.smtp.clientsession import BytesContent, OutgoingMessage, SMTPClientSession
from twisted_mailstack.smtp.commands import mail as mailModule
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.registry import COMMANDS, EXTENSIONS
from twisted_mailstack.smtp.server import POLICIES, SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings
from twisted_mailstack.storage.memory import MemoryMailStore, MemoryWriter
from twisted_mailstack.testing.conversation import Conversation, FakeWire
from twisted_mailstack.wire.stream import Stream

#: Networks in which L{Server.connect}'s client is.
NETWORKS = (ip_network("198.51.100.0/24"), ip_network("192.0.2.0/24"))
#: The time of day, seconds since 1970, and as the trace field shows it.
TODAY = 1_700_000_000
TODAY_TEXT = "Tue, 14 Nov 2023 22:13:20 +0000"
PLAIN = b64encode(b"\0alice@example.test\0secret").decode("ascii")

T = TypeVar("T")


def now(awaitable: Awaitable[T]) -> T:
    """
    @return: the result of something that doesn't have to wait.
    """

    async def run() -> T:
        return await awaitable

    results: list[Any] = []
    Deferred.fromCoroutine(run()).addBoth(results.append)
    if not results:
        raise AssertionError("it waits")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    result: T = results[0]
    return result


class WatchedStore(MemoryMailStore):
    """
    A store in memory that knows what is staged.

    @ivar staged: what is being written, or was and is neither aborted nor discarded.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.staged: set[object] = set()

    def newContent(self, sizeHint: int | None = None) -> MemoryWriter:
        """See L{IMailStore}."""
        writer = super().newContent(sizeHint)
        token = object()
        self.staged.add(token)
        abort, finish = writer.abort, writer.finish
        finished: list[object] = []

        def aborting() -> None:
            abort()
            if not finished:
                self.staged.discard(token)

        async def finishing() -> Any:
            content: Any = await finish()
            finished.append(content)
            discard = content.discard

            def discarding() -> None:
                discard()
                self.staged.discard(token)

            content.discard = discarding
            return content

        setattr(writer, "abort", aborting)  # noqa: B010 it is a method
        setattr(writer, "finish", finishing)  # noqa: B010
        return writer


@implementer(IPasswordHasher)
class ClearPasswords:
    """Passwords that take no time."""

    async def hash(self, password: bytes) -> str:
        """See L{IPasswordHasher}."""
        return password.decode("utf-8")

    async def verify(self, hashed: str | None, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordHasher}."""
        return hashed is not None and hashed.encode("utf-8") == password


@implementer(IDeliveryTarget, IDelivery)
class TroubledTarget:
    """
    A target of which one call goes wrong, or waits; its deliveries too, since they are it.

    @ivar calls: the names of the calls so far, in order.
    @ivar committed: the messages that it took.
    @ivar aborted: how many deliveries were aborted that were begun.
    """

    def __init__(
        self, trouble: str = "", result: Any = None, at: int = 1, sync: bool = False
    ) -> None:
        """
        @param trouble: the name of the call; empty for none.
        @param result: what it does: an exception is raised, anything else is what it gives.
        @param at: the n-th call of that name.
        @param sync: of C{write}: without an awaitable.
        """
        self.trouble = trouble
        self.result = result
        self.at = at
        self.sync = sync
        self.calls: list[str] = []
        self.committed: list[bytes] = []
        self.aborted = 0
        self._data = b""
        self._staged: Callable[[bytes], Awaitable[IStagedContent]] = stage

    def _call(self, name: str, usual: Any = None) -> Any:
        self.calls.append(name)
        if name == self.trouble and self.calls.count(name) == self.at:
            if isinstance(self.result, BaseException):
                raise self.result
            return self.result
        return usual

    def begin(self, envelope: Envelope) -> IDelivery:
        """See L{IDeliveryTarget}."""
        self._data = b""
        return self._call("begin", self)  # type: ignore[no-any-return]

    async def verify(self, address: Address) -> str:
        """See L{IDeliveryTarget}."""
        return self._call("verify", str(address))  # type: ignore[no-any-return]

    async def addRecipient(self, recipient: Recipient) -> None:
        """See L{IDelivery}."""
        waiting = self._call("addRecipient")
        if waiting is not None:
            await waiting

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See L{IDelivery}."""
        self._data += data
        if self.sync:
            return self._call("write")  # type: ignore[no-any-return]
        return self._write()

    async def _write(self) -> None:
        waiting = self._call("write")
        if waiting is not None:
            await waiting

    async def commit(self, inspect: Any = None) -> Sequence[Exception | None]:
        """See L{IDelivery}."""
        added = b"" if inspect is None else await inspect(await self._staged(self._data))
        result = self._call("commit", [])
        if isinstance(result, Deferred):
            await result
            result = []
        if not isinstance(result, list) or not all(result) or not result:
            self.committed.append(added + self._data)
        return result  # type: ignore[no-any-return]

    def abort(self) -> None:
        """See L{IDelivery}."""
        self.aborted += 1
        self._call("abort")


@implementer(IRelay)
class UnreachableRelay:
    """
    A way to other domains, by which nothing gets anywhere; so what is for them is to be seen in the
    spool.
    """

    def destinationOf(self, reversePath: Address | None, address: Address) -> str:
        """See L{IRelay}."""
        return address.domain

    async def connect(self, destination: str, message: QueuedMessage) -> IRelayConnection:
        """See L{IRelay}."""
        raise DestinationUnavailable()


async def stage(data: bytes) -> IStagedContent:
    """
    @return: a message as policies see it.
    """
    writer = MemoryMailStore().newContent()
    writer.write(data)
    return await writer.finish()


class Server:
    """
    An SMTP server in memory.

    @ivar clock: of all its connections.
    @ivar store: where the mail is.
    @ivar target: where it goes.
    """

    def __init__(
        self,
        *,
        target: Any = None,
        relay: IRelay | None = None,
        queue: bool = False,
        policies: Sequence[IPolicyStep] = POLICIES,
        commands: Sequence[Command] = COMMANDS,
        extensions: Sequence[Extension] = EXTENSIONS,
        lmtp: bool = False,
        mechanisms: Sequence[IServerMechanism] = MECHANISMS,
        tls: bool = True,
        login: bool = True,
        urls: str | None = None,
        quota: tuple[int | None, int | None] = (None, None),
        around: Callable[[IMailStore], Any] = lambda store: store,
        **settings: Any,
    ) -> None:
        """
        @param target: another one than the accounts of the store.
        @param relay: the way to other domains; without it their mail is refused.
        @param queue: there is one that honours what senders wish, and the way to other domains is
            one by which nothing gets anywhere.
        @param around: makes what the server sees of the store.
        @param login: whether there is AUTH.
        @param urls: the host's name in URLs that can be authorised; C{None}: there are none.
        @param settings: as of L{SMTPSettings}.
        """
        self.clock = Clock()
        self.store = WatchedStore(now=lambda: TODAY, quotaDefaults=quota)
        self.directory = self.store.directory
        seen = around(self.store)
        resolver = Resolver(seen.directory)
        dispatch = Dispatch(relay or (UnreachableRelay() if queue else None), now=lambda: TODAY)
        notifier = None
        if queue:
            notifier = Notifier(
                self.store.spool,
                self.store.newContent,
                resolver,
                dispatch,
                "mx.example.test",
                now=lambda: TODAY,
            )
        self.target: Any = target or MailTarget(seen, resolver, dispatch, notifier)
        portal = Portal(MailRealm(self.store), [DirectoryChecker(self.directory, ClearPasswords())])
        self.portal = portal
        self.urls = None if urls is None else URLAuthority(self.store, urls, self.clock.seconds)
        context: Any = object() if tls else None
        self.factory = SMTPFactory(
            self.target,
            SMTPSettings(hostname="mx.example.test", **settings),
            self.clock,
            portal=portal if login else None,
            policies=policies,
            mechanisms=mechanisms,
            commands=commands,
            extensions=extensions,
            lmtp=lmtp,
            spool=self.store.spool if queue else None,
            urls=self.urls,
            tls=context,
        )
        now(self.directory.addDomain("example.test"))
        for name in ("alice", "bob"):
            self.addAccount(name)

    def addAccount(self, localPart: str, domain: str = "example.test") -> str:
        """
        @return: the id of a new account.
        """
        record = now(self.directory.addAccount(Address(localPart, domain), "secret"))
        return record.accountId

    def alias(self, address: str, *targets: str) -> None:
        """
        Make an alias.
        """
        user, _, domain = address.rpartition("@")
        now(self.directory.setAlias(Address(user, domain), [Address.parse(t) for t in targets]))

    def connect(self, secure: bool = False, peer: str = "192.0.2.1") -> Conversation:
        """
        @param secure: under TLS from the beginning.
        @return: a new connection; the greeting is still to be taken.
        """
        return Conversation(
            self.factory.serve, wire=FakeWire("smtp", secure, peer), clock=self.clock
        )

    def greeted(self, hello: str = "EHLO client.test", **connection: Any) -> Conversation:
        """
        @return: a connection that has said hello.
        """
        conversation = self.connect(**connection)
        answer = conversation.wire.take() + conversation.send(hello.encode() + b"\r\n")
        if b"\r\n250 " not in answer:
            raise AssertionError(answer)
        return conversation

    def authenticated(self) -> Conversation:
        """
        @return: alice's connection.
        """
        conversation = self.greeted(secure=True)
        conversation.check(f"C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 Authenticated")
        return conversation

    def inbox(self, localPart: str = "alice", domain: str = "example.test") -> list[bytes]:
        """
        @return: the messages of an account.
        """
        record = now(self.directory.findAccount(Address(localPart, domain)))
        assert record is not None
        mailbox = now(now(self.store.openAccount(record.accountId)).openMailbox("INBOX"))
        contents = [now(mailbox.openMessage(uid)) for uid in now(mailbox.changesSince(0)).uids]
        return [now(content.read(0, content.size)) for content in contents]

    def tell(self) -> list[tuple[QueuedMessage, bytes]]:
        """
        Let what became of messages be told to their senders who want to know.

        @return: the notifications, and their texts.
        """
        spool, notifier = self.store.spool, self.target.notifier
        local = LocalRelay(spool, self.directory, self.target.dispatch, notifier)
        clock = Clock()
        runner = QueueRunner(
            spool,
            lambda name: local if name in (DELIVERED, EXPANDED) else UnreachableRelay(),
            notifier,
            clock,
            now=lambda: TODAY,
        )
        runner.start()
        clock.pump([0] * 20)
        stopped = Deferred.fromCoroutine(runner.stop(0))
        clock.pump([0, 1])
        if not stopped.called:
            raise AssertionError("it doesn't stop")
        return [each for each in self.queued() if each[0].origin == "notification"]

    def queued(self) -> list[tuple[QueuedMessage, bytes]]:
        """
        @return: the messages in the spool, and their texts.
        """
        spool = self.store.spool
        found = []
        for message in now(spool.select(QueueFilter(), 1000)):
            content = now(spool.openContent(message.spoolId))
            found.append((message, now(content.read(0, content.size))))
        return found


class Exchange(NamedTuple):
    """
    How a message was sent to a server that accepts everything.

    @ivar commands: that the client sent, but those of the text.
    @ivar results: what became of each recipient.
    @ivar text: that the server got; C{None} if it got none.
    @ivar usable: whether another message may be sent on the connection.
    """

    commands: list[str]
    results: list[AttemptResult]
    text: bytes | None
    usable: bool


def exchange(
    offered: str = "",
    *,
    reversePath: str | None = "sender@example.test",
    recipients: Sequence[tuple[str, Mapping[str, str | None]]] = (("far@far.test", {}),),
    parameters: Mapping[str, str | None] | None = None,
    text: bytes = b"Subject: x\r\n\r\ntext\r\n",
    age: int = 0,
    secure: bool = True,
    peer: str = "192.0.2.25",
    authenticated: bool = False,
    lmtp: bool = False,
) -> Exchange:
    """
    Send a message by a client with all extensions.

    @param offered: the extensions of the server's EHLO reply, lines.
    @param recipients: addresses and their parameters.
    """
    wire = FakeWire("relay", secure, peer)
    clock = Clock()
    stream = Stream(wire, clock)
    session = SMTPClientSession(
        stream, "mx.example.test", remote="far", extensions=EXTENSIONS, lmtp=lmtp
    )
    lines = [line.strip() for line in offered.strip().split("\n") if line.strip()]
    message = OutgoingMessage(
        None if reversePath is None else Address.parse(reversePath),
        [Recipient(Address.parse(address), dict(given)) for address, given in recipients],
        BytesContent(text),
        dict(parameters or {}),
        age=age,
    )

    async def send() -> list[AttemptResult]:
        await session.hello()
        session.authenticated = authenticated
        return await session.send(message)

    sending = Deferred.fromCoroutine(send())
    wire.take()
    stream.received(
        "".join(f"250-{line}\r\n" for line in ("far", *lines)).encode() + b"250 HELP\r\n"
    )
    results: list[Any] = []
    sending.addBoth(results.append)
    commands: list[str] = []
    received: bytes | None = None
    pending = b""
    while not results:
        pending += wire.take()
        line, end, pending = pending.partition(b"\r\n")
        assert end, line
        verb = line[:4]
        if verb == b"BDAT":
            octets = int(line.split()[1])
            received = (received or b"") + pending[:octets]
            pending = pending[octets:]
            stream.received(b"250 OK\r\n")
        elif verb == b"DATA":
            stream.received(b"354 Go\r\n")
            pending += wire.take()
            received = pending.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
            pending = b""
            stream.received(b"250 OK\r\n")
        else:
            commands.append(line.decode("utf-8"))
            stream.received(b"250 OK\r\n")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return Exchange(commands, results[0], received, session.usable)


class SMTPTestCase(SynchronousTestCase):
    """
    See the module.
    """

    def setUp(self) -> None:
        """Time and chance stand still."""
        numbers = count(1)
        self.patch(sessionModule.SMTPSession, "newQueueId", lambda session: f"Q{next(numbers)}")
        self.patch(mailModule, "time", lambda: TODAY)
        self.patch(mailModule, "localtime", gmtime)
        self.servers: list[Server] = []
        self.connections: list[Conversation] = []

    def tearDown(self) -> None:
        """Nothing is left over."""
        for server in self.servers:
            self.assertEqual(server.store.staged, set(), "staged content is left")

    def serve(self, **arguments: Any) -> Server:
        """
        @return: a server, as L{Server}.
        """
        server = Server(**arguments)
        self.servers.append(server)
        return server

    def stored(
        self,
        text: bytes,
        *,
        reversePath: str = "<sender@far.test>",
        recipient: str = "alice@example.test",
        hello: str = "client.test",
        protocol: str = "ESMTP",
        queueId: str = "Q1",
        single: bool = True,
        added: bytes = b"",
        peer: str = "[192.0.2.1]",
    ) -> bytes:
        """
        @param single: whether there was one recipient.
        @param added: header lines of policies.
        @return: a message as it is stored (RFC 5321 §4.4).
        """
        single_ = f"\r\n\tfor <{recipient}>" if single else ""
        return (
            f"Return-Path: {reversePath}\r\nDelivered-To: {recipient}\r\n".encode()
            + added
            + (
                f"Received: from {hello} ({peer})\r\n"
                f"\tby mx.example.test with {protocol}\r\n"
                f"\tid {queueId}{single_};\r\n\t{TODAY_TEXT}\r\n"
            ).encode()
            + text
        )
