"""
What the POP3 tests share: a server over the memory store, whose sessions are conversations.

C{alice@example.test} and C{bob@example.test} have the password C{secret}; the clock stands at 0
until a test moves it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, implementer, providedBy

from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IAccount, IMailbox, IMessageContent, IPasswordHasher
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import NO_FLAGS
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation, FakeWire

T = TypeVar("T")

#: Two messages, 39 and 25 octets.
FIRST = b"Subject: first\r\n\r\none\r\n.two\r\n.\r\nthree\r\n"
SECOND = b"Subject: second\r\n\r\ntext\r\n"


#: Stands for a certificate where no handshake is made.
TLS = object()


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


@implementer(IPasswordHasher)
class PlainHasher:
    """
    Hashes that are none, so that tests are fast.
    """

    def __init__(self) -> None:
        self.busy = False
        self.asked = 0

    async def hash(self, password: bytes) -> str:
        """See L{IPasswordHasher}."""
        return password.decode("utf-8")

    async def verify(self, hashed: str | None, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordHasher}."""
        self.asked += 1
        if self.busy:
            raise TemporaryFailure("Too many logins at once, try again later")
        return hashed is not None and hashed.encode("utf-8") == password


class Gate:
    """
    Stands between POP3 and its storage: a test can see the calls, and make one wait or fail.

    @ivar calls: the names of those that were made.
    @ivar failAt: which of them fails, the first is 0; C{None}: none.
    @ivar fails: names of calls that fail, all of them.
    @ivar error: what they raise.
    @ivar held: names of calls that wait until L{release}.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failAt: int | None = None
        self.fails: set[str] = set()
        self.error: Callable[[], Exception] = TemporaryFailure
        self.held: set[str] = set()
        self._waiting: list[Deferred[None]] = []

    async def passed(self, name: str) -> None:
        """
        Called before each call.
        """
        number = len(self.calls)
        self.calls.append(name)
        if name in self.held:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
        if number == self.failAt or name in self.fails:
            raise self.error()

    def release(self) -> None:
        """
        Let the calls go on that wait.
        """
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.callback(None)


class Gated:
    """
    An account, mailbox or content behind a gate.
    """

    def __init__(self, real: Any, gate: Gate) -> None:
        self._real = real
        self._gate = gate
        directlyProvides(self, providedBy(real))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if not callable(value):
            return value

        async def call(*arguments: Any, **named: Any) -> Any:
            await self._gate.passed(name)
            result = await value(*_bare(arguments), **named)
            for interface in (IAccount, IMailbox, IMessageContent):
                if interface.providedBy(result):
                    return Gated(result, self._gate)
            return result

        return call


def _bare(value: Any) -> Any:
    """
    @return: what stands behind a gate, also in lists.
    """
    if isinstance(value, (list, tuple)):
        return type(value)(map(_bare, value)) if type(value) in (list, tuple) else value
    return value._real if isinstance(value, Gated) else value


class GatedStore(MemoryMailStore):
    """
    A store whose accounts stand behind a gate, for those who log in.

    @ivar plain: the ids of accounts that can do nothing that is optional.
    """

    def __init__(self) -> None:
        super().__init__(lambda: 1_700_000_000.0)
        self.gate = Gate()
        self.plain: set[str] = set()

    async def openAccount(self, accountId: str) -> Any:
        """See IMailStore."""
        account = Gated(await super().openAccount(accountId), self.gate)
        if accountId in self.plain:
            directlyProvides(account, IAccount)
        return account


class Server:
    """
    A POP3 server.

    @ivar gate: between it and its store.
    @ivar portal: lets its accounts in.
    """

    def __init__(self, tls: Any = TLS, **settings: Any) -> None:
        self.clock = Clock()
        self.store = GatedStore()
        self.gate = self.store.gate
        self.hasher = PlainHasher()
        checker = DirectoryChecker(self.store.directory, self.hasher, "example.test")
        self.portal = Portal(MailRealm(self.store), [checker])
        self.settings = POP3Settings(hostname="mx.example.test", **settings)
        self.tls = tls
        self.options: dict[str, Any] = {}
        now(self.store.directory.addDomain("example.test"))
        for name in ("alice", "bob"):
            self.add(name)

    def add(self, localPart: str, password: str | None = "secret") -> None:
        """Make an account."""
        now(self.store.directory.addAccount(Address(localPart, "example.test"), password))

    def factory(self, clock: Any = None, **options: Any) -> POP3Factory:
        """
        @return: a factory for this server.
        """
        return POP3Factory(
            self.portal,
            self.settings,
            clock or self.clock,
            tls=self.tls,
            **{**self.options, **options},
        )

    def connect(self, secure: bool = True, peer: str = "192.0.2.1") -> Conversation:
        """
        @return: a connection that hasn't been read from.
        """
        wire = FakeWire("pop3s" if secure else "pop3", secure, peer)
        return Conversation(self.factory().serve, wire=wire, clock=self.clock)

    def login(self, name: str = "alice") -> Conversation:
        """
        @return: a connection that is logged in, its output read.
        """
        client = self.connect()
        said = client.send(b"USER %b\r\nPASS secret\r\n" % name.encode())
        if not said.rpartition(b"\r\n+OK ")[2].endswith(b" octets\r\n"):
            raise AssertionError(said)
        return client

    def inbox(self, name: str = "alice", mailbox: str = "INBOX") -> Any:
        """
        @return: the mailbox, behind the gate's back.
        """
        record = now(self.store.directory.findAccount(Address(name, "example.test")))
        assert record is not None
        return now(self.store.accounts[record.accountId].openMailbox(mailbox))

    def put(self, *messages: bytes, name: str = "alice", mailbox: str = "INBOX") -> None:
        """Put messages into a mailbox."""
        box = self.inbox(name, mailbox)
        for octets in messages:
            writer = box.account.newContent()
            writer.write(octets)
            now(box.append([(now(writer.finish()), NO_FLAGS, 1_700_000_000, 0)]))

    def messages(self, name: str = "alice") -> list[bytes]:
        """
        @return: what is in an INBOX.
        """
        box = self.inbox(name)
        found = []
        for uid in now(box.changesSince(0)).uids:
            content = now(box.openMessage(uid))
            found.append(now(content.read(0, content.size)))
        return found

    def set(self, name: str = "alice", **settings: Any) -> None:
        """Say what POP3 does with an account, on top of what was said before."""
        account: Any = self.inbox(name).account
        before = now(account.maildropSettings())
        now(account.setMaildropSettings(before._replace(**settings)))

    def expunge(self, *uids: int, name: str = "alice") -> None:
        """Remove messages, as an IMAP session does."""
        now(self.inbox(name).expunge(NumberSet.of(uids), onlyDeleted=False))

    @property
    def locked(self) -> bool:
        """Whether somebody holds Alice's maildrop."""
        return bool(self.inbox().account._locked)


