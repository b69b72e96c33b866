"""
XOAUTH2.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.sasl.support import Tokens
from twisted_mailstack.errors import ProofRefused, SyntaxProblem
from twisted_mailstack.interfaces import IClientMechanism, IServerMechanism
from twisted_mailstack.sasl.credentials import ProvenIdentity, TokenCredentials
from twisted_mailstack.sasl.xoauth2 import XOAuth2, XOAuth2Client
from twisted_mailstack.testing.contracts.mechanism import (
    ClientMechanismContract,
    MechanismContract,
    settled,
)

NAME, TOKEN = b"someuser@example.com", b"ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
MESSAGE = b"user=%b\x01auth=Bearer %b\x01\x01" % (NAME, TOKEN)


class XOAuth2Tests(MechanismContract, SynchronousTestCase):
    """
    The server's half.
    """

    client = (MESSAGE,)
    secrets = (TOKEN,)

    def makeMechanism(self) -> IServerMechanism:
        """See L{MechanismContract}."""
        return XOAuth2(Tokens({TOKEN: NAME}), {"scope": "mail"})

    def test_example(self) -> None:
        """One message: the user and the token."""
        (found,) = self.exchange(MESSAGE)
        self.assertEqual((found.username, found.authorizationIdentity), (NAME, NAME))

    def test_refused(self) -> None:
        """The client is told in JSON, answers nothing, and fails."""
        exchange = self.begin()
        refusal = settled(exchange.respond(MESSAGE.replace(b"ya29", b"none")))
        self.assertEqual(
            json.loads(refusal), {"status": "401", "schemes": "bearer", "scope": "mail"}
        )
        self.assertEqual(self.assertRaises(ProofRefused, exchange.respond, b"").username, NAME)

    def test_parts(self) -> None:
        """Anything else is malformed."""
        for message in (b"", MESSAGE[:-1], MESSAGE[5:], b"x" + MESSAGE, MESSAGE + b"\x01"):
            self.assertRaises(SyntaxProblem, self.begin().respond, message)
        self.assertRaises(SyntaxProblem, self.begin().respond, MESSAGE.replace(b"some", b"\xff"))


class XOAuth2ClientTests(ClientMechanismContract, SynchronousTestCase):
    """
    The client's half.
    """

    secrets = (TOKEN,)

    def makeClient(self) -> IClientMechanism:
        """See L{ClientMechanismContract}."""
        return XOAuth2Client()

    def makeServer(self) -> IServerMechanism:
        """See L{ClientMechanismContract}."""
        return XOAuth2(Tokens({TOKEN: NAME}))

    def makeCredentials(self) -> TokenCredentials:
        """See L{ClientMechanismContract}."""
        return TokenCredentials(NAME, TOKEN)

    def makeFound(self) -> ProvenIdentity:
        """See L{ClientMechanismContract}."""
        return ProvenIdentity(NAME, NAME)

    def test_messages(self) -> None:
        """The message, and nothing behind a refusal."""
        exchange = self.begin()
        self.assertEqual(exchange.respond(None), MESSAGE)
        self.assertEqual(exchange.respond(b"{}"), b"")
