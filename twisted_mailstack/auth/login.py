# -*- test-case-name: tests.auth.test_login -*-
"""
Logging in, the same for every protocol: cred's answers as MailErrors, the portal's policy asked
where it has one (L{twisted_mailstack.auth.policy}), growing delays after failures, and a line in
the log for each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from twisted.cred.error import LoginFailed, UnhandledCredentials
from twisted.cred.portal import Portal
from twisted.logger import Logger

from twisted_mailstack.auth.checker import NotAuthorized
from twisted_mailstack.auth.checkers.source import SourceUnavailable
from twisted_mailstack.auth.guessing import TooManyFailures
from twisted_mailstack.auth.policy import LoginPolicy, MailPortal
from twisted_mailstack.errors import AuthenticationFailed, AuthorizationFailed, NoSuchAccount
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.model.records import ConnectionInfo

#: Seconds before the reply to the first failed login on a connection; each further one doubles it.
FIRST_DELAY = 1.0
MAX_DELAY = 15.0
#: Characters of a name that the log shows.
MAX_NAME = 320


class Login:
    """
    The attempts of one connection.

    @ivar failures: how many failed.
    @ivar exhausted: no more are allowed; the session says goodbye.
    """

    log = Logger()

    def __init__(
        self,
        portal: Portal,
        sleep: Callable[[float], Awaitable[None]],
        maxFailures: int = 3,
    ) -> None:
        """
        @param sleep: waits so many seconds, C{Stream.sleep}.
        @param maxFailures: after which the connection is at its end.
        """
        self._portal = portal
        self._policy: LoginPolicy | None = None
        if isinstance(portal, MailPortal):
            self._policy = portal.policy
        self._sleep = sleep
        self._maxFailures = maxFailures
        self._logout: Callable[[], None] | None = None
        self.failures = 0

    @property
    def exhausted(self) -> bool:
        """Whether the connection had all its attempts."""
        return self.failures >= self._maxFailures

    async def attempt(self, credentials: Any, mechanism: str, info: ConnectionInfo) -> IAccount:
        """
        @return: the account. L{logOut} is called when the session doesn't use it any more.
        @raise AuthenticationFailed: after a delay.
        @raise AuthorizationFailed: likewise, if he is known but may not act as the other.
        @raise MailError: if it couldn't be found out, or isn't to be.
        """
        username: bytes = getattr(credentials, "username", b"?")
        avatar: Any
        policy = self._policy
        began = policy.now() if policy is not None else 0.0
        try:
            if policy is not None:
                credentials.origin = await policy.begin(username, info)
            _, avatar, logout = await self._portal.login(credentials, info, IAccount)
            if policy is not None:
                try:
                    await policy.admit(avatar.accountId, credentials, info)
                    await policy.succeeded(avatar.accountId, credentials, mechanism, info)
                except BaseException:
                    self._callLogout(logout)
                    raise
        except UnhandledCredentials:
            # The portal was set up without a checker for what the mechanisms give.
            raise
        except TooManyFailures:
            await self._tooMany(username, mechanism, info)
            raise
        except SourceUnavailable:
            # Another checker may have said no: nobody guesses faster while this one is down.
            self.failures += 1
            await self._sleep(FIRST_DELAY)
            raise
        except (LoginFailed, NoSuchAccount) as problem:
            try:
                await self._refuse(username, mechanism, info, credentials, began)
            except AuthenticationFailed:
                if isinstance(problem, NotAuthorized):
                    # As slow, and counted: whoever has one password tries no other accounts by it.
                    raise AuthorizationFailed() from None
                raise
        self.logOut()
        self._logout = logout
        account: IAccount = avatar
        self.log.info(
            "{service}: login: user={address} peer={peer} mechanism={mechanism} tls={tls}",
            service=info.service,
            address=str(account.address),
            peer=info.peer,
            mechanism=mechanism,
            tls=info.tlsVersion or "no",
        )
        return account

    async def refuse(self, name: str, mechanism: str, info: ConnectionInfo) -> NoReturn:
        """
        Count a failed attempt, and make the client wait for the answer.

        @param name: whom it claimed to be, for the log; C{"?"} if it didn't come to that.
        @raise AuthenticationFailed: after a delay.
        @raise TooManyFailures: likewise, of whoever is locked out.
        """
        username = name.encode("utf-8", "replace")
        if self._policy is not None:
            try:
                await self._policy.begin(username, info)
            except TooManyFailures:
                # Else who is locked out could tell a wrong proof from a right one.
                await self._tooMany(username, mechanism, info)
                raise
        await self._refuse(username, mechanism, info)

    async def _tooMany(self, username: bytes, mechanism: str, info: ConnectionInfo) -> None:
        # As slow as a failure, but it says nothing of the password, and isn't counted as one.
        self.failures += 1
        self._logFailure(username, mechanism, info)
        await self._sleep(MAX_DELAY)

    async def _refuse(
        self,
        username: bytes,
        mechanism: str,
        info: ConnectionInfo,
        credentials: Any = None,
        began: float | None = None,
    ) -> NoReturn:
        self.failures += 1
        count = self.failures
        elapsed = 0.0
        self._logFailure(username, mechanism, info)
        if self._policy is not None:
            # Others of that network count, too, and those under that name from elsewhere: closing
            # the connection shortens no delay.
            failed = await self._policy.failed(username, credentials, mechanism, info)
            count = max(count, failed)
            if began is not None:
                elapsed = self._policy.now() - began
        # The exponent is bounded too: more attempts may be allowed than a float can count.
        delay = min(MAX_DELAY, FIRST_DELAY * 2 ** min(count - 1, 16))
        # From the beginning of the attempt on: how long a hash takes, which tells its kind, isn't
        # seen. A clock that was set meanwhile changes nothing.
        await self._sleep(delay - elapsed if 0 < elapsed < delay else delay)
        raise AuthenticationFailed()

    def _logFailure(self, username: bytes, mechanism: str, info: ConnectionInfo) -> None:
        # The form that fail2ban's filters can match on.
        self.log.warn(
            "{service}: login failed: user={name!r} peer={peer} mechanism={mechanism}",
            service=info.service,
            name=username.decode("utf-8", "replace")[:MAX_NAME],
            peer=info.peer,
            mechanism=mechanism,
        )

    def logOut(self) -> None:
        """
        Tell the realm that the session doesn't use the account any more. Idempotent.
        """
        logout, self._logout = self._logout, None
        if logout is not None:
            self._callLogout(logout)

    def _callLogout(self, logout: Callable[[], None]) -> None:
        try:
            logout()
        except Exception:
            self.log.failure("the realm's logout failed")
