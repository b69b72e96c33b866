"""
Which mechanisms there are, and which may be used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import twisted_mailstack.sasl
from tests.sasl.support import BOUND, FakeContext, Secrets, Tokens
from twisted_mailstack.errors import EncryptionRequired, SyntaxProblem
from twisted_mailstack.interfaces import (
    IClientMechanism,
    ISASLClientExchange,
    ISASLExchange,
    IServerMechanism,
)
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.sasl.login import LoginClient
from twisted_mailstack.sasl.plain import PlainClient
from twisted_mailstack.sasl.registry import (
    CLIENT_MECHANISMS,
    MAKERS,
    MECHANISMS,
    MechanismServices,
    choose,
    makeMechanisms,
    offered,
    showsPassword,
    usable,
)
from twisted_mailstack.sasl.scram import Scram

PLAINTEXT = ConnectionInfo("192.0.2.1", 50000, "pop3")
SECURE = PLAINTEXT._replace(secure=True)


@implementer(IServerMechanism)
class Safe:
    """A mechanism that doesn't show the password."""

    name = b"SAFE"
    needsTLS = False

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        raise NotImplementedError


@implementer(IClientMechanism)
class SafeClient:
    """Its client's half."""

    name = b"SAFE"
    needsTLS = False

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        raise NotImplementedError


