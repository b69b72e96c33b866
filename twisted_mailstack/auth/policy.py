# -*- test-case-name: tests.auth.test_policy -*-
"""
Who may log in, decided in one place for all protocols and mechanisms, after somebody has shown who
he is: accounts that are disabled or have expired, networks and services, app passwords, masters,
one-time codes; and what is kept of each attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, NamedTuple

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.logger import Logger

from twisted_mailstack.auth.guessing import GuessingGuard, TooManyFailures, peerAddress
from twisted_mailstack.auth.history import LoginRecorder
from twisted_mailstack.auth.names import nameKey, parseLogin
from twisted_mailstack.errors import MailError
from twisted_mailstack.interfaces import IDirectory
from twisted_mailstack.model.records import (
    PASSWORD,
    AccountPolicy,
    ConnectionInfo,
    Credential,
    LoginRecord,
)

#: The protocol of a service, where it has another name.
_PROTOCOLS = {"submission": "smtp", "submissions": "smtp", "imaps": "imap", "pop3s": "pop3"}


class Proof(NamedTuple):
    """
    How somebody has shown who he is. A checker that knows sets it as C{proof} of the credentials
    that it was shown; those of an unknown checker are taken as of the main password, if a password
    was shown.

    @ivar credential: which of the actor's it was, C{None} if none.
    @ivar code: whether a one-time code was shown with it.
    @ivar actor: the accountId of whose it is, if that isn't the account's.
    """

    credential: Credential | None = None
    code: bool = False
    actor: str | None = None


def protocolOf(service: str) -> str:
    """
    @return: of L{LOGIN_SERVICES<twisted_mailstack.model.records.LOGIN_SERVICES>}, or the service's
        own name.
    """
    return _PROTOCOLS.get(service, service)


class LoginPolicy:
    """
    Asked by L{Login<twisted_mailstack.auth.login.Login>} for each attempt.

    @ivar now: seconds since 1970.
    """

    log = Logger()

    def __init__(
        self,
        directory: IDirectory,
        now: Callable[[], float],
        guard: GuessingGuard | None = None,
        recorder: LoginRecorder | None = None,
        defaultDomain: str | None = None,
    ) -> None:
        """
        @param now: seconds since 1970.
        @param guard: against guessing; C{None}: whoever wants may guess.
        @param recorder: of recent logins.
        """
        self._directory = directory
        self.now = now
        self._guard = guard
        self._recorder = recorder
        self._defaultDomain = defaultDomain

    async def begin(self, name: bytes, info: ConnectionInfo) -> str:
        """
        An attempt begins.

        @return: the network from which it comes; empty if it isn't one person's, but a webmail's.
        @raise TooManyFailures: if it isn't to be made.
        """
        if self._guard is None:
            return ""
        if await self._guard.isLocked(nameKey(name, self._defaultDomain), info.peer):
            raise TooManyFailures()
        return "" if self._guard.isExempt(info.peer) else self._guard.network(info.peer)

    async def admit(self, accountId: str, credentials: Any, info: ConnectionInfo) -> None:
        """
        Somebody has shown who he is.

        @raise UnauthorizedLogin: if he may not log in to this account, from there, to that service.
        """
        proof = getattr(credentials, "proof", None) or Proof()
        if not await self._mayLogIn(accountId, proof, credentials, info):
            raise UnauthorizedLogin()

    async def _mayLogIn(
        self, accountId: str, proof: Proof, credentials: Any, info: ConnectionInfo
    ) -> bool:
        now = self.now()
        protocol = protocolOf(info.service)
        policy = await self._usable(accountId, now)
        if policy is None:
            return False
        if proof.actor is not None and proof.actor != accountId:
            # What the account's owner may doesn't bind the master, but no master is another's.
            isMaster = policy.master
            policy = await self._usable(proof.actor, now)
            if policy is None or isMaster or not policy.master:
                return False
        if policy.services is not None and protocol not in policy.services:
            return False
        if policy.networks and not _isIn(info.peer, policy.networks):
            return False
        credential = proof.credential
        if credential is not None:
            if credential.expires is not None and credential.expires <= now:
                return False
            if credential.services is not None and protocol not in credential.services:
                return False
            isMain = credential.kind == PASSWORD
        else:
            isMain = IUsernamePassword.providedBy(credentials)
        return policy.totp is None or not isMain or proof.code

    async def _usable(self, accountId: str, now: float) -> AccountPolicy | None:
        record = await self._directory.findAccountById(accountId)
        if record is None or not record.enabled:
            return None
        policy = await self._directory.findPolicy(accountId)
        return policy if policy.expires is None or now < policy.expires else None

    async def succeeded(
        self, accountId: str, credentials: Any, mechanism: str, info: ConnectionInfo
    ) -> None:
        """
        Somebody has logged in.
        """
        name: bytes = getattr(credentials, "username", b"")
        proof = getattr(credentials, "proof", None) or Proof()
        if self._guard is not None:
            try:
                await self._guard.succeeded(nameKey(name, self._defaultDomain), info.peer)
            except MailError:
                # It isn't known as a network of its owner's, that's all.
                self.log.failure("it can't be remembered from where somebody has logged in")
        if self._recorder is not None:
            credential = proof.credential
            self._recorder.note(
                self._record(accountId, name, mechanism, info, True)._replace(
                    credential=credential.name if credential is not None else ""
                ),
                credential.credentialId if credential is not None else None,
            )

    async def failed(
        self, name: bytes, credentials: Any, mechanism: str, info: ConnectionInfo
    ) -> int:
        """
        An attempt failed.

        @return: how many failed from that network, or under that name, by now.
        """
        count = 0
        if self._guard is not None:
            password = getattr(credentials, "password", None)
            count = await self._guard.failed(
                nameKey(name, self._defaultDomain), info.peer, password
            )
        if self._recorder is not None:
            address = parseLogin(name, self._defaultDomain).account
            # An indexed read for each name that can be one: it takes no longer for those there are.
            found = await self._directory.findAccount(address) if address is not None else None
            accountId = found.accountId if found is not None else None
            self._recorder.note(self._record(accountId, name, mechanism, info, False))
        return count

    def _record(
        self, accountId: str | None, name: bytes, mechanism: str, info: ConnectionInfo, right: bool
    ) -> LoginRecord:
        text = name[:320].decode("utf-8", "replace")
        return LoginRecord(
            int(self.now()), accountId, text, info.service, info.peer, mechanism, right
        )


class MailPortal(Portal):
    """
    A portal whose logins are subject to a policy.

    @ivar policy: it.
    """

    def __init__(self, realm: Any, checkers: Any, policy: LoginPolicy) -> None:
        super().__init__(realm, checkers)
        self.policy = policy


def _isIn(peer: str, networks: tuple[str, ...]) -> bool:
    address = peerAddress(peer)
    return address is not None and any(address in ip_network(each) for each in networks)
