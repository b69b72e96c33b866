# -*- test-case-name: tests.auth.test_login -*-
"""
Logging in, the same for every protocol: cred's answers as MailErrors, growing delays after
failures, and a line in the log for each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from twisted.cred.error import LoginFailed, UnhandledCredentials
from twisted.cred.portal import Portal
from twisted.logger import Logger

from twisted_mailstack.errors import AuthenticationFailed, NoSuchAccount
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
        @raise MailError: if it couldn't be found out.
        """
        name = getattr(credentials, "username", b"?").decode("utf-8", "replace")
        avatar: Any
        try:
            _, avatar, logout = await self._portal.login(credentials, None, IAccount)
        except UnhandledCredentials:
            # The portal was set up without a checker for what the mechanisms give.
            raise
        except (LoginFailed, NoSuchAccount):
            await self.refuse(name, mechanism, info)
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
        """
        self.failures += 1
        # The form that fail2ban's filters can match on.
        self.log.warn(
            "{service}: login failed: user={name!r} peer={peer} mechanism={mechanism}",
            service=info.service,
            name=name[:MAX_NAME],
            peer=info.peer,
            mechanism=mechanism,
        )
        # The exponent is bounded too: more attempts may be allowed than a float can count.
        await self._sleep(min(MAX_DELAY, FIRST_DELAY * 2 ** min(self.failures - 1, 16)))
        raise AuthenticationFailed()

    def logOut(self) -> None:
        """
        Tell the realm that the session doesn't use the account any more. Idempotent.
        """
        logout, self._logout = self._logout, None
        if logout is not None:
            try:
                logout()
            except Exception:
                self.log.failure("the realm's logout failed")
