"""
PLAIN (RFC 4616).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import AuthenticationFailed, SyntaxProblem
from twisted_mailstack.interfaces import IClientMechanism, IServerMechanism
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.sasl.plain import Plain, PlainClient
from twisted_mailstack.testing.contracts.mechanism import (
    INFO,
    ClientMechanismContract,
    MechanismContract,
)


class PlainTests(MechanismContract, SynchronousTestCase):
    """
    One message: whom to act as, who one is, the password.
    """

    client = (b"\0tim\0tanstaaftanstaaf",)
    secrets = (b"tanstaaftanstaaf",)

    def makeMechanism(self) -> IServerMechanism:
        """See L{MechanismContract}."""
        return Plain()

    def credentials(self, message: bytes) -> PasswordCredentials:
        """
        @return: what a message ends in.
        """
        (answer,) = self.exchange(message)
        assert isinstance(answer, PasswordCredentials)
        return answer

    def test_offer(self) -> None:
        """It is called PLAIN and sends the password, so it needs TLS (RFC 4616 §5)."""
        mechanism = self.makeMechanism()
        self.assertEqual((mechanism.name, mechanism.needsTLS), (b"PLAIN", True))

    def test_example(self) -> None:
        """The first example of RFC 4616 §4: no authorization identity."""
        found = self.credentials(b"\0tim\0tanstaaftanstaaf")
        self.assertEqual(
            (found.username, found.password, found.authorizationIdentity),
            (b"tim", b"tanstaaftanstaaf", None),
        )

    def test_identity(self) -> None:
        """The second: Kurt wants to act as Ursel. Whether he may isn't decided here."""
        found = self.credentials(b"Ursel\0Kurt\0xipj3plmq")
        self.assertEqual(
            (found.username, found.password, found.authorizationIdentity),
            (b"Kurt", b"xipj3plmq", b"Ursel"),
        )

    def test_challenge(self) -> None:
        """Without an initial response the challenge is empty."""
        challenge, found = self.exchange(None, b"\0tim\0secret")
        self.assertEqual(challenge, b"")
        self.assertEqual(found.username, b"tim")

    def test_octets(self) -> None:
        """Spaces and UTF-8 stay as they are; 255 octets each are possible, and more (§2)."""
        name, password = "jos\u00e9 ".encode(), " p\u00e4\u00df\U0001f600 ".encode()
        found = self.credentials(b"\0%b\0%b" % (name, password))
        self.assertEqual((found.username, found.password), (name, password))
        for length in (255, 2000):
            found = self.credentials(b"\0".join([b"z" * length, b"n" * length, b"p" * length]))
            self.assertEqual(
                (found.authorizationIdentity, found.username, found.password),
                (b"z" * length, b"n" * length, b"p" * length),
            )

    def test_parts(self) -> None:
        """Too few or too many parts, no name, no password, not UTF-8."""
        for message in (
            *(b"", b"tim", b"\0", b"\0tim", b"tim\0secret", b"\0\0", b"\0tim\0", b"\0\0secret"),
            *(b"a\0\0b", b"\0tim\0secret\0", b"\0\0tim\0secret", b"\0t\0s\0x"),
            *(b"\0tim\0\xff", b"\0\xc3\0secret", b"\xed\xa0\x80\0tim\0secret"),
        ):
            self.assertRaises(SyntaxProblem, self.begin().respond, message)


class PlainClientTests(ClientMechanismContract, SynchronousTestCase):
    """
    The client's half.
    """

    secrets = (b"tanstaaftanstaaf",)

    def makeClient(self) -> IClientMechanism:
        """See L{ClientMechanismContract}."""
        return PlainClient()

    def makeServer(self) -> IServerMechanism:
        """See L{ClientMechanismContract}."""
        return Plain()

    def makeCredentials(self) -> PasswordCredentials:
        """See L{ClientMechanismContract}."""
        return PasswordCredentials(b"tim", b"tanstaaftanstaaf", b"Ursel")

    def test_example(self) -> None:
        """The examples of RFC 4616 §4, in the initial response."""
        for credentials, message in (
            (PasswordCredentials(b"tim", b"tanstaaftanstaaf"), b"\0tim\0tanstaaftanstaaf"),
            (PasswordCredentials(b"Kurt", b"xipj3plmq", b"Ursel"), b"Ursel\0Kurt\0xipj3plmq"),
        ):
            exchange = PlainClient().begin(credentials, INFO)
            self.assertEqual(exchange.respond(None), message)

    def test_once(self) -> None:
        """The password is sent once, whatever the server asks then."""
        exchange = self.begin()
        exchange.respond(None)
        self.assertRaises(AuthenticationFailed, exchange.respond, b"")

    def test_unsayable(self) -> None:
        """What would be read as another message isn't sent."""
        for credentials in (
            *(PasswordCredentials(b"", b"x"), PasswordCredentials(b"x", b"")),
            *(PasswordCredentials(b"a\0b", b"x"), PasswordCredentials(b"x", b"a\0")),
            PasswordCredentials(b"x", b"y", b"\0z"),
        ):
            self.assertRaises(SyntaxProblem, PlainClient().begin, credentials, INFO)