class POP3TestCase(SynchronousTestCase):
    """
    @ivar server: with two messages for Alice.
    """

    def setUp(self) -> None:
        """Make the server."""
        self.server = Server()
        self.server.put(FIRST, SECOND)

    def assertFreed(self, client: Conversation) -> None:
        """The session is over, without a defect, and left no lock and no timer."""
        self.assertTrue(client.finished)
        if client.failure is not None:
            client.failure.raiseException()
        self.assertFalse(self.server.locked)


def multiLine(response: bytes) -> tuple[bytes, bytes, bytes]:
    """
    Read a multi-line response as a client does (RFC 1939 §3).

    @return: its first line, the text with the stuffed dots removed, and what comes behind it.
    """
    status, _, rest = response.partition(b"\r\n")
    if not status.startswith(b"+OK"):
        raise AssertionError(f"not +OK: {response[:100]!r}")
    lines = rest.split(b"\r\n")
    if b"." not in lines[:-1]:
        raise AssertionError("the response has no end")
    end = lines.index(b".")
    text = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])
    return status, text, b"\r\n".join(lines[end + 1 :])


def responses(data: bytes, multi: Sequence[bool]) -> list[bytes]:
    """
    Cut what a server sent into responses.

    @param multi: for each, whether it has several lines if it is positive.
    @return: the first lines. It is an error if there are more or fewer, or they aren't well formed.
    """
    found = []
    for several in multi:
        if several and data.startswith(b"+OK"):
            status, _, data = multiLine(data)
        else:
            status, ending, data = data.partition(b"\r\n")
            if not ending:
                raise AssertionError("a response without an end")
        if not (status + b" ").startswith((b"+OK ", b"-ERR ")) or len(status) > 510:
            raise AssertionError(f"not a response: {status!r}")
        found.append(status)
    if data:
        raise AssertionError(f"more than was asked for: {data[:100]!r}")
    return found
