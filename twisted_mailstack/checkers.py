# -*- test-case-name: tests.test_checkers -*-
"""
The checkers of L{twisted_mailstack.auth.checkers.registry}, from the keys of the configuration: the
section of a source's settings is C{checker-} and its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from twisted_mailstack.auth.checkers.chain import CheckerChain
from twisted_mailstack.auth.checkers.external import SourceChecker
from twisted_mailstack.auth.checkers.file import PasswordFile
from twisted_mailstack.auth.checkers.registry import ACCOUNTS, SOURCES
from twisted_mailstack.auth.checkers.source import SourceProblem, SourceServices, SourceUnavailable
from twisted_mailstack.auth.onetime import OneTimeCodes
from twisted_mailstack.auth.passwordfile import parsePasswordFile
from twisted_mailstack.auth.tokens import Fetch
from twisted_mailstack.interfaces import IDirectoryAdmin, IPasswordHasher, IPasswordSource

#: Seconds for what threads do when the server stops.
PATIENCE = 5.0
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
#: By source and key of the configuration: the setting.
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "file": {"checker-file.path": "path"},
    "sql": {
        "checker-sql.module": "module",
        "checker-sql.arguments": "arguments",
        "checker-sql.password-file": "passwordFile",
        "checker-sql.query": "query",
        "checker-sql.connections": "connections",
        "checker-sql.timeout": "timeout",
    },
    "ldap": {
        "checker-ldap.url": "url",
        "checker-ldap.starttls": "startTLS",
        "checker-ldap.ca-file": "caFile",
        "checker-ldap.dn": "dn",
        "checker-ldap.base": "base",
        "checker-ldap.filter": "filter",
        "checker-ldap.bind-dn": "bindDN",
        "checker-ldap.bind-password-file": "bindPasswordFile",
        "checker-ldap.connections": "connections",
        "checker-ldap.timeout": "timeout",
    },
    "pam": {
        "checker-pam.service": "service",
        "checker-pam.domain": "domain",
        "checker-pam.username": "username",
        "checker-pam.threads": "threads",
        "checker-pam.timeout": "timeout",
    },
    "command": {
        "checker-command.command": "command",
        "checker-command.descriptor": "descriptor",
        "checker-command.processes": "processes",
        "checker-command.timeout": "timeout",
    },
    "http": {
        "checker-http.url": "url",
        "checker-http.token-file": "tokenFile",
        "checker-http.ca-file": "caFile",
        "checker-http.connections": "connections",
        "checker-http.timeout": "timeout",
    },
}


class ReactorThreads:
    """
    See L{twisted_mailstack.auth.checkers.source.Threads}.
    """

    def __init__(self, reactor: Any, name: str, most: int) -> None:
        self._reactor = reactor
        self._name = name
        self._most = most
        self._pool: ThreadPool | None = None

    def start(self) -> None:
        """See L{Threads<twisted_mailstack.auth.checkers.source.Threads>}."""
        # A pool that was stopped can't be started again.
        self._pool = pool = ThreadPool(0, self._most, f"mailstack-{self._name}")
        # One that hangs doesn't keep the process from ending.
        threads: Any = pool
        threads.threadFactory = partial(Thread, daemon=True)
        pool.start()

    def stop(self) -> Deferred[None]:
        """See L{Threads<twisted_mailstack.auth.checkers.source.Threads>}."""
        pool, self._pool = self._pool, None
        stopped: Deferred[None] = Deferred()
        if pool is None:
            stopped.callback(None)
            return stopped

        def done() -> None:
            if timer.active():
                timer.cancel()
                stopped.callback(None)

        def join() -> None:
            pool.stop()
            self._reactor.callFromThread(done)

        timer = self._reactor.callLater(PATIENCE, stopped.callback, None)
        Thread(target=join, daemon=True).start()
        return stopped

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """See L{Threads<twisted_mailstack.auth.checkers.source.Threads>}."""
        if self._pool is None:
            raise SourceUnavailable()
        return deferToThreadPool(self._reactor, self._pool, function, *arguments)


class Checkers:
    """
    Those of one server.

    @ivar chain: for the portal.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        reactor: Any,
        now: Callable[[], float],
        hasher: IPasswordHasher,
        directory: IDirectoryAdmin,
        accounts: Any,
        codes: OneTimeCodes | None = None,
    ) -> None:
        """
        @param values: of the configuration, by key.
        @param accounts: the checker of the store's own accounts.
        @param codes: as of L{SourceChecker}.
        @raise SourceProblem: if one can't be used; the text begins with its key.
        """
        domain = values["auth.default-domain"] or None
        services = SourceServices(
            reactor=reactor,
            now=now,
            hasher=hasher,
            makeThreads=lambda name, most: ReactorThreads(reactor, name, most),
            makeFetch=lambda timeout, caFile: makeFetch(reactor, timeout, caFile),
            defaultDomain=domain,
        )
        self.sources: list[IPasswordSource] = []
        checkers = []
        for name in values["auth.checkers"]:
            if name == ACCOUNTS:
                checkers.append(accounts)
                continue
            source = _make(name, values, services)
            self.sources.append(source)
            checkers.append(
                SourceChecker(
                    source, directory, domain, create=values["auth.create-accounts"], codes=codes
                )
            )
        self.chain: Any = accounts
        if checkers != [accounts]:
            self.chain = CheckerChain(accounts, checkers)

    async def start(self) -> None:
        """
        From now on they are asked.
        """
        for source in self.sources:
            await source.start()

    async def stop(self) -> None:
        """
        They aren't asked any more.
        """
        for source in self.sources:
            await source.stop()


