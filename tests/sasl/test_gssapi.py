"""
GSSAPI (RFC 4752), with contexts that are none of Kerberos.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.sasl.support import FakeContext
from twisted_mailstack.errors import AuthenticationFailed, ProofRefused, SyntaxProblem
from twisted_mailstack.interfaces import IClientMechanism, IServerMechanism
from twisted_mailstack.sasl.credentials import (
    ProvenIdentity,
    TicketCredentials,
    WrongCredentials,
)
from twisted_mailstack.sasl.gssapi import GSSAPI, GSSAPIClient, accountNames
from twisted_mailstack.testing.contracts.mechanism import (
    INFO,
    ClientMechanismContract,
    MechanismContract,
)

NAMES = accountNames({"EXAMPLE.TEST": "example.test"})


class GSSAPITests(MechanismContract, SynchronousTestCase):
    """
    The server's half.
    """

    client = (b"ticket", b"", b"<\1\0\0\0>")
    secrets = ()
    principal = "alice@EXAMPLE.TEST"

    def makeMechanism(self) -> IServerMechanism:
        """See L{MechanismContract}."""
        script = [(b"ticket", b"reply")]
        return GSSAPI(lambda: FakeContext(script, self.principal), NAMES)

    def test_exchange(self) -> None:
        """Tokens, the offer of no security layer, and who it is (RFC 4752 §3.2)."""
        *challenges, found = self.exchange(None, *self.client)
        self.assertEqual(challenges, [b"", b"reply", b"<\1\0\0\0>"])
        self.assertEqual(
            (found.username, found.authorizationIdentity), (b"alice@example.test", None)
        )

    def test_identity(self) -> None:
        """Whom to act as is behind the layer; one's own principal is oneself."""
        for said, identity in (
            *((b"bob@example.test", b"bob@example.test"), (b"alice@EXAMPLE.TEST", None)),
            *((b"alice", None), (b"bob", b"bob"), (b"alice@OTHER.TEST", b"alice@OTHER.TEST")),
        ):
            *_, found = self.exchange(b"ticket", b"", b"<\1\0\0\0%b>" % said)
            self.assertEqual(found.authorizationIdentity, identity)

    def test_refused(self) -> None:
        """A ticket that isn't for us, a layer that isn't offered, what the peer didn't protect."""
        for messages, kind in (
            *(((b"other",), AuthenticationFailed), ((b"",), SyntaxProblem)),
            *(((b"ticket", b"x"), SyntaxProblem), ((b"ticket", b"", b"x"), AuthenticationFailed)),
            *(
                ((b"ticket", b"", b"<\2\0\0\0>"), SyntaxProblem),
                ((b"ticket", b"", b"<>"), SyntaxProblem),
            ),
            ((b"ticket", b"", b"<\1\0\0\0\xff>"), SyntaxProblem),
        ):
            exchange = self.begin()
            for message in messages[:-1]:
                exchange.respond(message)
            self.assertRaises(kind, exchange.respond, messages[-1])

    def test_principals(self) -> None:
        """Only plain names of realms that were said are accounts."""
        self.assertEqual(NAMES("alice@EXAMPLE.TEST"), b"alice@example.test")
        for principal in (
            *("alice@OTHER.TEST", "alice", "@EXAMPLE.TEST", "alice/admin@EXAMPLE.TEST"),
            *("a@b@EXAMPLE.TEST", "alice@example.test", ""),
        ):
            self.assertIs(NAMES(principal), None, principal)
        self.principal = "imap/host@EXAMPLE.TEST"
        exchange = self.begin()
        for message in self.client[:-1]:
            exchange.respond(message)
        error = self.assertRaises(ProofRefused, exchange.respond, self.client[-1])
        self.assertEqual(error.username, b"imap/host@EXAMPLE.TEST")


class GSSAPIClientTests(ClientMechanismContract, SynchronousTestCase):
    """
    The client's half.
    """

    secrets = ()

    def makeClient(self) -> IClientMechanism:
        """See L{ClientMechanismContract}."""

        def make(service: str) -> FakeContext:
            self.assertEqual(service, "imap@host.test")
            return FakeContext([(None, b"ticket"), (b"reply", b"")], "")

        return GSSAPIClient(make)

    def makeServer(self) -> IServerMechanism:
        """See L{ClientMechanismContract}."""
        context = [(b"ticket", b"reply")]
        return GSSAPI(lambda: FakeContext(context, "alice@EXAMPLE.TEST"), NAMES)

    def makeCredentials(self) -> TicketCredentials:
        """See L{ClientMechanismContract}."""
        return TicketCredentials("imap@host.test", b"bob@example.test")

    def makeFound(self) -> ProvenIdentity:
        """See L{ClientMechanismContract}."""
        return ProvenIdentity(b"alice@example.test", b"bob@example.test")

    def test_library(self) -> None:
        """Without the library it is said that there is none."""

        def make(service: str) -> FakeContext:
            raise ImportError("gssapi")

        client = GSSAPIClient(make)
        error = self.assertRaises(SyntaxProblem, client.begin, self.makeCredentials(), INFO)
        self.assertIn("library gssapi", error.text)
        self.assertNotIsInstance(error, WrongCredentials)

    def test_layer(self) -> None:
        """A server that insists on a security layer can't be used."""
        exchange = self.begin()
        exchange.respond(None)
        exchange.respond(b"reply")
        self.assertRaises(AuthenticationFailed, exchange.respond, b"<\6\0\0\0>")
        self.assertRaises(AuthenticationFailed, exchange.accepted)
