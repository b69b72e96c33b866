# -*- test-case-name: tests.auth.checkers.test_external -*-
"""
The checker (twisted.cred) for accounts of the store whose passwords are known elsewhere.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.auth.checker import actAs
from twisted_mailstack.auth.names import LoginName, parseLogin
from twisted_mailstack.auth.onetime import DIGITS, OneTimeCodes
from twisted_mailstack.auth.policy import Proof
from twisted_mailstack.errors import AlreadyExists
from twisted_mailstack.interfaces import IDirectoryAdmin, IPasswordSource
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.records import AccountRecord


@implementer(ICredentialsChecker)
class SourceChecker:
    """
    Asks a source about passwords, for each attempt anew, whether there is such an account or not.
    What the account's policy says holds besides: it may be disabled, need a one-time code, be that
    of a master.
    """

    log = Logger()
    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self,
        source: IPasswordSource,
        directory: IDirectoryAdmin,
        defaultDomain: str | None = None,
        *,
        create: bool = False,
        codes: OneTimeCodes | None = None,
    ) -> None:
        """
        @param defaultDomain: of names without C{@}; C{None}: they are unknown.
        @param create: make the account of whoever logs in for the first time, in the domains of
            the directory.
        @param codes: checks one-time codes; C{None}: accounts that need one can't log in so.
        """
        self._source = source
        self._directory = directory
        self._defaultDomain = defaultDomain
        self._create = create
        self._codes = codes

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """
        @return: the accountId. Fails with UnauthorizedLogin whatever is wrong, with
            TemporaryFailure if the source can't be asked.
        """
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: Any) -> bytes | tuple[()]:
        given: bytes = credentials.password
        identity = getattr(credentials, "authorizationIdentity", None)
        name = parseLogin(credentials.username, self._defaultDomain, identity)
        # RFC 4513 §5.1.2: without a password a bind asks for nothing, and LDAP servers say yes.
        # NUL would end what is shown to PAM and to commands.
        if name.actor is None or not given or b"\0" in given:
            raise UnauthorizedLogin()
        actor = await self._directory.findAccount(name.actor)
        policy = await self._directory.findPolicy("A0" if actor is None else actor.accountId)
        password, code = given, b""
        if policy.totp is not None:
            # The code is behind the password.
            password, code = given[:-DIGITS], given[-DIGITS:]
        address = Address(foldLocalPart(name.actor.localPart), name.actor.domain)
        origin = getattr(credentials, "origin", "")
        # Asked even if nothing is left of it, so that nobody learns who needs a code.
        right = await self._source.verify(address, password or given, origin)
        if not right or not password:
            raise UnauthorizedLogin()
        if policy.totp is not None and actor is not None:
            if self._codes is None:
                raise UnauthorizedLogin()
            if not await self._codes.use(actor.accountId, policy.totp, code):
                raise UnauthorizedLogin()
        if actor is None:
            actor = await self._made(name, address)
        if not actor.enabled:
            raise UnauthorizedLogin()
        account = await actAs(self._directory, name, actor, policy)
        isOther = account.accountId != actor.accountId
        credentials.proof = Proof(
            None, policy.totp is not None, actor.accountId if isOther else None
        )
        return account.accountId.encode("ascii")

    async def _made(self, name: LoginName, address: Address) -> AccountRecord:
        directory = self._directory
        if not self._create or name.account != name.actor:
            raise UnauthorizedLogin()
        if await directory.findDomain(address.domain) is None:
            self.log.warn("{address}: no account is made, the domain isn't ours", address=address)
            raise UnauthorizedLogin()
        try:
            made = await directory.addAccount(address, None)
        except AlreadyExists:
            # By another first login at the same time; or it is an alias.
            found = await directory.findAccount(address)
            if found is None:
                self.log.warn("{address}: no account is made, it is an alias", address=address)
                raise UnauthorizedLogin() from None
            return found
        self.log.info("{address}: the account was made, at its first login", address=address)
        return made
