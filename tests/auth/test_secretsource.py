"""
Secrets out of a directory, and what looks like them.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.schemes import makeSecrets
from twisted_mailstack.auth.secretsource import DirectorySecrets
from twisted_mailstack.interfaces import ISecretSource
from twisted_mailstack.model.address import Address
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.sasl.scram import Verifier, makeVerifier, saltFor
from twisted_mailstack.storage.memory import MemoryMailStore

ALICE = Address("Alice", "x.test")
SCRAM = "scram-sha-256"


class DirectorySecretsTests(SynchronousTestCase):
    """
    L{DirectorySecrets}.
    """

    def setUp(self) -> None:
        """An account with two passwords, and one that can't be verified so."""
        store = MemoryMailStore()
        self.directory = store.directory
        self.now = 1000.0
        self.source = DirectorySecrets(self.directory, 4096, lambda: self.now, "x.test")
        self.run_(self.directory.addDomain("x.test"))
        made = makeSecrets(b"one", ("argon2id", SCRAM, "plain"), str(ALICE), 4096)
        self.account = self.run_(self.directory.addAccount(ALICE, made))
        self.app = self.run_(
            self.directory.addAppPassword(
                ALICE, "phone", makeSecrets(b"two", (SCRAM,), str(ALICE), 4096), None, 2000
            )
        )
        bob = Address("bob", "x.test")
        self.run_(self.directory.addAccount(bob, makeSecrets(b"x")))

    def run_(self, awaitable: Any) -> Any:
        """
        @return: what comes of it.
        """
        return self.successResultOf(ensureDeferred(awaitable))

    def find(self, name: str, scheme: str = SCRAM) -> Any:
        """
        @return: what is given to a mechanism.
        """
        return self.run_(self.source.secretsFor(name.encode(), scheme))

    def test_known(self) -> None:
        """Those of all passwords, with one salt, so that a client may have any of them."""
        verifyObject(ISecretSource, self.source)
        for name in ("Alice@x.test", "alice@X.test", "alice"):
            first, second = self.find(name)
            self.assertEqual(second.credentialId, self.app.credentialId)
            self.assertEqual(Verifier.parse(first.text)[:2], Verifier.parse(second.text)[:2])
        (plain,) = self.find("alice", "plain")
        self.assertEqual(plain.text, "one")

    def test_gone(self) -> None:
        """What has expired is no more, nor are those of an account that is disabled."""
        self.now = 2000.0
        self.assertEqual(len(self.find("alice")), 1)
        self.run_(self.directory.setEnabled(ALICE, False))
        (decoy,) = self.find("alice")
        self.assertEqual(decoy.credentialId, "")

    def test_locked(self) -> None:
        """
        Whoever is locked out is given what looks as before, salt and iterations, and can't be
        right: the mechanism says the same of a right proof and of a wrong one, before the policy
        is asked.
        """
        asked = []

        async def isLocked(name: str, peer: str) -> bool:
            asked.append((name, peer))
            return peer == "192.0.2.1"

        self.source = DirectorySecrets(
            self.directory, 8192, lambda: self.now, "x.test", isLocked=isLocked
        )
        known = Verifier.parse(self.find("alice")[0].text)

        def given(name: str, scheme: str, peer: str) -> Any:
            return self.run_(self.source.secretsFor(name.encode(), scheme, peer))

        (locked,) = given("Alice", SCRAM, "192.0.2.1")
        self.assertEqual(locked.credentialId, "")
        found = Verifier.parse(locked.text)
        self.assertEqual(found[:2], known[:2])
        self.assertNotEqual(found[2:], known[2:])
        self.assertNotEqual(given("alice", "plain", "192.0.2.1")[0].text, "one")
        self.assertEqual(len(given("alice", SCRAM, "192.0.2.2")), 2)
        given("nobody", SCRAM, "192.0.2.1")
        self.assertEqual(
            asked,
            [
                *(("alice@x.test", f"192.0.2.{last}") for last in (1, 1, 2)),
                ("nobody@x.test", "192.0.2.1"),
            ],
        )

    def test_decoys(self) -> None:
        """
        A name that isn't known, or has no such secret, has one that looks as that of a known one:
        the same salt each time and for each way of writing the name, as many iterations.
        """
        for name in ("nobody@x.test", "bob@x.test", "no name at all@", "\u00e4"):
            found = [self.find(each)[0] for each in (name, name, name.upper())]
            parsed = [Verifier.parse(each.text) for each in found]
            self.assertEqual({each.credentialId for each in found}, {""})
            self.assertEqual(len({each[:2] for each in parsed}), 1)
            self.assertEqual((parsed[0].iterations, len(parsed[0].salt)), (4096, 16))
            self.assertEqual(self.find(name, "plain")[0].credentialId, "")
        known = Verifier.parse(self.find("alice")[0].text)
        self.assertEqual(known.salt, saltFor(SCRAM, "alice@x.test"))
        self.assertNotEqual(self.find("nobody", "plain"), self.find("nobody", "plain"))


class FirstLoginTests(SynchronousTestCase):
    """
    Accounts that were made before anything was kept for SCRAM.
    """

    def test_made(self) -> None:
        """Whoever logs in with the password gets a verifier, with the salt that was told before."""
        directory = MemoryMailStore().directory
        wanted = ("argon2id", SCRAM)

        def now(awaitable: Any) -> Any:
            return self.successResultOf(ensureDeferred(awaitable))

        async def make(password: bytes, name: str) -> Any:
            return makeSecrets(password, wanted, name, 4096)

        class Hasher:
            """Says yes to one password."""

            async def verify(self, hashed: str | None, password: bytes, origin: str = "") -> bool:
                """See IPasswordHasher."""
                return hashed is not None and password == b"secret"

        hasher: Any = Hasher()
        checker = DirectoryChecker(directory, hasher, makeSecrets=make, schemes=wanted)
        source = DirectorySecrets(directory, 4096, lambda: 0.0)
        now(directory.addDomain("x.test"))
        now(directory.addAccount(ALICE, makeSecrets(b"secret")))
        (before,) = now(source.secretsFor(b"alice@x.test", SCRAM))
        self.assertEqual(before.credentialId, "")
        wrong = checker.requestAvatarId(PasswordCredentials(b"alice@x.test", b"wrong"))
        self.failureResultOf(wrong, UnauthorizedLogin)
        self.assertEqual(now(source.secretsFor(b"alice@x.test", SCRAM))[0].credentialId, "")
        self.successResultOf(
            checker.requestAvatarId(PasswordCredentials(b"alice@x.test", b"secret"))
        )
        (after,) = now(source.secretsFor(b"alice@x.test", SCRAM))
        self.assertNotEqual(after.credentialId, "")
        self.assertEqual(Verifier.parse(after.text)[:2], Verifier.parse(before.text)[:2])
        self.assertEqual(
            Verifier.parse(after.text),
            makeVerifier(SCRAM, b"secret", 4096, saltFor(SCRAM, "alice@x.test")),
        )
