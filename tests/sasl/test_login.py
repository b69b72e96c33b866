"""
LOGIN.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import IServerMechanism
from twisted_mailstack.sasl.login import Login
from twisted_mailstack.testing.contracts.mechanism import MechanismContract


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
