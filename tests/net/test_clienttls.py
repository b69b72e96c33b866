"""
TLS of clients: which certificates are taken, and what is said of those that aren't.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.net.authority import Authority
from twisted_mailstack.net.clienttls import ClientTLS, TLSAttempt, TLSProblem, certificateProblem

NAME = "mx.example.org"


class AttemptTests(SynchronousTestCase):
    """
    Handshakes with a server, OpenSSL to OpenSSL.
    """

    authority = Authority()

    def setUp(self) -> None:
        """A client that trusts the authority."""
        self.client = ClientTLS(self.authority.trustRoot)

    def shake(self, attempt: TLSAttempt, server: Any) -> SSL.Connection:
        """
        @return: the client's side, after a handshake that succeeded.
        @raise SSL.Error: as OpenSSL, on either side.
        """
        ours = attempt.clientConnectionForTLS(object())
        theirs = SSL.Connection(server.getContext(), None)
        ours.set_connect_state()
        theirs.set_accept_state()
        self.alert = ""
        for _ in range(10):
            for one, other in ((ours, theirs), (theirs, ours)):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                except SSL.Error as error:
                    if one is theirs:
                        self.alert = str(error)
                        raise
                    self.shakeOff(one, other)
                    raise
                self.move(one, other)
        self.served = theirs
        attempt.verifyPeer(ours)
        return ours

    def shakeOff(self, ours: SSL.Connection, theirs: SSL.Connection) -> None:
        """What the server is told when the client gives up."""
        self.move(ours, theirs)
        try:
            theirs.do_handshake()
        except SSL.Error as error:
            self.alert = str(error)

    def move(self, one: SSL.Connection, other: SSL.Connection) -> None:
        """Carry octets."""
        try:
            other.bio_write(one.bio_read(2**16))
        except SSL.WantReadError:
            pass

    def test_interface(self) -> None:
        """They are what Twisted makes TLS connections with."""
        for attempt in (self.client.opportunistic(NAME), self.client.verified(NAME)):
            verifyObject(IOpenSSLClientConnectionCreator, attempt)

    def test_good(self) -> None:
        """Every kind takes a good certificate and finds nothing wrong with it."""
        for name in (NAME, "*.example.org"):
            for make in (self.client.opportunistic, self.client.verified, self.client.observed):
                attempt = make(NAME)
                self.shake(attempt, self.authority.issue(name).server)
                self.assertIsNone(attempt.problem)

    def bad(self) -> list[tuple[Any, str]]:
        """
        @return: servers with certificates that are no good, and the result type of RFC 8460 §4.3.
        """
        return [
            (self.authority.issue("other.example.org").server, "certificate-host-mismatch"),
            (self.authority.issue("*.mx.example.org").server, "certificate-host-mismatch"),
            # Only a subject's common name, which doesn't count (RFC 6125 §6.4.4).
            (self.authority.issue().server, "certificate-host-mismatch"),
            (self.authority.issue(NAME, days=-1).server, "certificate-expired"),
            (Authority("Nobody").issue(NAME).server, "certificate-not-trusted"),
            (Authority("Nobody").issue(NAME, chain=()).server, "certificate-not-trusted"),
        ]

    def test_verified(self) -> None:
        """What is no good is refused, the server is told in an alert, and it is known why."""
        for server, kind in self.bad():
            attempt = self.client.verified(NAME)
            self.assertRaises(SSL.Error, self.shake, attempt, server)
            assert attempt.problem is not None
            self.assertEqual(attempt.problem.kind, kind)
            self.assertIn("alert", self.alert)

    def test_observed(self) -> None:
        """What is only looked at is taken all the same, and it is known what is wrong."""
        for server, kind in self.bad():
            attempt = self.client.observed(NAME)
            self.shake(attempt, server)
            assert attempt.problem is not None
            self.assertEqual(attempt.problem.kind, kind)

    def test_opportunistic(self) -> None:
        """Who takes any certificate isn't interested in what is wrong (RFC 7435)."""
        for server, _ in self.bad():
            attempt = self.client.opportunistic(NAME)
            self.shake(attempt, server)
            self.assertIsNone(attempt.problem)

    def test_checked(self) -> None:
        """Something else may judge the certificate, when the handshake is done."""
        server = Authority("Nobody").issue("elsewhere.test", days=-1)
        seen = []

        def check(connection: SSL.Connection) -> None:
            seen.append(connection.get_peer_certificate(as_cryptography=True))

        self.shake(self.client.checked(NAME, check), server.server)
        self.assertEqual(seen, [server.certificate])

    def test_checkedRefuses(self) -> None:
        """If it doesn't like it, that is the problem."""

        def check(connection: SSL.Connection) -> None:
            raise TLSProblem("no", "tlsa-invalid")

        attempt = self.client.checked(NAME, check)
        error = self.assertRaises(
            TLSProblem, self.shake, attempt, self.authority.issue(NAME).server
        )
        self.assertIs(attempt.problem, error)

    def test_address(self) -> None:
        """A server that is known by its address needs a certificate for that."""
        for address in ("192.0.2.1", "2001:db8::1"):
            self.shake(self.client.verified(address), self.authority.issue(address).server)
            self.assertIsNone(self.served.get_servername())
            attempt = self.client.verified(address)
            wrong = self.authority.issue("192.0.2.2").server
            self.assertRaises(SSL.Error, self.shake, attempt, wrong)
            assert attempt.problem is not None
            self.assertEqual(attempt.problem.kind, "certificate-host-mismatch")

    def test_serverName(self) -> None:
        """The server is told which name is meant (RFC 6066 §3), whatever is verified."""
        for attempt in (
            self.client.opportunistic(NAME),
            self.client.verified(NAME),
            self.client.observed(NAME),
            self.client.checked(NAME, lambda _: None),
        ):
            self.shake(attempt, self.authority.issue(NAME).server)
            self.assertEqual(self.served.get_servername(), NAME.encode())

    def test_intermediate(self) -> None:
        """A certificate by an authority in between is good if the server sends that one's."""
        between = Authority("Between", by=self.authority)
        self.shake(self.client.verified(NAME), between.issue(NAME).server)
        attempt = self.client.verified(NAME)
        self.assertRaises(SSL.Error, self.shake, attempt, between.issue(NAME, chain=()).server)
        assert attempt.problem is not None
        self.assertEqual(attempt.problem.kind, "certificate-not-trusted")

    def test_oldVersions(self) -> None:
        """Nothing below TLS 1.2 is spoken (RFC 8996)."""
        context = self.authority.issue(NAME).server.getContext()
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")

        class Old:
            def getContext(self) -> SSL.Context:
                return context

        self.assertRaises(SSL.Error, self.shake, self.client.opportunistic(NAME), Old())

    def test_own(self) -> None:
        """A server that asks who the client is is shown its certificate, if it has one."""
        issued = self.authority.issue("alice")
        pem = issued.certificate.public_bytes(Encoding.PEM)
        pem += issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for own, shown in ((PrivateCertificate.loadPEM(pem), issued.certificate), (None, None)):
            server = self.authority.issue(NAME).server
            server.getContext().set_verify(SSL.VERIFY_PEER, lambda *arguments: True)
            client = ClientTLS(self.authority.trustRoot, own)
            for make in (client.opportunistic, client.verified):
                self.shake(make(NAME), server)
                self.assertEqual(self.served.get_peer_certificate(as_cryptography=True), shown)

    def test_platform(self) -> None:
        """Without authorities of its own it trusts the platform's, which don't know the test's."""
        attempt = ClientTLS().verified(NAME)
        self.assertRaises(SSL.Error, self.shake, attempt, self.authority.issue(NAME).server)

    def test_failureOfOurs(self) -> None:
        """If judging itself fails the certificate is not taken, and the failure is logged."""
        attempt = self.client.verified(NAME)
        attempt._names = (object(),)  # type: ignore[assignment]
        self.assertRaises(SSL.Error, self.shake, attempt, self.authority.issue(NAME).server)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_otherProblems(self) -> None:
        """What has no type of its own is a failed validation."""
        self.assertEqual(certificateProblem(7).kind, "validation-failure")
        self.assertIn("7", certificateProblem(7).text)


class OtherCreators(SynchronousTestCase):
    """
    What the tests hold on to.
    """

    def test_contextIsShared(self) -> None:
        """One context serves all connections: making one takes milliseconds."""
        client = ClientTLS(Authority().trustRoot)
        first = client.verified("a.test").clientConnectionForTLS(object())
        second = client.opportunistic("b.test").clientConnectionForTLS(object())
        self.assertIs(first.get_context(), second.get_context())
        self.assertIsNot(first.get_context(), CertificateOptions().getContext())
