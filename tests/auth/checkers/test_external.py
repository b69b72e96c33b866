"""
Accounts of the store whose passwords somebody else knows.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.auth.checkers.support import ALICE, BOB, FakeSource, SourceTestCase
from twisted_mailstack.auth.checker import NotAuthorized
from twisted_mailstack.auth.checkers.external import SourceChecker
from twisted_mailstack.auth.onetime import OneTimeCodes, code
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import AccountPolicy
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.storage.memory import MemoryMailStore

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


class ExternalTests(SourceTestCase):
    """
    L{SourceChecker}.
    """

    def setUp(self) -> None:
        """Alice and Bob; the source knows Carol too."""
        super().setUp()
        self.store = MemoryMailStore()
        self.directory = self.store.directory
        self.run_(self.directory.addDomain("example.test"))
        self.ids = {
            address.localPart: self.run_(
                self.directory.addAccount(address, None)
            ).accountId.encode()
            for address in (ALICE, BOB)
        }
        self.source = FakeSource(alice=b"secret", bob=b"bobs", carol=b"carols")
        self.checker = self.make()

    def make(self, **options: Any) -> SourceChecker:
        """
        @return: a checker of the source.
        """
        return SourceChecker(
            self.source,
            self.directory,
            "example.test",
            codes=OneTimeCodes(self.store.memory, self.now),
            **options,
        )

    def check(self, name: str, password: bytes, identity: str | None = None) -> Any:
        """
        @return: the accountId, or what it failed with.
        """
        self.credentials = PasswordCredentials(
            name.encode(), password, None if identity is None else identity.encode()
        )
        results: list[Any] = []
        self.checker.requestAvatarId(self.credentials).addBoth(results.append)
        (result,) = results
        return result.type if isinstance(result, Failure) else result

    def test_interface(self) -> None:
        """It is a checker of cred."""
        verifyObject(ICredentialsChecker, self.checker)

    def test_right(self) -> None:
        """The source is asked about the one form of the name, and its yes gives the account."""
        for name in ("alice@example.test", "ALICE@Example.Test", "alice"):
            self.assertEqual(self.check(name, b"secret"), self.ids["alice"])
        self.assertEqual(self.source.asked, [(ALICE, b"secret", "")] * 3)

    def test_alike(self) -> None:
        """
        A wrong password, an account that isn't there, one that is disabled, a domain that isn't
        ours: the same answer after the source was asked once.
        """
        self.run_(self.directory.setEnabled(BOB, False))
        for name, password in (
            ("alice", b"wrong"),
            ("bob", b"bobs"),
            ("carol", b"carols"),
            ("nobody", b"x"),
            ("alice@elsewhere.test", b"secret"),
        ):
            self.source.asked.clear()
            self.assertIs(self.check(name, password), UnauthorizedLogin, name)
            self.assertEqual(len(self.source.asked), 1, name)

    def test_empty(self) -> None:
        """
        Without a password nobody is asked: to LDAP that would be an unauthenticated bind, which
        succeeds (RFC 4513 §5.1.2). With NUL in it neither.
        """
        self.source.passwords["alice"] = b""
        for password in (b"", b"\0", b"secret\0more"):
            self.assertIs(self.check("alice", password), UnauthorizedLogin)
        self.assertIs(self.check("", b"secret"), UnauthorizedLogin)
        self.assertEqual(self.source.asked, [])

    def test_down(self) -> None:
        """If the source can't tell, that is what is said, of any name."""
        self.source.down = True
        for name in ("alice", "nobody"):
            self.assertTrue(issubclass(self.check(name, b"secret"), TemporaryFailure))

    def test_origin(self) -> None:
        """The source is told from which network it is asked."""
        credentials = PasswordCredentials(b"alice", b"secret")
        credentials.origin = "192.0.2.0/24"  # type: ignore[attr-defined]
        self.successResultOf(self.checker.requestAvatarId(credentials))
        self.assertEqual(self.source.asked[0][2], "192.0.2.0/24")

    def test_identity(self) -> None:
        """One may act as oneself and as nobody else, but for masters (RFC 4616 §2)."""
        self.assertEqual(self.check("alice", b"secret", "ALICE"), self.ids["alice"])
        self.assertIs(self.check("alice", b"secret", "bob"), NotAuthorized)
        self.assertIs(self.check("bob*alice", b"secret"), NotAuthorized)
        self.assertIs(self.check("alice", b"secret", "nobody"), NotAuthorized)
        self.assertIs(self.check("alice", b"wrong", "bob"), UnauthorizedLogin)
        self.run_(self.directory.setPolicy(ALICE, AccountPolicy(master=True)))
        self.assertEqual(self.check("alice", b"secret", "bob"), self.ids["bob"])
        self.run_(self.directory.setEnabled(ALICE, False))
        self.assertIs(self.check("alice", b"secret", "bob"), UnauthorizedLogin)
        self.run_(self.directory.setEnabled(ALICE, True))
        self.assertEqual(self.check("bob*alice", b"secret"), self.ids["bob"])
        self.assertEqual(self.credentials.proof.actor.encode(), self.ids["alice"])  # type: ignore[attr-defined]

    def test_create(self) -> None:
        """Where it is wanted, the first login makes the account, once, without a password."""
        self.checker = self.make(create=True)
        first = self.check("Carol", b"carols")
        record = self.run_(self.directory.findAccount(Address("carol", "example.test")))
        assert record is not None
        self.assertEqual(first, record.accountId.encode())
        self.assertEqual(self.check("carol", b"carols"), first)
        self.assertEqual(self.run_(self.directory.findCredentials(record.accountId)), [])
        self.assertEqual(str(record.address), "carol@example.test")

    def test_createNot(self) -> None:
        """
        No account is made for a wrong password, in a domain that isn't served, for a name that is
        an alias, nor by one who acts as another.
        """
        self.checker = self.make(create=True)
        alias = Address("carol", "example.test")
        before = self.run_(self.directory.listAccounts())
        self.assertIs(self.check("carol", b"wrong"), UnauthorizedLogin)
        self.assertIs(self.check("alice@elsewhere.test", b"secret"), UnauthorizedLogin)
        self.assertIs(self.check("carol", b"carols", "alice"), UnauthorizedLogin)
        self.run_(self.directory.setAlias(alias, [ALICE]))
        self.assertIs(self.check("carol", b"carols"), UnauthorizedLogin)
        self.assertEqual(self.run_(self.directory.listAccounts()), before)

    def test_code(self) -> None:
        """An account that needs a one-time code needs it behind the source's password, too."""
        self.run_(self.directory.setPolicy(ALICE, AccountPolicy(totp=SECRET)))
        given = code(SECRET, int(self.now()) // 30).encode()
        self.assertIs(self.check("alice", b"secret"), UnauthorizedLogin)
        self.assertIs(self.check("alice", b"secret000000"), UnauthorizedLogin)
        self.assertIs(self.check("alice", given), UnauthorizedLogin)
        self.assertEqual(self.check("alice", b"secret" + given), self.ids["alice"])
        self.assertTrue(self.credentials.proof.code)  # type: ignore[attr-defined]
        self.assertIs(self.check("alice", b"secret" + given), UnauthorizedLogin)
        self.assertEqual(len(self.source.asked), 5)
