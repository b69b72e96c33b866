# -*- test-case-name: tests.auth.test_checker -*-
"""
The checker (twisted.cred) for the accounts of a store: names are addresses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.auth.names import LoginName, parseLogin
from twisted_mailstack.auth.onetime import DIGITS, OneTimeCodes
from twisted_mailstack.auth.policy import Proof
from twisted_mailstack.auth.schemes import OURS, SCRAM, chooseSecret, isAppPassword, isCurrent
from twisted_mailstack.errors import MailError
from twisted_mailstack.interfaces import IDirectory, IDirectoryAdmin, IPasswordHasher
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import PASSWORD, AccountPolicy, AccountRecord, Credential
from twisted_mailstack.sasl.credentials import IProvenIdentity

#: An accountId that nobody has.
NOBODY = "A0"

MakeSecrets = Callable[[bytes, str], Awaitable[Mapping[str, str]]]


class NotAuthorized(UnauthorizedLogin):
    """
    The password, or what stands in for it, was right; but not everybody may be acted as.
    """


@implementer(ICredentialsChecker)
class DirectoryChecker:
    """
    Checks passwords against a directory's accounts, and finds the accounts of those whom their
    mechanism has verified. Each attempt with a password computes one hash, whatever is wrong.
    """

    log = Logger()
    credentialInterfaces = (IUsernamePassword, IProvenIdentity)

    def __init__(
        self,
        directory: IDirectory,
        hasher: IPasswordHasher,
        defaultDomain: str | None = None,
        *,
        codes: OneTimeCodes | None = None,
        makeSecrets: MakeSecrets | None = None,
        schemes: Sequence[str] = (OURS,),
    ) -> None:
        """
        @param defaultDomain: of names without C{@}; C{None}: they are unknown.
        @param codes: checks one-time codes; C{None}: main passwords that need one are of no use.
        @param makeSecrets: makes of a password, and the name that it is of, what is kept of a new
            one: who logs in with one that is kept in another way has it made anew. C{None}: it
            stays.
        @param schemes: that it makes.
        """
        self._directory = directory
        self._hasher = hasher
        self._defaultDomain = defaultDomain
        self._codes = codes
        self._makeSecrets = makeSecrets
        self._schemes = schemes

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """
        @param credentials: gets a L{Proof} as its C{proof}. What it has as C{origin} is told to the
            hasher.
        @return: the accountId. Fails with UnauthorizedLogin whatever is wrong: an unknown name, a
            disabled account and a wrong password look alike and take equally long.
        """
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: Any) -> bytes | tuple[()]:
        identity = getattr(credentials, "authorizationIdentity", None)
        name = parseLogin(credentials.username, self._defaultDomain, identity)
        actor = await _usable(self._directory, name.actor)
        # Asked for nobody's, too, so that it takes as long.
        accountId = NOBODY if actor is None else actor.accountId
        found = await self._directory.findCredentials(accountId)
        policy = await self._directory.findPolicy(accountId)
        if IProvenIdentity.providedBy(credentials):
            proof = _proven(credentials.credentialId, found)
        else:
            origin = getattr(credentials, "origin", "")
            proof = await self._verify(actor, policy, found, credentials.password, origin)
        if proof is None or actor is None:
            raise UnauthorizedLogin()
        account = await actAs(self._directory, name, actor, policy)
        if account.accountId != actor.accountId:
            proof = proof._replace(actor=actor.accountId)
        credentials.proof = proof
        return account.accountId.encode("ascii")

    async def _verify(
        self,
        actor: AccountRecord | None,
        policy: AccountPolicy,
        found: Sequence[Credential],
        password: bytes,
        origin: str,
    ) -> Proof | None:
        main: Credential | None = None
        for each in found:
            if each.kind == PASSWORD:
                main = each
            elif isAppPassword(password, each.secrets):
                return Proof(each)
        code = None
        if policy.totp is not None:
            # The code is behind the password.
            password, code = password[:-DIGITS], password[-DIGITS:]
        chosen = chooseSecret(main.secrets) if main is not None else None
        hashed = None
        if chosen is not None:
            scheme, text = chosen
            hashed = text if scheme == OURS else f"{{{scheme.upper()}}}{text}"
        right = await self._verifyHash(hashed, password, origin)
        if not right or main is None or actor is None:
            return None
        if policy.totp is not None:
            if self._codes is None or code is None:
                return None
            if not await self._codes.use(actor.accountId, policy.totp, code):
                return None
        self._renew(main, password, str(actor.address))
        return Proof(main, policy.totp is not None)

    async def _verifyHash(self, hashed: str | None, password: bytes, origin: str) -> bool:
        if origin:
            return await self._hasher.verify(hashed, password, origin)
        return await self._hasher.verify(hashed, password)

    def _renew(self, main: Credential, password: bytes, name: str) -> None:
        if self._makeSecrets is None or not IDirectoryAdmin.providedBy(self._directory):
            return
        if not isCurrent(main.secrets) or not set(self._schemes) <= set(main.secrets):
            # Nobody waits for it, and what fails is tried again at the next login.
            ensureDeferred(self._makeAnew(main, password, name, self._makeSecrets)).addErrback(
                lambda failure: failure.trap(MailError)
            ).addErrback(lambda failure: self.log.failure("a password can't be renewed", failure))

    async def _makeAnew(
        self, main: Credential, password: bytes, name: str, make: MakeSecrets
    ) -> None:
        # A plain one that came from elsewhere was nobody's choice; beside a hash it was.
        kept = {
            scheme: text
            for scheme, text in main.secrets.items()
            if scheme in SCRAM or (scheme == "plain" and OURS in main.secrets)
        }
        directory: Any = self._directory
        await directory.changeSecrets(main.credentialId, {**kept, **await make(password, name)})


async def _usable(directory: IDirectory, address: Address | None) -> AccountRecord | None:
    record = await directory.findAccount(address) if address is not None else None
    return record if record is not None and record.enabled else None


async def actAs(
    directory: IDirectory, name: LoginName, actor: AccountRecord, policy: AccountPolicy
) -> AccountRecord:
    """
    Whom to act as (RFC 4616 §2): everybody is only themselves, but for masters.

    @param actor: who has shown who he is.
    @param policy: the actor's.
    @raise NotAuthorized: if he may not.
    """
    account = await _usable(directory, name.account)
    if account is None:
        raise NotAuthorized()
    if account.accountId != actor.accountId:
        other = await directory.findPolicy(account.accountId)
        if not policy.master or other.master:
            raise NotAuthorized()
    return account


def _proven(credentialId: str | None, found: Any) -> Proof | None:
    if credentialId is None:
        return Proof()
    for each in found:
        if each.credentialId == credentialId:
            return Proof(each)
    # It was taken away meanwhile.
    return None
