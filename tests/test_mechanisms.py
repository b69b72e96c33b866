"""
The SASL mechanisms that the configuration wants.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import now
from tests.sasl.support import BOUND, Bound
from twisted_mailstack.auth.tokens import Introspection, SignedTokens
from twisted_mailstack.config import Configuration, ConfigurationProblem
from twisted_mailstack.mechanisms import Mechanisms
from twisted_mailstack.model.address import Address
from twisted_mailstack.sasl.registry import MAKERS, offered
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.contracts.mechanism import INFO


class MechanismsTests(SynchronousTestCase):
    """
    L{Mechanisms}.
    """

    def make(self, **options: Any) -> Mechanisms:
        """
        @return: those of a configuration with these options.
        """

        async def fetch(*arguments: Any) -> tuple[int, bytes]:
            raise NotImplementedError

        configuration = Configuration(hostname="mail.example.test", **options)
        self.directory = MemoryMailStore().directory
        made = Mechanisms(configuration, Clock(), self.directory, lambda: 0.0, fetch)
        now(made.look())
        return made

    def names(self, protocol: str, info: Any = BOUND, **options: Any) -> list[str]:
        """
        @return: what is offered under TLS.
        """
        found = offered(self.make(**options).of(protocol), info, False)
        return [each.decode() for each in found]

    def test_default(self) -> None:
        """Without any settings: SCRAM-SHA-256 and passwords; TLS for all."""
        for protocol in ("imap", "pop3", "smtp"):
            self.assertEqual(self.names(protocol), ["SCRAM-SHA-256", "PLAIN", "LOGIN"])
            self.assertEqual(self.names(protocol, INFO), ["SCRAM-SHA-256", "PLAIN", "LOGIN"])
            self.assertEqual(self.names(protocol, INFO._replace(secure=False)), [])

    def test_covered(self) -> None:
        """
        SCRAM is offered once everybody can use it: clients prefer it, and whoever has only a hash
        would be told that the password is wrong. If the configuration names it, it is offered.
        """
        for options, expected in (
            ({}, ["PLAIN", "LOGIN"]),
            ({"mechanisms": ("SCRAM-SHA-256", "PLAIN")}, ["SCRAM-SHA-256", "PLAIN"]),
        ):
            made = self.make(**options)
            alice = Address("alice", "example.test")
            now(self.directory.addDomain("example.test"))
            now(self.directory.addAccount(alice, "$argon2id$1"))
            now(made.look())
            found = offered(made.of("imap"), INFO, False)
            self.assertEqual([each.decode() for each in found], expected)
            both = {"argon2id": "$argon2id$1", "scram-sha-256": "1,a,b,c"}
            now(self.directory.setPassword(alice, both))
            now(made.look())
            self.assertIn(b"SCRAM-SHA-256", offered(made.of("imap"), INFO, False))

    def test_bound(self) -> None:
        """The forms that are bound are offered first, where there is something to bind to."""
        wanted = ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")
        self.assertEqual(self.names("imap", mechanisms=wanted), list(reversed(wanted)))
        self.assertEqual(self.names("imap", INFO, mechanisms=wanted), ["SCRAM-SHA-256"])

    def test_all(self) -> None:
        """All of them, where all that they need is there; ANONYMOUS only by IMAP."""
        certificate = b"certificate"
        info = INFO._replace(channel=Bound({"tls-exporter": b"x"}, certificate))
        options = {
            "mechanisms": tuple(MAKERS),
            "oauthIntrospection": "https://x.test/i",
            "anonymous": "public@x.test",
            "certificateAccounts": {sha256(certificate).hexdigest(): "a@x.test"},
        }
        wanted = [name for name in MAKERS if name != "GSSAPI"]
        self.assertEqual(self.names("imap", info, **options), wanted)
        wanted.remove("ANONYMOUS")
        self.assertEqual(self.names("pop3", info, **options), wanted)
        self.assertEqual(self.names("smtp", info, **options), wanted)

    def test_tokens(self) -> None:
        """By introspection, or by keys, which need an issuer; only by https, or on this machine."""
        for options, kind in (
            ({"oauthIntrospection": "https://x.test/i"}, Introspection),
            ({"oauthIntrospection": "http://127.0.0.1:1/i"}, Introspection),
            ({"oauthKeys": "https://x.test/k", "oauthIssuer": "x"}, SignedTokens),
            ({}, type(None)),
        ):
            self.assertIsInstance(self.make(**options).services.tokens, kind)
        for options in (
            *({"oauthKeys": "https://x.test/k"}, {"oauthIntrospection": "http://x.test/i"}),
            *({"oauthIntrospection": "x.test"}, {"oauthIntrospection": "ftp://x.test/"}),
            {"oauthIntrospection": "https://x.test/i", "oauthSecretFile": "/does/not/exist"},
        ):
            self.assertRaises(ConfigurationProblem, self.make, **options)

    def test_secret(self) -> None:
        """The password for the authorisation server comes from a file, without its line's end."""
        path = Path(self.mktemp())
        path.write_text("hush\n")
        made = self.make(
            oauthIntrospection="https://x.test/i", oauthClient="a", oauthSecretFile=str(path)
        )
        tokens: Any = made.services.tokens
        self.assertEqual(tokens._headers["Authorization"], "Basic YTpodXNo")

    def test_hints(self) -> None:
        """Clients are told where tokens are to be had (RFC 7628 §3.2.2)."""
        made = self.make(oauthScope="mail", oauthDiscovery="https://x.test/o")
        self.assertEqual(
            made.services.tokenHints, {"scope": "mail", "openid-configuration": "https://x.test/o"}
        )
