"""
What the IMAP tests share: a server over the memory store, whose sessions are conversations.

Everything is predictable: account C{alice@example.test} with password C{secret}; the clock stands
at 0 until a test moves it; INBOX has UIDVALIDITY 1, then Drafts 2, Sent 3, Junk 4, Trash 5,
Archive 6; UIDs begin with 1.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.registry import EXTENSIONS, makeRegistry
from twisted_mailstack.imap.session import IMAPSession, IMAPSettings
from twisted_mailstack.imap.views import Views
from twisted_mailstack.interfaces import IAccount, IMailStore, IPasswordHasher, IServerMechanism
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import internFlags
from twisted_mailstack.sasl.registry import MECHANISMS
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation, FakeWire
from twisted_mailstack.wire.stream import Stream

MESSAGE = (
    b"Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\n"
    b"From: Fred Foobar <foobar@Blurdybloop.example>\r\n"
    b"Subject: afternoon meeting\r\n"
    b"To: mooch@owatagu.siam.edu.example\r\n"
    b"Message-Id: <B27397-0100000@Blurdybloop.example>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n"
    b"\r\n"
    b"Hello Joe, do you think we can meet at 3:30 tomorrow?\r\n"
)

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


def capabilities(loggedIn: bool) -> str:
    """
    @return: what a server lists under TLS, in the state before or after login, without the SASL
        mechanisms.
    """
    server = Server(mechanisms=())
    client = server.login() if loggedIn else server.connect()
    client.wire.take()
    answer = client.send(b"c CAPABILITY\r\n").decode("ascii")
    return answer.removeprefix("* CAPABILITY ").partition("\r\n")[0]


@implementer(IPasswordHasher)
class ClearPasswords:
    """Passwords that take no time."""

    async def hash(self, password: bytes) -> str:
        """See L{IPasswordHasher}."""
        return password.decode("utf-8")

    async def verify(self, hashed: str | None, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordHasher}."""
        return hashed is not None and hashed.encode("utf-8") == password


class Server:
    """
    An IMAP server in memory.

    @ivar clock: of all its connections and its store.
    @ivar store: where the mail is.
    @ivar account: alice's.
    @ivar sessions: the server's side of each connection that was ever made.
    """

    def __init__(
        self,
        *,
        store: IMailStore | None = None,
        extensions: Sequence[Extension] = EXTENSIONS,
        mechanisms: Sequence[IServerMechanism] = MECHANISMS,
        hasTLS: bool = True,
        **settings: Any,
    ) -> None:
        """
        @param store: another store than one in memory.
        @param settings: as of L{IMAPSettings}.
        """
        self.clock = Clock()
        self.store: Any = store or MemoryMailStore(self.clock.seconds)
        self.settings = IMAPSettings(hostname="imap.example.test", **settings)
        self.registry = makeRegistry(tuple(extensions))
        self.mechanisms = mechanisms
        self.hasTLS = hasTLS
        self.views = Views()
        self.sessions: list[IMAPSession] = []
        self.portal = Portal(
            MailRealm(self.store), [DirectoryChecker(self.store.directory, ClearPasswords())]
        )
        now(self.store.start())
        now(self.store.directory.addDomain("example.test"))
        self.account = self.addAccount("alice")

    def addAccount(self, localPart: str, password: str = "secret") -> IAccount:
        """
        @return: the new account C{localPart@example.test}.
        """
        address = Address(localPart, "example.test")
        record = now(self.store.directory.addAccount(address, password))
        account: IAccount = now(self.store.openAccount(record.accountId))
        return account

    def deliver(
        self,
        data: bytes = MESSAGE,
        mailbox: str = "INBOX",
        flags: Sequence[str] = (),
        date: int = 0,
        zone: int = 0,
        account: IAccount | None = None,
    ) -> int:
        """
        @return: the UID of a message put into alice's (or that account's) mailbox.
        """
        account = account or self.account
        writer = account.newContent(len(data))
        writer.write(data)
        staged = now(writer.finish())
        opened = now(account.openMailbox(mailbox))
        uid = now(opened.append([(staged, internFlags(flags), date, zone)])).uids[0]
        staged.discard()
        return uid

    def connect(self, secure: bool = True) -> Conversation:
        """
        @param secure: under TLS from the beginning.
        @return: a new connection; the greeting is still to be taken.
        """

        async def serve(stream: Stream) -> None:
            session = IMAPSession(
                stream, self.settings, self.registry, self.portal, self.mechanisms, self.hasTLS
            )
            session.views = self.views
            self.sessions.append(session)
            await session.run()

        return Conversation(serve, wire=FakeWire("imap", secure), clock=self.clock)

    def login(self, user: str = "alice", password: str = "secret") -> Conversation:
        """
        @return: a connection that is logged in; nothing is left to be taken.
        """
        client = self.connect()
        client.wire.take()
        answer = client.send(f"in LOGIN {user}@example.test {password}\r\n".encode())
        if not answer.startswith(b"in OK "):
            raise AssertionError(answer)
        return client

    def select(self, mailbox: str = "INBOX", command: str = "SELECT") -> Conversation:
        """
        @return: alice's connection with that mailbox selected; nothing is left to be taken.
        """
        client = self.login()
        answer = client.send(f"sel {command} {mailbox}\r\n".encode())
        if b"\r\nsel OK " not in answer:
            raise AssertionError(answer)
        return client
