# -*- test-case-name: tests.auth.test_login -*-
"""
Logging in, the same for every protocol: cred's answers as MailErrors, growing delays after
failures, and a line in the log for each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.logger import Logger

from twisted_mailstack.errors import AuthenticationFailed, NoSuchAccount
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.model.records import ConnectionInfo

#: Seconds before the reply to the first failed login on a connection; each further one doubles it.
FIRST_DELAY = 1.0
MAX_DELAY = 15.0


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
        self.failures = 0

    @property
    def exhausted(self) -> bool:
        """Whether the connection had all its attempts."""
        return self.failures >= self._maxFailures

    async def attempt(self, credentials: Any, mechanism: str, info: ConnectionInfo) -> IAccount:
        """
        @raise AuthenticationFailed: after a delay.
        @raise MailError: if it couldn't be found out.
        """
        name = getattr(credentials, "username", b"?").decode("utf-8", "replace")
        try:
            avatar: Any
            _, avatar, _ = await self._portal.login(credentials, None, IAccount)
            account: IAccount = avatar
        except (UnauthorizedLogin, LoginFailed, NoSuchAccount):
            self.failures += 1
            # The form that fail2ban's filters can match on.
            self.log.warn(
                "{service}: login failed: user={name!r} peer={peer} mechanism={mechanism}",
                service=info.service,
                name=name,
                peer=info.peer,
                mechanism=mechanism,
            )
            await self._sleep(min(MAX_DELAY, FIRST_DELAY * 2 ** (self.failures - 1)))
            raise AuthenticationFailed() from None
        self.log.info(
            "{service}: login: user={address} peer={peer} mechanism={mechanism} tls={tls}",
            service=info.service,
            address=str(account.address),
            peer=info.peer,
            mechanism=mechanism,
            tls=info.tlsVersion or "no",
        )
        return account
