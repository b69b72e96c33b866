"""
ANONYMOUS (RFC 4505).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import IClientMechanism, IServerMechanism
from twisted_mailstack.sasl.anonymous import Anonymous, AnonymousClient
from twisted_mailstack.sasl.credentials import AnonymousCredentials
from twisted_mailstack.testing.contracts.mechanism import (
    INFO,
    ClientMechanismContract,
    MechanismContract,
)


class AnonymousTests(MechanismContract, SynchronousTestCase):
    """
    The server's half.
    """

    client = (b"sirhc",)
    secrets = ()

    def makeMechanism(self) -> IServerMechanism:
        """See L{MechanismContract}."""
        return Anonymous()

    def test_trace(self) -> None:
        """The example of RFC 4505 §4; the log shows what was said."""
        challenge, found = self.exchange(None, b"sirhc")
        self.assertEqual((challenge, found.trace), (b"", b"sirhc"))
        self.assertEqual(found.username, b"anonymous sirhc")
        (found,) = self.exchange(b"")
        self.assertEqual(found.username, b"anonymous")

    def test_parts(self) -> None:
        """At most 255 characters, UTF-8, without controls (RFC 4505 §2, §3)."""
        self.exchange("\u00e9".encode() * 255)
        for message in (b"x" * 256, b"\xff", b"a\0", b"a\r\nb", "\ue000".encode()):
            self.assertRaises(SyntaxProblem, self.begin().respond, message)


class AnonymousClientTests(ClientMechanismContract, SynchronousTestCase):
    """
    The client's half.
    """

    secrets = ()

    def makeClient(self) -> IClientMechanism:
        """See L{ClientMechanismContract}."""
        return AnonymousClient()

    def makeServer(self) -> IServerMechanism:
        """See L{ClientMechanismContract}."""
        return Anonymous()

    def makeCredentials(self) -> AnonymousCredentials:
        """See L{ClientMechanismContract}."""
        return AnonymousCredentials(b"sirhc")

    def test_unsayable(self) -> None:
        """A trace that may not be isn't sent."""
        credentials = AnonymousCredentials(b"x" * 256)
        self.assertRaises(SyntaxProblem, AnonymousClient().begin, credentials, INFO)