def makeFetch(reactor: Any, timeout: float, caFile: str) -> Fetch:
    """
    @return: asks web servers.
    @raise OSError: if there is no such file; C{ValueError} if there are no certificates in it.
    """
    # Here: the commands do without, and it takes time.
    from twisted.internet.ssl import Certificate, trustRootFromCertificates

    from twisted_mailstack.net.http import WebClient

    trust = None
    if caFile:
        pems = _CERTIFICATE.findall(Path(caFile).read_bytes())
        if not pems:
            raise ValueError(f"there are no certificates in {caFile}")
        try:
            trust = trustRootFromCertificates([Certificate.loadPEM(pem) for pem in pems])
        except Exception as error:
            # Whatever OpenSSL makes of it.
            raise ValueError(f"{caFile}: {error}") from None
    return WebClient(reactor, trust, timeout)


def _settings(name: str, values: Mapping[str, Any]) -> Any:
    (record,) = (each for each in SOURCES if each.name == name)
    try:
        return record.settings(**{setting: values[key] for key, setting in SETTINGS[name].items()})
    except SourceProblem as problem:
        raise SourceProblem(f"checker-{name}.{problem}") from None


def _make(name: str, values: Mapping[str, Any], services: SourceServices) -> IPasswordSource:
    (record,) = (each for each in SOURCES if each.name == name)
    try:
        return record.make(_settings(name, values), services)
    except SourceProblem as problem:
        text = str(problem)
        separator = ": " if text.startswith("it needs") else "."
        raise SourceProblem(f"checker-{name}{separator}{text}") from None


def checkCheckers(values: Mapping[str, Any]) -> None:
    """
    @param values: of the configuration, by key.
    @raise SourceProblem: if one that is to be asked has settings that can't be used, or there is
        none of that name.
    """
    names: Sequence[str] = values["auth.checkers"]
    known = [ACCOUNTS, *(record.name for record in SOURCES)]
    if not names:
        raise SourceProblem('auth.checkers must name one at least: ["accounts"]')
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SourceProblem(
                f"auth.checkers: there is no {name}{hint} (there are {', '.join(known)})"
            )
        if names.count(name) > 1:
            raise SourceProblem(f"auth.checkers: {name} is there twice")
        if name != ACCOUNTS:
            _settings(name, values)


def examine(values: Mapping[str, Any]) -> list[str]:
    """
    @param values: of the configuration, by key.
    @return: what is wrong with the checkers as far as it can be seen here: files and libraries that
        are missing, lines that can't be used. Nobody is asked.
    """
    nothing: Any = None
    domain = values["auth.default-domain"] or None
    services = SourceServices(
        reactor=Clock(),
        now=lambda: 0.0,
        hasher=nothing,
        makeThreads=lambda name, most: nothing,
        makeFetch=lambda timeout, caFile: makeFetch(Clock(), timeout, caFile),
    )
    found = []
    for name in values["auth.checkers"]:
        if name == ACCOUNTS:
            continue
        try:
            source = _make(name, values, services)
        except SourceProblem as problem:
            found.append(str(problem))
            continue
        if isinstance(source, PasswordFile):
            path = values["checker-file.path"]
            try:
                _, bad = parsePasswordFile(Path(path).read_bytes(), domain)
                found += [f"{path}: line {line.number}: {line.text}" for line in bad]
            except OSError as error:
                found.append(f"{path}: {error.strerror}")
    return found
