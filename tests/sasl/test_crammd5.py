"""
CRAM-MD5 (RFC 2195).
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.sasl.support import Secrets
from twisted_mailstack.errors import AuthenticationFailed, ProofRefused, SyntaxProblem
from twisted_mailstack.interfaces import IClientMechanism, IServerMechanism
from twisted_mailstack.sasl.crammd5 import CramMD5, CramMD5Client
from twisted_mailstack.sasl.credentials import PasswordCredentials, ProvenIdentity
from twisted_mailstack.testing.contracts.mechanism import (
    INFO,
    ClientMechanismContract,
    MechanismContract,
    settled,
)

#: RFC 2195 §2.
CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"
RESPONSE = b"tim b913a602c7eda7a495b4e6e7334d3890"
SECRETS = Secrets({(b"tim", "plain"): ["another", "tanstaaftanstaaf"]})


class CramMD5Tests(MechanismContract, SynchronousTestCase):
    """
    The server's half.
    """

    client = (RESPONSE,)
    secrets = (b"tanstaaftanstaaf",)

    def makeMechanism(self) -> IServerMechanism:
        """See L{MechanismContract}."""
        return CramMD5(SECRETS, challenge=lambda: CHALLENGE)

    def test_example(self) -> None:
        """RFC 2195 §2; it is told by which of several secrets."""
        challenge, found = self.exchange(None, RESPONSE)
        self.assertEqual(challenge, CHALLENGE)
        self.assertEqual((found.username, found.credentialId), (b"tim", "C2"))

    def test_challenges(self) -> None:
        """Each is a msg-id of the server's, and another one (RFC 2195 §2)."""
        mechanism = CramMD5(SECRETS, "mail.example.test")
        found = {mechanism.begin(INFO).respond(None) for _ in range(10)}
        self.assertEqual(len(found), 10)
        for challenge in found:
            self.assertTrue(re.match(rb"<\d+\.\d+@mail\.example\.test>\Z", challenge), challenge)

    def test_refused(self) -> None:
        """A wrong digest, or a name that isn't known: the same refusal, which tells who."""
        for response in (RESPONSE.replace(b"b9", b"c9"), RESPONSE.replace(b"tim", b"tom x")):
            exchange = self.begin()
            exchange.respond(None)
            checked = exchange.respond(response)
            error = self.assertRaises(ProofRefused, settled, checked)
            self.assertEqual(error.username, response[:-33])
            self.assertEqual(error.text, AuthenticationFailed().text)

    def test_decoy(self) -> None:
        """The right digest for a secret that is nobody's is wrong all the same."""
        exchange = CramMD5(Secrets({}), challenge=lambda: CHALLENGE).begin(INFO)
        exchange.respond(None)
        client = CramMD5Client().begin(PasswordCredentials(b"tim", b"decoy"), INFO)
        client.respond(None)
        response = client.respond(CHALLENGE)
        self.assertRaises(ProofRefused, settled, exchange.respond(response))

    def test_parts(self) -> None:
        """No name, no digest, an initial response, which it hasn't: malformed."""
        for messages in (
            *((RESPONSE,), (None, b""), (None, b"tim"), (None, RESPONSE[3:])),
            *((None, RESPONSE + b"0"), (None, b"\xff" + RESPONSE), (None, b"\0" + RESPONSE)),
            (None, None),
        ):
            exchange = self.begin()
            for message in messages[:-1]:
                exchange.respond(message)
            self.assertRaises(SyntaxProblem, exchange.respond, messages[-1])


class CramMD5ClientTests(ClientMechanismContract, SynchronousTestCase):
    """
    The client's half.
    """

    secrets = (b"tanstaaftanstaaf",)

    def makeClient(self) -> IClientMechanism:
        """See L{ClientMechanismContract}."""
        return CramMD5Client()

    def makeServer(self) -> IServerMechanism:
        """See L{ClientMechanismContract}."""
        return CramMD5(SECRETS)

    def makeCredentials(self) -> PasswordCredentials:
        """See L{ClientMechanismContract}."""
        return PasswordCredentials(b"tim", b"tanstaaftanstaaf")

    def makeFound(self) -> ProvenIdentity:
        """See L{ClientMechanismContract}."""
        return ProvenIdentity(b"tim", None, "C2")

    def test_example(self) -> None:
        """RFC 2195 §2."""
        exchange = self.begin()
        self.assertIs(exchange.respond(None), None)
        self.assertEqual(exchange.respond(CHALLENGE), RESPONSE)
        exchange.accepted()

    def test_unsayable(self) -> None:
        """No empty name or password, and nobody else to act as."""
        for credentials in (
            *(PasswordCredentials(b"", b"x"), PasswordCredentials(b"x", b"")),
            PasswordCredentials(b"x", b"y", b"z"),
        ):
            self.assertRaises(SyntaxProblem, CramMD5Client().begin, credentials, INFO)
