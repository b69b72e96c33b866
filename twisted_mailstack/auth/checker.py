# -*- test-case-name: tests.auth.test_checker -*-
"""
The checker (twisted.cred) for the accounts of a store: names are addresses.
"""

from __future__ import annotations

from unicodedata import normalize

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import IDirectory, IPasswordHasher
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.records import PASSWORD


@implementer(ICredentialsChecker)
class DirectoryChecker:
    """
    Checks passwords against a directory's accounts.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self, directory: IDirectory, hasher: IPasswordHasher, defaultDomain: str | None = None
    ) -> None:
        """
        @param defaultDomain: of names without C{@}; C{None}: they are unknown.
        """
        self._directory = directory
        self._hasher = hasher
        self._defaultDomain = defaultDomain

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """
        @return: the accountId. Fails with UnauthorizedLogin whatever is wrong: an unknown name, a
            disabled account and a wrong password look alike and take equally long.
        """
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: IUsernamePassword) -> bytes | tuple[()]:
        record = None
        address = self._address(credentials.username)
        if address is not None:
            record = await self._directory.findAccount(address)
        usable = record is not None and record.enabled
        hashed = None
        if record is not None and usable:
            for each in await self._directory.findCredentials(record.accountId):
                if each.kind == PASSWORD:
                    hashed = each.secrets.get("argon2id")
        right = await self._hasher.verify(hashed, credentials.password)
        identity = getattr(credentials, "authorizationIdentity", None)
        if right and record is not None:
            # RFC 4616 §2: whom to act as; here everybody is only themselves.
            if identity is None or _key(self._address(identity)) == _key(record.address):
                return record.accountId.encode("ascii")
        raise UnauthorizedLogin()

    def _address(self, name: bytes) -> Address | None:
        try:
            text = normalize("NFC", name.decode("utf-8"))
            if "@" not in text and self._defaultDomain is not None:
                text = f"{text}@{self._defaultDomain}"
            return Address.parse(text)
        except (UnicodeDecodeError, SyntaxProblem):
            return None


def _key(address: Address | None) -> tuple[str, str] | None:
    # What makes two addresses of ours the same.
    return None if address is None else (foldLocalPart(address.localPart), address.domain)