class RegistryTests(SynchronousTestCase):
    """
    L{MECHANISMS} and L{offered}.
    """

    def test_files(self) -> None:
        """Each file with a mechanism has its lines, each name is there once."""
        services = MechanismServices(
            names=tuple(MAKERS),
            secrets=Secrets({}),
            tokens=Tokens({}),
            certificates=lambda certificate: (),
            anonymous=True,
            tickets=lambda: FakeContext([], "x@Y"),
            accountName=lambda principal: None,
        )
        made = makeMechanisms(services)
        self.assertEqual([each.name.decode() for each in made], list(MAKERS))
        clients = {each.name for each in CLIENT_MECHANISMS}
        self.assertEqual(clients, {each.name for each in made})
        self.assertEqual(len(clients), len(CLIENT_MECHANISMS))
        found = set()
        for path in Path(twisted_mailstack.sasl.__file__).parent.glob("*.py"):
            if "(IServerMechanism)\nclass" in path.read_text("utf-8").replace(
                "Conditional", "Server"
            ):
                found.add(f"twisted_mailstack.sasl.{path.stem}")
        self.assertEqual({type(each).__module__ for each in made}, found)
        self.assertEqual({type(each).__module__ for each in CLIENT_MECHANISMS}, found)

    def test_made(self) -> None:
        """
        Only what is asked for is made, the preferred ones first, and of that what has all that it
        needs; what doesn't exist is an error.
        """

        def names(*wanted: str, **services: Any) -> list[bytes]:
            return [each.name for each in makeMechanisms(MechanismServices(wanted, **services))]

        self.assertEqual(names(), [])
        self.assertEqual(names(*reversed(MAKERS)), [b"PLAIN", b"LOGIN"])
        self.assertEqual(
            names("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", secrets=Secrets({})),
            [b"SCRAM-SHA-256", b"SCRAM-SHA-1", b"PLAIN"],
        )
        self.assertEqual(names("OAUTHBEARER", tokens=Tokens({})), [b"OAUTHBEARER"])
        self.assertEqual(names("ANONYMOUS", anonymous=True), [b"ANONYMOUS"])
        self.assertRaises(KeyError, names, "PLAIN", "NTLM")

    def test_choose(self) -> None:
        """
        A client gets the mechanism that it names in any case; one that needs TLS not without; one
        that can't be used here is unknown.
        """
        plus = Scram("scram-sha-256", Secrets({}), plus=True)
        mechanisms = (*MECHANISMS, plus)
        self.assertIs(choose(mechanisms, b"login", SECURE, False), MECHANISMS[1])
        self.assertIs(choose(mechanisms, b"LOGIN", PLAINTEXT, True), MECHANISMS[1])
        self.assertIs(choose(mechanisms, b"X", PLAINTEXT, False), None)
        self.assertRaises(EncryptionRequired, choose, mechanisms, b"LOGIN", PLAINTEXT, False)
        self.assertIs(choose(mechanisms, b"SCRAM-SHA-256-PLUS", SECURE, False), None)
        self.assertIs(choose(mechanisms, b"SCRAM-SHA-256-PLUS", BOUND, False), plus)
        self.assertNotIn(plus.name, offered(mechanisms, SECURE, True))
        self.assertIn(plus.name, offered(mechanisms, BOUND, True))

    def test_strongest(self) -> None:
        """
        A client binds to the channel if it can, doesn't send its password if it needn't, and tells
        a server that doesn't offer to bind that it could have (RFC 5802 §6).
        """
        names = {b"PLAIN", b"LOGIN", b"SCRAM-SHA-1", b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS"}
        found = usable(CLIENT_MECHANISMS, names, BOUND, False)
        self.assertEqual(
            [each.name for each in found],
            [b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256", b"SCRAM-SHA-1", b"PLAIN", b"LOGIN"],
        )
        credentials = PasswordCredentials(b"user", b"pencil")
        flags = [(each.begin(credentials, BOUND).respond(None) or b"")[:2] for each in found[:3]]
        self.assertEqual(flags, [b"p=", b"n,", b"y,"])
        found = usable(CLIENT_MECHANISMS, names, SECURE, False)
        self.assertEqual(found[0].name, b"SCRAM-SHA-256")
        self.assertEqual((found[0].begin(credentials, SECURE).respond(None) or b"")[:2], b"n,")

    def test_credentials(self) -> None:
        """Each client's half says so if it can't use what it is given."""
        for mechanism in CLIENT_MECHANISMS:
            self.assertRaises(SyntaxProblem, mechanism.begin, object(), BOUND)

    def test_secure(self) -> None:
        """Under TLS all are offered, the preferred one first."""
        self.assertEqual(list(offered(MECHANISMS, SECURE, False)), [b"PLAIN", b"LOGIN"])

    def test_plaintext(self) -> None:
        """Without TLS only those that don't show the password, unless that is allowed."""
        safe = Safe()
        mechanisms = (*MECHANISMS, safe)
        self.assertEqual(offered(mechanisms, PLAINTEXT, False), {b"SAFE": safe})
        self.assertEqual(len(offered(mechanisms, PLAINTEXT, True)), len(mechanisms))

    def test_none(self) -> None:
        """There may be none."""
        self.assertEqual(offered(MECHANISMS, PLAINTEXT, False), {})
        self.assertEqual(offered((), SECURE, True), {})

    def test_usable(self) -> None:
        """A client uses what the server offers, the best first, as far as the connection allows."""
        safe = SafeClient()
        mechanisms = (PlainClient(), LoginClient(), safe)

        def names(*arguments: Any) -> list[bytes]:
            return [each.name for each in usable(mechanisms, *arguments)]

        self.assertEqual(names({b"LOGIN", b"PLAIN", b"X"}, SECURE, False), [b"PLAIN", b"LOGIN"])
        self.assertEqual(names({b"LOGIN"}, SECURE, False), [b"LOGIN"])
        self.assertEqual(names({b"PLAIN", b"SAFE"}, PLAINTEXT, False), [b"SAFE"])
        self.assertEqual(names({b"PLAIN", b"SAFE"}, PLAINTEXT, True), [b"PLAIN", b"SAFE"])
        self.assertEqual(names(set(), SECURE, True), [])

    def test_showsPassword(self) -> None:
        """
        Who may send the password by PLAIN or LOGIN, or knows no mechanism, may by a command too.
        """
        for mechanisms, shows in (
            *((CLIENT_MECHANISMS, True), ((), True), ((LoginClient(), SafeClient()), True)),
            *(((SafeClient(),), False), ((PlainClient(),), True)),
        ):
            self.assertIs(showsPassword(mechanisms), shows)
