"""
EXTERNAL (RFC 4422 appendix A).
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.sasl.support import Bound
from twisted_mailstack.errors import ProofRefused, SyntaxProblem
from twisted_mailstack.interfaces import IClientMechanism, IServerMechanism
from twisted_mailstack.sasl.credentials import CertificateCredentials, ProvenIdentity
from twisted_mailstack.sasl.external import External, ExternalClient
from twisted_mailstack.testing.contracts.mechanism import (
    INFO,
    ClientMechanismContract,
    MechanismContract,
)

SHOWN = INFO._replace(channel=Bound({}, b"certificate"))


def names(certificate: bytes) -> Sequence[bytes]:
    """
    @return: the names in the one certificate that there is.
    """
    return (b"a@x.test", b"b@x.test") if certificate == b"certificate" else ()


class ExternalTests(MechanismContract, SynchronousTestCase):
    """
    The server's half.
    """

    info = SHOWN
    client = (b"",)
    secrets = ()

    def makeMechanism(self) -> IServerMechanism:
        """See L{MechanismContract}."""
        return External(names)

    def test_names(self) -> None:
        """The certificate's first account; the one that is asked for, if it is of the same."""
        for message, found in (
            *((b"", (b"a@x.test", None)), (b"b@x.test", (b"b@x.test", b"b@x.test"))),
            (b"c@x.test", (b"a@x.test", b"c@x.test")),
        ):
            (identity,) = self.exchange(message)
            self.assertEqual((identity.username, identity.authorizationIdentity), found)

    def test_none(self) -> None:
        """Without a certificate that is somebody's it isn't offered, and ends in nothing."""
        for channel in (None, Bound({}), Bound({}, b"another")):
            info = INFO._replace(channel=channel)
            self.assertFalse(External(names).isAvailable(info))
            exchange = External(names).begin(info)
            self.assertRaises(ProofRefused, exchange.respond, b"a@x.test")
        self.assertTrue(External(names).isAvailable(SHOWN))

    def test_parts(self) -> None:
        """A NUL, and what isn't UTF-8, are malformed."""
        for message in (b"a\0", b"\xff"):
            self.assertRaises(SyntaxProblem, self.begin().respond, message)


class ExternalClientTests(ClientMechanismContract, SynchronousTestCase):
    """
    The client's half.
    """

    info = SHOWN
    secrets = ()

    def makeClient(self) -> IClientMechanism:
        """See L{ClientMechanismContract}."""
        return ExternalClient()

    def makeServer(self) -> IServerMechanism:
        """See L{ClientMechanismContract}."""
        return External(names)

    def makeCredentials(self) -> CertificateCredentials:
        """See L{ClientMechanismContract}."""
        return CertificateCredentials(b"b@x.test")

    def makeFound(self) -> ProvenIdentity:
        """See L{ClientMechanismContract}."""
        return ProvenIdentity(b"b@x.test", b"b@x.test")

    def test_empty(self) -> None:
        """Whoever is content with the certificate's account says nothing."""
        exchange = ExternalClient().begin(CertificateCredentials(), SHOWN)
        self.assertEqual(exchange.respond(None), b"")
        exchange.accepted()
