# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{IDirectory} and L{IDirectoryAdmin} promise.
"""

from __future__ import annotations

from twisted_mailstack.errors import AlreadyExists, CannotDoThat, NoSuchAccount, NoSuchDomain
from twisted_mailstack.interfaces import IDirectory, IDirectoryAdmin
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import AccountRecord, AliasRecord, DomainRecord, Quota
from twisted_mailstack.testing.contracts.base import DOMAIN, StorageContract


class DirectoryContract(StorageContract):
    """
    Domains, accounts and aliases.
    """

    def setUp(self) -> None:
        """
        A directory.
        """
        super().setUp()
        self.directory = self.store.directory

    def find(self, localPart: str, domain: str = DOMAIN) -> AccountRecord | None:
        """
        @return: what C{findAccount} finds.
        """
        return self.wait(self.directory.findAccount(Address(localPart, domain)))

    def test_provides(self) -> None:
        """The directory is what the interfaces say."""
        self.assertProvides(IDirectory, self.directory)
        self.assertProvides(IDirectoryAdmin, self.directory)

    # --- domains -------------------------------------------------------------------------------

    def test_domains(self) -> None:
        """Domains are made, found, listed by name, and removed."""
        made = self.wait(self.directory.addDomain("b.test"))
        self.assertEqual(made, DomainRecord("b.test"))
        self.wait(self.directory.addDomain("a.test"))
        self.assertEqual(self.wait(self.directory.findDomain("b.test")), made)
        self.assertEqual(
            [record.name for record in self.wait(self.directory.listDomains())],
            ["a.test", "b.test", DOMAIN],
        )
        self.wait(self.directory.removeDomain("b.test"))
        self.assertIsNone(self.wait(self.directory.findDomain("b.test")))
        self.assertIsNone(self.wait(self.directory.findDomain("x.a.test")))
        self.assertIsNone(self.wait(self.directory.findDomain("")))

    def test_addDomainTwice(self) -> None:
        """One that is there can't be made."""
        self.assertFails(self.directory.addDomain(DOMAIN), AlreadyExists)

    def test_removeDomain(self) -> None:
        """One that isn't there, or that has accounts or aliases, can't be removed."""
        self.assertFails(self.directory.removeDomain("other.test"), NoSuchDomain)
        error = self.assertFails(self.directory.removeDomain(DOMAIN), CannotDoThat)
        self.assertIn(DOMAIN, error.text)
        self.wait(self.directory.addDomain("other.test"))
        alias = Address("a", "other.test")
        self.wait(self.directory.setAlias(alias, [self.address("alice")]))
        self.assertFails(self.directory.removeDomain("other.test"), CannotDoThat)
        self.wait(self.directory.removeAlias(alias))
        self.wait(self.directory.removeDomain("other.test"))

    # --- accounts ------------------------------------------------------------------------------

    def test_accounts(self) -> None:
        """An account is found by its address and by its id."""
        made = self.wait(self.directory.addAccount(self.address("Bob"), "$argon2id$x"))
        self.assertEqual(made[1:3], (self.address("Bob"), True))
        (credential,) = self.wait(self.directory.findCredentials(made.accountId))
        self.assertEqual(credential.secrets, {"argon2id": "$argon2id$x"})
        self.assertEqual(self.find("Bob"), made)
        self.assertEqual(self.wait(self.directory.findAccountById(made.accountId)), made)
        self.assertEqual(self.wait(self.store.openAccount(made.accountId)).address, made.address)

    def test_nobody(self) -> None:
        """Who isn't there isn't found; nothing is followed or cut off."""
        self.wait(self.directory.setAlias(self.address("info"), [self.address("alice")]))
        self.wait(self.directory.setAlias(self.address("*"), [self.address("alice")]))
        for localPart in ("nobody", "alice+tag", "info", "*", "", "alic", "alice "):
            self.assertIsNone(self.find(localPart), localPart)
        self.assertIsNone(self.find("alice", "other.test"))

    def test_unknownIds(self) -> None:
        """What was never an id is none."""
        identity = self.account.accountId
        for wrong in (
            *("", "x", identity + "0", identity.lower() + "x", f" {identity}", f"{identity}\n"),
            *("A" + "9" * 40, "A-1", "A\u0663", identity[0] + "0" + identity[1:], "A1e1"),
        ):
            self.assertIsNone(self.wait(self.directory.findAccountById(wrong)), wrong)
            self.assertFails(self.store.openAccount(wrong), NoSuchAccount)

    def test_folding(self) -> None:
        """Local-parts are compared without regard to case and composition (RFC 5321 §2.4)."""
        made = self.wait(self.directory.addAccount(self.address("J\xfcrgen.M"), None))
        for localPart in ("j\xfcrgen.m", "J\xdcRGEN.m", "Ju\u0308rgen.M"):
            self.assertEqual(self.find(localPart), made)
            self.assertFails(
                self.directory.addAccount(self.address(localPart), None), AlreadyExists
            )
        self.assertIsNone(self.find("jurgen.m"))
        self.assertIsNone(self.find("j\xfcrgenm"))

    def test_awkwardLocalParts(self) -> None:
        """What RFC 5321 lets into quotes is told apart."""
        for localPart in ("a b", "a%b", "a_b", "'", "a@b", 'a"b', "a\\b", "\U0001f4e7"):
            made = self.wait(self.directory.addAccount(self.address(localPart), None))
            self.assertEqual(self.find(localPart), made)
        self.assertIsNone(self.find("axb"))

    def test_addAccountRefused(self) -> None:
        """The domain must be there and the address free."""
        self.assertFails(self.directory.addAccount(Address("a", "other.test"), None), NoSuchDomain)
        self.wait(self.directory.setAlias(self.address("info"), [self.address("alice")]))
        for localPart in ("alice", "ALICE", "info", "INFO"):
            self.assertFails(
                self.directory.addAccount(self.address(localPart), None), AlreadyExists
            )

    def test_listAccounts(self) -> None:
        """By domain, then local-part; of one domain, or of all."""
        self.wait(self.directory.addDomain("a.test"))
        for localPart, domain in (("z", "a.test"), ("Bob", DOMAIN), ("b", "a.test"), ("x", DOMAIN)):
            self.wait(self.directory.addAccount(Address(localPart, domain), None))
        every = self.wait(self.directory.listAccounts())
        self.assertEqual(
            [(record.address.domain, record.address.localPart) for record in every],
            [("a.test", "b"), ("a.test", "z"), (DOMAIN, "alice"), (DOMAIN, "Bob"), (DOMAIN, "x")],
        )
        self.assertEqual(self.wait(self.directory.listAccounts("a.test")), every[:2])
        self.assertEqual(self.wait(self.directory.listAccounts("none.test")), [])
        self.assertEqual(self.find("Bob"), every[3])

    def test_changeAccount(self) -> None:
        """Whether one may log in, and limits can be changed, by any spelling of the address."""
        self.wait(self.directory.setEnabled(self.address("Alice"), False))
        record = self.find("alice")
        assert record is not None
        self.assertEqual((record.accountId, record.enabled), (self.account.accountId, False))
        self.wait(self.directory.setEnabled(self.address("alice"), True))
        self.wait(self.directory.setQuota(self.address("alice"), 1 << 40, 5))
        record = self.find("alice")
        assert record is not None
        self.assertTrue(record.enabled)
        self.assertEqual(self.wait(self.account.quota()), Quota(0, 1 << 40, 0, 5))

    def test_limited(self) -> None:
        """An account with either limit says that it may have one."""
        for limits in ((1 << 40, None), (None, 5), (0, 0)):
            self.wait(self.directory.setQuota(self.address("alice"), *limits))
            record = self.find("alice")
            assert record is not None
            self.assertTrue(record.limited)
            (found,) = [each for each in self.wait(self.directory.listAccounts()) if each == record]
            self.assertTrue(found.limited)

    def test_changeNobody(self) -> None:
        """There must be one."""
        nobody = self.address("nobody")
        for call in (
            lambda: self.directory.setPassword(nobody, "x"),
            lambda: self.directory.setEnabled(nobody, True),
            lambda: self.directory.setQuota(nobody, 1, 1),
            lambda: self.directory.removeAccount(nobody),
            lambda: self.directory.removeAlias(nobody),
            # An alias is no account, and the other way round.
            lambda: self.directory.removeAlias(self.address("alice")),
        ):
            self.assertFails(call(), NoSuchAccount)

    def test_removeAccount(self) -> None:
        """An account goes with all its mail; what others have of it stays; its id never returns."""
        bob = self.addAccount("bob")
        self.append(self.mailbox("INBOX", bob), b"large" * 120_000)
        self.append(self.mailbox("a", bob), b"small")
        for name in ("INBOX", "a"):
            self.wait(self.mailbox(name, bob).copyMessages(self.numbers(1), self.mailbox("INBOX")))
        self.wait(self.directory.removeAccount(self.address("BOB")))
        self.assertIsNone(self.find("bob"))
        self.assertIsNone(self.wait(self.directory.findAccountById(bob.accountId)))
        self.assertFails(self.store.openAccount(bob.accountId), NoSuchAccount)
        inbox = self.mailbox("INBOX")
        self.assertEqual(self.message(inbox, 1), b"large" * 120_000)
        self.assertEqual(self.message(inbox, 2), b"small")
        self.assertSound()
        self.assertNotEqual(self.addAccount("bob").accountId, bob.accountId)

    # --- aliases -------------------------------------------------------------------------------

    def test_aliases(self) -> None:
        """Aliases are made, replaced, found by exactly their address, listed and removed."""
        targets = (self.address("alice"), Address("x y", "elsewhere.test"))
        made = self.wait(self.directory.setAlias(self.address("Info"), targets))
        self.assertEqual(made, AliasRecord(self.address("Info"), targets))
        for localPart in ("Info", "info", "INFO"):
            self.assertEqual(self.wait(self.directory.findAlias(self.address(localPart))), made)
        for localPart in ("info+tag", "inf", "*", "alice"):
            self.assertIsNone(self.wait(self.directory.findAlias(self.address(localPart))))
        replaced = self.wait(self.directory.setAlias(self.address("info"), targets[:1]))
        self.assertEqual(self.wait(self.directory.listAliases()), [replaced])
        self.wait(self.directory.removeAlias(self.address("INFO")))
        self.assertEqual(self.wait(self.directory.listAliases()), [])

    def test_catchAll(self) -> None:
        """The catch-all is found only by who asks for it."""
        made = self.wait(self.directory.setAlias(self.address("*"), [self.address("alice")]))
        self.assertEqual(self.wait(self.directory.findAlias(self.address("*"))), made)
        self.assertIsNone(self.wait(self.directory.findAlias(self.address("anybody"))))

    def test_setAliasRefused(self) -> None:
        """The domain must be there, and no account may have the address."""
        target = [self.address("alice")]
        self.assertFails(self.directory.setAlias(Address("a", "other.test"), target), NoSuchDomain)
        for localPart in ("alice", "Alice"):
            self.assertFails(
                self.directory.setAlias(self.address(localPart), target), AlreadyExists
            )

    def test_listAliases(self) -> None:
        """By domain, then local-part; of one domain, or of all."""
        self.wait(self.directory.addDomain("a.test"))
        target = [self.address("alice")]
        for localPart, domain in (("z", "a.test"), ("Y", DOMAIN), ("b", "a.test"), ("x", DOMAIN)):
            self.wait(self.directory.setAlias(Address(localPart, domain), target))
        every = self.wait(self.directory.listAliases())
        self.assertEqual(
            [(record.address.domain, record.address.localPart) for record in every],
            [("a.test", "b"), ("a.test", "z"), (DOMAIN, "x"), (DOMAIN, "Y")],
        )
        self.assertEqual(self.wait(self.directory.listAliases(DOMAIN)), every[2:])
