# -*- test-case-name: tests.auth.checkers.test_pam -*-
"""
The system's own accounts, by PAM (Linux-PAM, pam_authenticate and pam_acct_mgmt). Needs the library
C{python-pam}.

What PAM's modules ask is answered with the password. They run in threads, which nothing can end:
one that hangs keeps its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from zope.interface import implementer

from twisted_mailstack.auth.checkers.bounds import Bounds
from twisted_mailstack.auth.checkers.source import SourceProblem, SourceRecord, SourceServices
from twisted_mailstack.interfaces import IPasswordSource
from twisted_mailstack.model.address import Address, parseDomain

#: What says that it isn't so, rather than that it can't be found out: PERM_DENIED, AUTH_ERR,
#: CRED_INSUFFICIENT, USER_UNKNOWN, MAXTRIES, NEW_AUTHTOK_REQD, ACCT_EXPIRED, CRED_EXPIRED,
#: AUTHTOK_EXPIRED.
REFUSALS = frozenset((6, 7, 8, 10, 11, 12, 13, 16, 17, 27))
NAMES = ("name", "address")


@dataclass(frozen=True)
class PAMSettings:
    """
    @ivar service: whose file in /etc/pam.d is used.
    @ivar domain: the only one whose addresses are asked about.
    @ivar username: which users there are, C{name} (the local-part) or C{address}.
    @ivar threads: questions at a time.
    @ivar timeout: seconds for an answer.
    """

    service: str = "mailstack"
    domain: str = ""
    username: str = "name"
    threads: int = 4
    timeout: int = 10

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", self.service):
            raise SourceProblem("service must be the name of a file in /etc/pam.d")
        if self.username not in NAMES:
            raise SourceProblem('username must be "name" or "address"')
        if not self.domain and self.username == "name":
            # Or they would be users of each domain that is served here.
            raise SourceProblem("domain must say whose users the machine's users are")


@implementer(IPasswordSource)
class PAMSource:
    """
    See L{IPasswordSource}.
    """

    def __init__(self, settings: PAMSettings, services: SourceServices) -> None:
        """
        @raise SourceProblem: if the library isn't there.
        """
        try:
            self._pam: Any = import_module("pam")
        except (ImportError, OSError):
            # Without libpam it can't be imported, either.
            raise SourceProblem(
                "it needs the library python-pam: install twisted_mailstack[pam]"
            ) from None
        self._settings = settings
        self._domain = parseDomain(settings.domain) if settings.domain else None
        self._threads = services.makeThreads("pam", settings.threads)
        self._bounds = Bounds(
            services.reactor, "pam", settings.threads, settings.timeout, cancels=False
        )

    async def start(self) -> None:
        """See L{IPasswordSource}."""
        self._threads.start()

    async def stop(self) -> None:
        """See L{IPasswordSource}."""
        await self._threads.stop()

    async def verify(self, address: Address, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordSource}."""
        if self._domain is not None and address.domain != self._domain:
            return False
        name = address.localPart
        if self._settings.username == "address":
            name = f"{name}@{address.domain}"
        answer: bool = await self._bounds.ask(
            lambda: self._threads.run(self._verify, name, password), origin
        )
        return answer

    def _verify(self, name: str, password: bytes) -> bool:
        # In a thread, and with an object of its own: it keeps the answer.
        asked = self._pam.PamAuthenticator()
        # No session is opened, so there are no credentials to set: for many modules that fails.
        if asked.authenticate(name, password, self._settings.service, resetcreds=False):
            return True
        if asked.code in REFUSALS:
            return False
        raise ValueError(f"{asked.reason} ({asked.code})")


SOURCE = SourceRecord("pam", PAMSettings, PAMSource)
