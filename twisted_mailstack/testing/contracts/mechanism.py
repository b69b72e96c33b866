# -*- test-case-name: tests.sasl.test_plain -*-
"""
What every SASL mechanism keeps to: L{IServerMechanism} and L{ISASLExchange}, and with a half for
clients L{IClientMechanism} and L{ISASLClientExchange}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from inspect import isawaitable
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.cred.credentials import ICredentials
from twisted.internet.defer import ensureDeferred
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from twisted_mailstack.errors import AuthenticationFailed, SyntaxProblem
from twisted_mailstack.interfaces import (
    IClientMechanism,
    ISASLClientExchange,
    ISASLExchange,
    IServerMechanism,
)
from twisted_mailstack.model.records import ConnectionInfo

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase

    Base = SynchronousTestCase
else:
    # A mixin: imported by name into a test module it must not be run there by itself.
    Base = object

INFO = ConnectionInfo("192.0.2.1", 50000, "imaps", True, "TLSv1.3", "TLS_AES_256_GCM_SHA384")
#: Messages after which any exchange is at its end.
LONGEST = 10


def settled(result: Any) -> Any:
    """
    @param result: of L{ISASLExchange.respond}, of an exchange whose secrets are at hand.
    @return: the challenge or the credentials.
    """
    if not isawaitable(result):
        return result
    awaitable: Awaitable[Any] = result

    async def wait() -> Any:
        return await awaitable

    found: list[Any] = []
    ensureDeferred(wait()).addBoth(found.append)
    if not found:
        raise AssertionError("the exchange waits")
    if isinstance(found[0], Failure):
        found[0].raiseException()
    return found[0]


class MechanismContract(Base):
    """
    Mix into a test case.

    @ivar info: of the connection.
    @ivar client: the client's messages of an exchange that succeeds, without an initial response.
    @ivar secrets: what must not be seen of it where something might be logged.
    """

    info: ConnectionInfo = INFO
    client: Sequence[bytes]
    secrets: Sequence[bytes]

    def makeMechanism(self) -> IServerMechanism:
        """
        Implement this.
        """
        raise NotImplementedError("makeMechanism")

    def begin(self) -> ISASLExchange:
        """
        @return: a new exchange.
        """
        return self.makeMechanism().begin(self.info)

    def exchange(self, *messages: bytes | None) -> list[Any]:
        """
        @return: what the mechanism answers to each message.
        """
        exchange = self.begin()
        return [settled(exchange.respond(message)) for message in messages]

    def test_mechanism(self) -> None:
        """It is a mechanism, with a name as RFC 4422 §3.1 has them."""
        mechanism = self.makeMechanism()
        verifyObject(IServerMechanism, mechanism)
        self.assertRegex(mechanism.name, rb"\A[A-Z0-9_-]{1,20}\Z")
        self.assertIsInstance(mechanism.needsTLS, bool)
        verifyObject(ISASLExchange, mechanism.begin(self.info))

    def test_exchange(self) -> None:
        """Each message is answered by a challenge, the last by credentials for a portal."""
        *challenges, last = self.exchange(None, *self.client)
        for challenge in challenges:
            self.assertIsInstance(challenge, bytes)
        self.assertTrue(ICredentials.providedBy(last))

    def test_independent(self) -> None:
        """Exchanges that go on at the same time have nothing to do with one another."""
        mechanism = self.makeMechanism()
        first, second = mechanism.begin(self.info), mechanism.begin(self.info)
        for message in (None, *self.client):
            answers = [settled(each.respond(message)) for each in (first, second)]
            self.assertEqual(type(answers[0]), type(answers[1]))
        self.assertTrue(ICredentials.providedBy(answers[0]))

    def test_nothingSecret(self) -> None:
        """What is shown of credentials or exchanges in a log or a traceback isn't secret."""
        exchange = self.begin()
        for message in (None, *self.client):
            answer = settled(exchange.respond(message))
        for secret in self.secrets:
            for shown in (repr(answer), str(answer), repr(exchange)):
                self.assertNotIn(secret.decode("utf-8", "replace"), shown)

    def test_malformed(self) -> None:
        """
        Whatever the client says, it is answered, or L{SyntaxProblem} or L{AuthenticationFailed};
        and in a few messages it is at its end.
        """
        random = Random(4422)
        pieces = [
            b"",
            b"\0",
            b"\xff",
            b",",
            b"=",
            b"n,,",
            b"a",
            b"\r\n",
            b"x" * 10_000,
            *self.client,
        ]
        for _ in range(500):
            exchange = self.begin()
            message: bytes | None = (
                None
                if random.random() < 0.3
                else b"".join(random.choices(pieces, k=random.randrange(4)))
            )
            for _ in range(LONGEST):
                try:
                    answer = settled(exchange.respond(message))
                except (SyntaxProblem, AuthenticationFailed):
                    break
                if ICredentials.providedBy(answer):
                    break
                self.assertIsInstance(answer, bytes)
                message = b"".join(random.choices(pieces, k=random.randrange(4)))
            else:
                self.fail("the exchange doesn't end")


