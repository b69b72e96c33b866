"""
OAUTHBEARER (RFC 7628).
"""

from __future__ import annotations

import json
from base64 import b64decode

from twisted.trial.unittest import SynchronousTestCase

from tests.sasl.support import Tokens
from twisted_mailstack.errors import (
    AuthenticationFailed,
    ProofRefused,
    SyntaxProblem,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import IClientMechanism, IServerMechanism
from twisted_mailstack.sasl.credentials import ProvenIdentity, TokenCredentials
from twisted_mailstack.sasl.oauthbearer import OAuthBearer, OAuthBearerClient
from twisted_mailstack.testing.contracts.mechanism import (
    INFO,
    ClientMechanismContract,
    MechanismContract,
    settled,
)

#: RFC 7628 §4.1.
EXAMPLE = b64decode(
    "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyI"
    "HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
)
#: The same in an SMTP exchange.
EXAMPLE_SMTP = b64decode(
    "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyI"
    "HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
)
#: RFC 7628 §4.3: no token, and what is answered.
QUERY = b64decode(
    "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9AQE="
)
HINTS = b64decode(
    "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJleGFtcGxlX3Njb3BlIiwib3BlbmlkLWNvbmZpZ3VyY"
    "XRpb24iOiJodHRwczovL2V4YW1wbGUuY29tLy53ZWxsLWtub3duL29wZW5pZC1jb25maWd1cmF0aW9uIn0="
)
TOKEN = b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
TOKENS = Tokens({TOKEN: b"user@example.com"})


class OAuthBearerTests(MechanismContract, SynchronousTestCase):
    """
    The server's half.
    """

    client = (EXAMPLE,)
    secrets = (TOKEN,)

    def makeMechanism(self) -> IServerMechanism:
        """See L{MechanismContract}."""
        return OAuthBearer(TOKENS, {"scope": "mail"})

    def test_example(self) -> None:
        """RFC 7628 §4.1: whose the token is, and whom the client wants to act as."""
        for message in (EXAMPLE, EXAMPLE_SMTP):
            (found,) = self.exchange(message)
            self.assertEqual(
                (found.username, found.authorizationIdentity), (b"user@example.com",) * 2
            )

    def test_query(self) -> None:
        """RFC 7628 §4.3: without a token a client is told where there are any, and fails."""
        hints = {
            "scope": "example_scope",
            "openid-configuration": "https://example.com/.well-known/openid-configuration",
        }
        # Nobody has a token that is empty.
        exchange = OAuthBearer(Tokens({b"": b"user@example.com"}), hints).begin(INFO)
        self.assertEqual(json.loads(settled(exchange.respond(QUERY))), json.loads(HINTS))
        error = self.assertRaises(ProofRefused, exchange.respond, b64decode("AQ=="))
        self.assertEqual(error.username, b"user@example.com")

    def test_identity(self) -> None:
        """Without a name the token says who it is; another name isn't judged here."""
        for header, identity in ((b"n,,", None), (b"y,a=x=2C=3D,", b"x,=")):
            (found,) = self.exchange(header + b"\x01auth=bearer  %b\x01\x01" % TOKEN)
            self.assertEqual(
                (found.username, found.authorizationIdentity), (b"user@example.com", identity)
            )

    def test_refused(self) -> None:
        """
        A token that isn't good: the client is told in JSON, answers, and fails (RFC 7628 §3.2.2,
        §3.2.3), whatever it answers.
        """
        for answer in (b"\x01", b"", EXAMPLE):
            exchange = self.begin()
            refusal = settled(exchange.respond(b"n,a=me,\x01auth=Bearer no\x01\x01"))
            self.assertEqual(json.loads(refusal), {"status": "invalid_token", "scope": "mail"})
            error = self.assertRaises(ProofRefused, exchange.respond, answer)
            self.assertEqual(error.username, b"me")
            self.assertRaises(SyntaxProblem, exchange.respond, EXAMPLE)

    def test_down(self) -> None:
        """A token of which nobody can tell is no wrong one."""
        exchange = self.begin()
        message = b"n,,\x01auth=Bearer down\x01\x01"
        self.assertRaises(TemporaryFailure, settled, exchange.respond(message))

    def test_parts(self) -> None:
        """What isn't by the grammar of RFC 7628 §3.1 is none."""
        good = b"\x01auth=Bearer x\x01\x01"
        for message in (
            *(b"", b"\x01", b"n,,", b"n,," + good[:-1], b"n,," + good + b"\x01", b"n," + good),
            *(b"p=tls-exporter,," + good, b"n,a=," + good, b"n,a=\xff," + good, b"x,," + good),
            *(b"n,,\x01auth=Basic x\x01\x01", b"n,,\x01auth=Bearer \x01\x01"),
            *(b"n,,\x01auth=Bearer a b\x01\x01", b"n,,\x01host=x\x01\x01"),
            *(b"n,,\x01auth=Bearer x" + good, b"n,,\x01a1=x" + good, b"n,,\x01a=\xff" + good),
            b"n,,\x01auth=Bearer " + b"x" * 40000 + b"\x01\x01",
        ):
            self.assertRaises(SyntaxProblem, self.begin().respond, message)


class OAuthBearerClientTests(ClientMechanismContract, SynchronousTestCase):
    """
    The client's half.
    """

    secrets = (TOKEN,)

    def makeClient(self) -> IClientMechanism:
        """See L{ClientMechanismContract}."""
        return OAuthBearerClient()

    def makeServer(self) -> IServerMechanism:
        """See L{ClientMechanismContract}."""
        return OAuthBearer(TOKENS)

    def makeCredentials(self) -> TokenCredentials:
        """See L{ClientMechanismContract}."""
        return TokenCredentials(b"user@example.com", TOKEN, "server.example.com", 143)

    def makeFound(self) -> ProvenIdentity:
        """See L{ClientMechanismContract}."""
        return ProvenIdentity(b"user@example.com", b"user@example.com")

    def test_example(self) -> None:
        """RFC 7628 §4.1."""
        self.assertEqual(self.begin().respond(None), EXAMPLE)
        submission = TokenCredentials(b"user@example.com", TOKEN, "server.example.com", 587)
        exchange = OAuthBearerClient().begin(submission, INFO)
        self.assertEqual(exchange.respond(None), EXAMPLE_SMTP)

    def test_refused(self) -> None:
        """
        What the server says of the token is kept, and answered by a separator (RFC 7628 §3.2.3);
        success then is none.
        """
        exchange = self.begin()
        exchange.respond(None)
        self.assertEqual(exchange.respond(HINTS), b64decode("AQ=="))
        self.assertEqual(exchange.refusal, HINTS)
        self.assertRaises(AuthenticationFailed, exchange.accepted)
        self.assertRaises(AuthenticationFailed, exchange.respond, b"")

    def test_unsayable(self) -> None:
        """What would be read as another message isn't sent."""
        for credentials in (
            *(TokenCredentials(b"", b"x"), TokenCredentials(b"x", b"")),
            *(TokenCredentials(b"x", b"a b"), TokenCredentials(b"x", b"a\x01b")),
            TokenCredentials(b"a\x01", b"x"),
        ):
            self.assertRaises(SyntaxProblem, OAuthBearerClient().begin, credentials, INFO)
