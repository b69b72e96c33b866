"""
LOGIN.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import AuthenticationFailed, SyntaxProblem
from twisted_mailstack.interfaces import IClientMechanism, IServerMechanism
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.sasl.login import Login, LoginClient
from twisted_mailstack.testing.contracts.mechanism import (
    INFO,
    ClientMechanismContract,
    MechanismContract,
)


class LoginTests(MechanismContract, SynchronousTestCase):
    """
    The name, then the password.
    """

    client = (b"tim", b"tanstaaftanstaaf")
    secrets = (b"tanstaaftanstaaf",)

    def makeMechanism(self) -> IServerMechanism:
        """See L{MechanismContract}."""
        return Login()

    def test_offer(self) -> None:
        """It is called LOGIN and sends the password, so it needs TLS."""
        mechanism = self.makeMechanism()
        self.assertEqual((mechanism.name, mechanism.needsTLS), (b"LOGIN", True))

    def test_challenges(self) -> None:
        """The challenges are those that clients expect, to the letter."""
        first, second, found = self.exchange(None, b"tim", b" secret ")
        self.assertEqual((first, second), (b"Username:", b"Password:"))
        self.assertEqual(
            (found.username, found.password, found.authorizationIdentity),
            (b"tim", b" secret ", None),
        )

    def test_initialResponse(self) -> None:
        """Clients that send the name at once are asked for the password at once."""
        challenge, found = self.exchange(b"tim", b"secret")
        self.assertEqual(challenge, b"Password:")
        self.assertEqual((found.username, found.password), (b"tim", b"secret"))

    def test_empty(self) -> None:
        """An empty name or password is none."""
        for messages in ((b"",), (None, b""), (None, b"tim", b""), (b"tim", b"")):
            exchange = self.begin()
            for message in messages[:-1]:
                exchange.respond(message)
            self.assertRaises(SyntaxProblem, exchange.respond, messages[-1])


class LoginClientTests(ClientMechanismContract, SynchronousTestCase):
    """
    The client's half.
    """

    secrets = (b"tanstaaftanstaaf",)

    def makeClient(self) -> IClientMechanism:
        """See L{ClientMechanismContract}."""
        return LoginClient()

    def makeServer(self) -> IServerMechanism:
        """See L{ClientMechanismContract}."""
        return Login()

    def makeCredentials(self) -> PasswordCredentials:
        """See L{ClientMechanismContract}."""
        return PasswordCredentials(b"tim", b"tanstaaftanstaaf")

    def test_serverBegins(self) -> None:
        """The name comes behind a challenge, then the password, whatever the challenges say."""
        for challenges in ((b"Username:", b"Password:"), (b"User Name\0", b""), (b"?", b"\xff")):
            exchange = self.begin()
            self.assertIs(exchange.respond(None), None)
            responses = [exchange.respond(challenge) for challenge in challenges]
            self.assertEqual(responses, [b"tim", b"tanstaaftanstaaf"])
            self.assertRaises(AuthenticationFailed, exchange.respond, b"Password:")

    def test_half(self) -> None:
        """A server that is content with the name alone isn't to be trusted."""
        exchange = self.begin()
        exchange.respond(None)
        exchange.respond(b"Username:")
        self.assertRaises(AuthenticationFailed, exchange.accepted)

    def test_unsayable(self) -> None:
        """No empty name or password, and nobody else to act as."""
        for credentials in (
            PasswordCredentials(b"", b"x"),
            PasswordCredentials(b"x", b""),
            PasswordCredentials(b"x", b"y", b"z"),
        ):
            self.assertRaises(SyntaxProblem, LoginClient().begin, credentials, INFO)