class ClientMechanismContract(Base):
    """
    Mix into a test case, for a client's half whose server's half is there too.

    @ivar info: as of L{MechanismContract}; C{secrets} too.
    """

    info: ConnectionInfo = INFO
    secrets: Sequence[bytes]

    def makeClient(self) -> IClientMechanism:
        """
        Implement this.
        """
        raise NotImplementedError("makeClient")

    def makeServer(self) -> IServerMechanism:
        """
        Implement this.
        """
        raise NotImplementedError("makeServer")

    def makeCredentials(self) -> Any:
        """
        Implement this.

        @return: what the client begins with.
        """
        raise NotImplementedError("makeCredentials")

    def makeFound(self) -> Any:
        """
        @return: what the server's half ends in then, the same if it isn't overridden.
        """
        return self.makeCredentials()

    def begin(self) -> ISASLClientExchange:
        """
        @return: a new exchange.
        """
        return self.makeClient().begin(self.makeCredentials(), self.info)

    def converse(self, client: ISASLClientExchange) -> tuple[Any, list[bytes]]:
        """
        @return: what the server's half ends in, and its challenges.
        """
        server = self.makeServer().begin(self.info)
        challenges = []
        answer = settled(server.respond(client.respond(None)))
        while isinstance(answer, bytes):
            challenges.append(answer)
            self.assertLess(len(challenges), LONGEST, "the exchange doesn't end")
            response = client.respond(answer)
            self.assertIsInstance(response, bytes)
            answer = settled(server.respond(response))
        return answer, challenges

    def test_client(self) -> None:
        """It is a mechanism, and the two halves are of the same."""
        client, server = self.makeClient(), self.makeServer()
        verifyObject(IClientMechanism, client)
        verifyObject(ISASLClientExchange, self.begin())
        self.assertEqual((client.name, client.needsTLS), (server.name, server.needsTLS))

    def test_halves(self) -> None:
        """The server ends in what the client began with, and the client takes that for success."""
        client = self.begin()
        found, _ = self.converse(client)
        self.assertEqual(vars(found), vars(self.makeFound()))
        client.accepted()

    def test_withoutInitialResponse(self) -> None:
        """
        A protocol without initial responses sends that behind the first challenge, which then is
        empty (RFC 4422 §5.1 3).
        """
        client, server = self.begin(), self.makeServer().begin(self.info)
        initial = client.respond(None)
        answer = settled(server.respond(None))
        self.assertIsInstance(answer, bytes)
        if initial is not None:
            self.assertEqual(answer, b"")
            answer = settled(server.respond(initial))
        while isinstance(answer, bytes):
            answer = settled(server.respond(client.respond(answer)))
        self.assertEqual(vars(answer), vars(self.makeFound()))

    def test_clientsIndependent(self) -> None:
        """Attempts that go on at the same time have nothing to do with one another."""
        mechanism = self.makeClient()
        first = mechanism.begin(self.makeCredentials(), self.info)
        second = mechanism.begin(self.makeCredentials(), self.info)
        first.respond(None)
        for client in (second, mechanism.begin(self.makeCredentials(), self.info)):
            self.assertEqual(vars(self.converse(client)[0]), vars(self.makeFound()))

    def test_clientNothingSecret(self) -> None:
        """What is shown of an attempt in a log or a traceback isn't secret."""
        client = self.begin()
        for shown in (repr(client), repr(self.converse(client)), repr(client)):
            for secret in self.secrets:
                self.assertNotIn(secret.decode("utf-8", "replace"), shown)

    def test_accepted(self) -> None:
        """A server that is content before it knows who we are isn't to be trusted."""
        self.assertRaises(AuthenticationFailed, self.begin().accepted)

    def test_anyServer(self) -> None:
        """
        Whatever the server says, it is answered or L{AuthenticationFailed}; and in a few messages
        the client is at its end.
        """
        random = Random(4422)
        pieces = [b"", b"\0", b"\xff", b",", b"r=a,s=b,i=1", b"a", b"\r\n", b"x" * 10_000]
        pieces += self.converse(self.begin())[1]
        for _ in range(500):
            client = self.begin()
            client.respond(None)
            for _ in range(LONGEST):
                challenge = b"".join(random.choices(pieces, k=random.randrange(4)))
                try:
                    self.assertIsInstance(client.respond(challenge), bytes)
                except AuthenticationFailed:
                    break
            else:
                self.fail("the exchange doesn't end")
