# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{IDirectory} and L{IDirectoryAdmin} promise of credentials and of who may log in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted_mailstack.errors import AlreadyExists, NoSuchAccount
from twisted_mailstack.interfaces import ICredentialSurvey
from twisted_mailstack.model.records import (
    APP_PASSWORD,
    PASSWORD,
    AccountPolicy,
    Credential,
)
from twisted_mailstack.testing.contracts.base import StorageContract

POLICY = AccountPolicy(
    expires=2_000_000_000,
    networks=("192.0.2.0/24", "2001:db8::/32"),
    services=frozenset(("imap", "smtp")),
    master=True,
    totp="GEZDGNBVGY3TQOJQ",
)


class CredentialsContract(StorageContract):
    """
    Alice's password, her app passwords, and when she may log in.
    """

    def setUp(self) -> None:
        """A directory."""
        super().setUp()
        self.directory = self.store.directory
        self.alice = self.address("alice")

    def found(self, accountId: str | None = None) -> Sequence[Credential]:
        """
        @return: an account's credentials, alice's if none is named.
        """
        return self.wait(self.directory.findCredentials(accountId or self.account.accountId))

    def test_none(self) -> None:
        """An account that was made without a password has no credentials; nobody has none."""
        self.assertEqual(list(self.found()), [])
        for wrong in ("", "nobody", "A99", "A" + "9" * 40):
            self.assertEqual(list(self.found(wrong)), [])

    def test_missing(self) -> None:
        """Whether somebody's main password isn't kept in a scheme (L{ICredentialSurvey})."""
        directory: Any = self.directory
        self.assertTrue(ICredentialSurvey.providedBy(directory))
        self.assertFalse(self.wait(directory.isMissing("scram-sha-256")))
        bob = self.address("bob")
        self.wait(directory.addAccount(bob, None))
        both = {"argon2id": "$argon2id$1", "scram-sha-256": "1,a,b,c"}
        self.wait(directory.setPassword(self.address("alice"), both))
        self.assertFalse(self.wait(directory.isMissing("scram-sha-256")))
        self.assertTrue(self.wait(directory.isMissing("scram-sha-1")))
        self.wait(directory.setPassword(bob, "$argon2id$1"))
        self.assertTrue(self.wait(directory.isMissing("scram-sha-256")))
        self.wait(directory.setPassword(bob, None))
        self.assertFalse(self.wait(directory.isMissing("scram-sha-256")))

    def test_password(self) -> None:
        """The main password is replaced; it is another credential then. It can be taken away."""
        self.wait(self.directory.setPassword(self.address("ALICE"), "$argon2id$1"))
        (first,) = self.found()
        self.assertEqual(
            first,
            Credential(
                *(first.credentialId, self.account.accountId, PASSWORD, ""),
                {"argon2id": "$argon2id$1"},
                created=int(self.seconds),
            ),
        )
        self.seconds += 10
        secrets = {"argon2id": "$2", "scram-sha-256": "4096,c2FsdA==,a2V5,a2V5", "x": 'é"\\'}
        self.wait(self.directory.setPassword(self.alice, secrets))
        (second,) = self.found()
        self.assertNotEqual(second.credentialId, first.credentialId)
        self.assertEqual((second.secrets, second.created), (secrets, int(self.seconds)))
        # Of the first nothing can be changed any more.
        self.wait(self.directory.touchCredential(first.credentialId, 5))
        self.wait(self.directory.changeSecrets(first.credentialId, {"x": "y"}))
        self.wait(self.directory.removeCredential(first.credentialId))
        self.assertEqual(list(self.found()), [second])
        self.wait(self.directory.setPassword(self.alice, None))
        self.assertEqual(list(self.found()), [])
        self.wait(self.directory.setPassword(self.alice, {}))
        self.assertEqual(list(self.found()), [])

    def test_madeWithPassword(self) -> None:
        """An account can be made with any secrets."""
        bob = self.wait(self.directory.addAccount(self.address("bob"), {"sha512-crypt": "$6$x$y"}))
        (found,) = self.found(bob.accountId)
        self.assertEqual((found.kind, found.secrets), (PASSWORD, {"sha512-crypt": "$6$x$y"}))
        self.assertEqual(list(self.found()), [])

    def test_appPasswords(self) -> None:
        """There are as many as one likes, each by a name; they are listed behind the main one."""
        made = [
            self.wait(self.directory.addAppPassword(self.alice, name, {"ssha256": name}, *more))
            for name, *more in (
                ("Telephone", frozenset(("imap", "smtp")), 1_900_000_000),
                ("telephone", None, None),
                ("Drücker \u2603", frozenset(), None),
            )
        ]
        self.assertEqual(
            made[0],
            Credential(
                made[0].credentialId,
                self.account.accountId,
                APP_PASSWORD,
                "Telephone",
                {"ssha256": "Telephone"},
                frozenset(("imap", "smtp")),
                int(self.seconds),
                1_900_000_000,
                None,
            ),
        )
        self.assertEqual([each.services for each in made[1:]], [None, frozenset()])
        self.assertEqual(list(self.found()), made)
        self.wait(self.directory.setPassword(self.alice, "$x"))
        main, *others = self.found()
        self.assertEqual((main.kind, others), (PASSWORD, made))
        self.assertEqual(len({each.credentialId for each in (main, *others)}), 4)
        # Those of others are theirs.
        bob = self.addAccount("bob")
        self.wait(self.directory.addAppPassword(bob.address, "Telephone", {"ssha256": "x"}))
        self.assertEqual(len(self.found(bob.accountId)), 1)
        self.wait(self.directory.removeCredential(made[1].credentialId))
        self.assertEqual(list(self.found()), [main, made[0], made[2]])
        self.assertEqual(len(self.found(bob.accountId)), 1)
        self.assertSound()

    def test_sameName(self) -> None:
        """No two of an account have one name; one that was removed is free again, by another id."""
        first = self.wait(self.directory.addAppPassword(self.alice, "a", {"x": "1"}))
        self.assertFails(self.directory.addAppPassword(self.alice, "a", {"x": "2"}), AlreadyExists)
        self.assertEqual(list(self.found()), [first])
        self.wait(self.directory.removeCredential(first.credentialId))
        second = self.wait(self.directory.addAppPassword(self.alice, "a", {"x": "2"}))
        self.assertNotEqual(first.credentialId, second.credentialId)

    def test_used(self) -> None:
        """When a credential was used is kept, the latest time of all."""
        made = self.wait(self.directory.addAppPassword(self.alice, "a", {"x": "1"}))
        other = self.wait(self.directory.addAppPassword(self.alice, "b", {"x": "1"}))
        for when in (5, 9, 7):
            self.wait(self.directory.touchCredential(made.credentialId, when))
        self.assertEqual(list(self.found()), [made._replace(lastUsed=9), other])

    def test_changeSecrets(self) -> None:
        """A credential stays the same one by other secrets."""
        self.wait(self.directory.setPassword(self.alice, {"md5-crypt": "$1$x"}))
        (before,) = self.found()
        self.wait(self.directory.touchCredential(before.credentialId, 9))
        self.wait(self.directory.changeSecrets(before.credentialId, {"argon2id": "$y"}))
        (after,) = self.found()
        self.assertEqual(after, before._replace(secrets={"argon2id": "$y"}, lastUsed=9))

    def test_unknownIds(self) -> None:
        """What was never an id is none, and nothing happens."""
        made = self.wait(self.directory.addAppPassword(self.alice, "a", {"x": "1"}))
        identity = made.credentialId
        for wrong in ("", "C", "C1-99", identity + "0", identity + "\n", "C" + "9" * 40 + "-1"):
            self.wait(self.directory.removeCredential(wrong))
            self.wait(self.directory.touchCredential(wrong, 5))
            self.wait(self.directory.changeSecrets(wrong, {"x": "2"}))
        self.assertEqual(list(self.found()), [made])

    def test_policy(self) -> None:
        """Before anything is said nothing is forbidden; what is said is replaced whole."""
        identity = self.account.accountId
        self.assertEqual(self.wait(self.directory.findPolicy(identity)), AccountPolicy())
        self.assertEqual(self.wait(self.directory.findPolicy("nobody")), AccountPolicy())
        for policy in (POLICY, AccountPolicy(services=frozenset()), AccountPolicy()):
            self.wait(self.directory.setPolicy(self.address("Alice"), policy))
            self.assertEqual(self.wait(self.directory.findPolicy(identity)), policy)
        bob = self.addAccount("bob")
        self.wait(self.directory.setPolicy(self.alice, POLICY))
        self.assertEqual(self.wait(self.directory.findPolicy(bob.accountId)), AccountPolicy())

    def test_nobody(self) -> None:
        """There must be an account."""
        nobody = self.address("nobody")
        for call in (
            lambda: self.directory.setPassword(nobody, "x"),
            lambda: self.directory.addAppPassword(nobody, "a", {"x": "1"}),
            lambda: self.directory.setPolicy(nobody, POLICY),
        ):
            self.assertFails(call(), NoSuchAccount)

    def test_removed(self) -> None:
        """All that goes with the account, and isn't the next one's of that address."""
        self.wait(self.directory.setPassword(self.alice, "$x"))
        self.wait(self.directory.addAppPassword(self.alice, "a", {"x": "1"}))
        self.wait(self.directory.setPolicy(self.alice, POLICY))
        self.wait(self.directory.removeAccount(self.alice))
        new = self.addAccount("alice")
        for accountId in (self.account.accountId, new.accountId):
            self.assertEqual(list(self.found(accountId)), [])
            self.assertEqual(self.wait(self.directory.findPolicy(accountId)), AccountPolicy())
        self.assertSound()
