"""
Who may log in.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import ensureDeferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IPasswordHasher
from twisted_mailstack.model.address import Address
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.storage.memory import MemoryMailStore

T = TypeVar("T")


@implementer(IPasswordHasher)
class Hasher:
    """
    Knows hashes that are the password behind C{hash:}.

    @ivar asked: each hash that was asked about.
    """

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.busy = False

    async def hash(self, password: bytes) -> str:
        """See L{IPasswordHasher}."""
        return "hash:" + password.decode()

    async def verify(self, hashed: str | None, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordHasher}."""
        self.asked.append(hashed)
        if self.busy:
            raise TemporaryFailure()
        return hashed == "hash:" + password.decode("utf-8", "replace")


class CheckerTests(SynchronousTestCase):
    """
    L{DirectoryChecker}.
    """

    def setUp(self) -> None:
        """Accounts: Alice, one whose name isn't ASCII, one disabled, one without a password."""
        self.store = MemoryMailStore()
        self.hasher = Hasher()
        self.checker = DirectoryChecker(self.store.directory, self.hasher)
        directory = self.store.directory
        self.now(directory.addDomain("example.test"))
        self.ids = {}
        for localPart, hashed in (
            ("alice", "hash:secret"),
            ("jos\u00e9", "hash:secret"),
            ("disabled", "hash:secret"),
            ("nopassword", None),
            ("john doe", "hash:secret"),
        ):
            record = self.now(directory.addAccount(Address(localPart, "example.test"), hashed))
            self.ids[localPart] = record.accountId.encode()
        self.now(directory.setEnabled(Address("disabled", "example.test"), False))

    def now(self, awaitable: Awaitable[T]) -> T:
        """
        @return: the result of what needn't wait.
        """

        async def wait() -> T:
            return await awaitable

        return self.successResultOf(ensureDeferred(wait()))

    def check(self, name: str | bytes, password: bytes = b"secret", *identity: bytes) -> Any:
        """
        @return: the accountId, or the failure.
        """
        name = name.encode() if isinstance(name, str) else name
        results: list[Any] = []
        self.checker.requestAvatarId(PasswordCredentials(name, password, *identity)).addBoth(
            results.append
        )
        return results[0]

    def assertRefused(self, result: object) -> None:
        """It is UnauthorizedLogin, which says nothing."""
        assert isinstance(result, Failure)
        self.assertIsNotNone(result.check(UnauthorizedLogin))
        self.assertEqual(str(result.value), "")

    def test_interface(self) -> None:
        """It is a checker of cred for names and passwords."""
        verifyObject(ICredentialsChecker, self.checker)
        self.assertIn(IUsernamePassword, self.checker.credentialInterfaces)

    def test_right(self) -> None:
        """With the right password one gets one's account."""
        self.assertEqual(self.check("alice@example.test"), self.ids["alice"])

    def test_anyUsernamePassword(self) -> None:
        """cred's own credentials will do."""
        result = self.checker.requestAvatarId(UsernamePassword(b"alice@example.test", b"secret"))
        self.assertEqual(self.successResultOf(result), self.ids["alice"])

    def test_forms(self) -> None:
        """A name is an address: case and Unicode form don't matter, quotes needn't be there."""
        for name in ("Alice@EXAMPLE.test", '"alice"@example.test'):
            self.assertEqual(self.check(name), self.ids["alice"])
        for name in ("jos\u00e9@example.test", "jose\u0301@example.test", "JOS\u00c9@example.test"):
            self.assertEqual(self.check(name), self.ids["jos\u00e9"])
        self.assertEqual(self.check('"john doe"@example.test'), self.ids["john doe"])

    def test_defaultDomain(self) -> None:
        """Names without @ are of the default domain, or unknown if there is none."""
        self.assertRefused(self.check("alice"))
        self.checker = DirectoryChecker(self.store.directory, self.hasher, "example.test")
        self.assertEqual(self.check("alice"), self.ids["alice"])
        self.assertEqual(self.check("alice@example.test"), self.ids["alice"])
        self.assertRefused(self.check("alice@other.test"))
        self.assertRefused(self.check("alice", b"secret", b"jos\xc3\xa9"))
        self.assertEqual(self.check("alice", b"secret", b"ALICE"), self.ids["alice"])

    def test_alike(self) -> None:
        """
        Wrong password, unknown name or domain, disabled account, account without password, and
        what can't be a name at all: the same answer after exactly one hash.
        """
        for name, password in (
            ("alice@example.test", b"wrong"),
            ("alice@example.test", b""),
            ("nobody@example.test", b"secret"),
            ("alice@other.test", b"secret"),
            ("disabled@example.test", b"secret"),
            ("nopassword@example.test", b"secret"),
            ("nopassword@example.test", b""),
            ("", b"secret"),
            ("@", b"secret"),
            ("alice@example.test ", b"secret"),
            ("alice@example.test\0", b"secret"),
            ("a" * 5000 + "@example.test", b"secret"),
            (b"\xff@example.test", b"secret"),
        ):
            self.hasher.asked.clear()
            self.assertRefused(self.check(name, password))
            self.assertEqual(len(self.hasher.asked), 1, name)

    def test_disabledIsUnknown(self) -> None:
        """
        The hash of a disabled account isn't even compared: what a cache of verified passwords
        remembers doesn't let it in.
        """
        self.check("disabled@example.test")
        self.assertEqual(self.hasher.asked, [None])

    def test_seenAtOnce(self) -> None:
        """Changes to the directory hold for the next login."""
        address = Address("alice", "example.test")
        directory = self.store.directory
        self.now(directory.setPassword(address, "hash:new"))
        self.assertRefused(self.check("alice@example.test"))
        self.assertEqual(self.check("alice@example.test", b"new"), self.ids["alice"])
        self.now(directory.setEnabled(address, False))
        self.assertRefused(self.check("alice@example.test", b"new"))
        self.now(directory.removeAccount(address))
        self.assertRefused(self.check("alice@example.test", b"new"))

    def test_authorizationIdentity(self) -> None:
        """
        One may act as oneself, however one writes it, and as nobody else (RFC 4616 §2), not even
        with the right password.
        """
        for identity in (b"alice@example.test", b"ALICE@Example.Test", b'"alice"@example.test'):
            self.assertEqual(
                self.check("alice@example.test", b"secret", identity), self.ids["alice"]
            )
        for identity in (
            b"jos\xc3\xa9@example.test",
            b"nobody@example.test",
            b"alice",
            b"\xff",
            b"",
        ):
            self.hasher.asked.clear()
            self.assertRefused(self.check("alice@example.test", b"secret", identity))
            self.assertEqual(len(self.hasher.asked), 1)
        self.assertRefused(self.check("alice@example.test", b"wrong", b"alice@example.test"))

    def test_aliases(self) -> None:
        """An alias isn't a login name."""
        alias = Address("info", "example.test")
        self.now(self.store.directory.setAlias(alias, [Address("alice", "example.test")]))
        self.assertRefused(self.check("info@example.test"))
        self.assertRefused(self.check("alice+tag@example.test"))

    def test_busy(self) -> None:
        """If it can't be found out now, that is what is said, and not that it was wrong."""
        self.hasher.busy = True
        for name in ("alice@example.test", "nobody@example.test"):
            result = self.check(name)
            assert isinstance(result, Failure)
            self.assertIsNotNone(result.check(TemporaryFailure))
