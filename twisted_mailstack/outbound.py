# -*- test-case-name: tests.test_outbound -*-
"""
The way out of the server, from a L{Configuration}: the queue, the relay and the notifications.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.config import FAMILIES, Configuration, ConfigurationProblem, routeName
from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.localrelay import LocalRelay
from twisted_mailstack.delivery.notification import Notifier
from twisted_mailstack.delivery.queue import QueueRunner, QueueSettings
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.schedule import RetrySchedule
from twisted_mailstack.errors import DestinationUnavailable
from twisted_mailstack.interfaces import IRelay, IRelayConnection
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import HERE, QueuedMessage
from twisted_mailstack.net.dns import CachedLookup, resolverQuery
from twisted_mailstack.relay.hosts import Exchangers, HostAddresses, HostFinder
from twisted_mailstack.relay.records import RecordsProblem
from twisted_mailstack.relay.relay import SMTPRelay
from twisted_mailstack.relay.routes import Route, RouteProblem, Routes, parseRoute
from twisted_mailstack.relay.security import RelaySecurity, Security, makeSecurity
from twisted_mailstack.smtp.clientauth import authenticate
from twisted_mailstack.smtp.clientsession import SMTPClientSession
from twisted_mailstack.smtp.registry import EXTENSIONS
from twisted_mailstack.storage.sql.store import SQLMailStore

#: In the data directory: which routes the destinations of the spool were made by.
ROUTES_FILE = "routes"


def readPasswords(path: str) -> dict[str, str]:
    """
    @return: the passwords of routes, by C{user@host} or C{user@host:port}.
    @raise ConfigurationProblem: if the file can't be used. Lines of it are not shown: they may be
        passwords.
    """
    try:
        text = Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigurationProblem(f"relay.passwords: {path}: {reason}") from None
    found: dict[str, str] = {}
    # Only at line feeds: a password may have whatever else Unicode takes for the end of a line.
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip() or line.startswith("#"):
            continue
        match = _PASSWORD.fullmatch(line)
        problem = "user@host and a password are wanted"
        if match is not None:
            name = _named(match.group(1))
            if name not in found and "\0" not in line:
                found[name] = match.group(2)
                continue
            problem = "a NUL" if "\0" in line else "there is a line for that user@host already"
        raise ConfigurationProblem(f"relay.passwords: {path}, line {number}: {problem}")
    return found


#   user "@" host [ ":" port ], and behind blanks the password, which may have some in it.
_PASSWORD = re.compile(r"([^ \t]+@[^ \t@]+)[ \t]+(.+)", re.DOTALL)
_PORT = re.compile(r":[0-9]+\Z")


def _named(text: str) -> str:
    # Hosts are the same in whatever case.
    user, _, host = text.rpartition("@")
    return f"{user}@{host.lower()}"


def _route(text: str, passwords: Mapping[str, str]) -> Route:
    authority = text.partition("://")[2].partition("?")[0].removesuffix("/")
    password = name = ""
    if "@" in authority:
        whole = _named(authority)
        name = _PORT.sub("", whole)
        password = passwords.get(whole) or passwords.get(name, "")
    try:
        return parseRoute(text, password)
    except RouteProblem as problem:
        where = f"; relay.passwords is for a line that begins with {name}" if name else ""
        raise ConfigurationProblem(f"{problem}{where}") from None


def makeRoutes(configuration: Configuration) -> Routes:
    """
    @raise ConfigurationProblem: if a route can't be used, since its password is missing for one.
    """
    passwords = readPasswords(configuration.relayPasswords) if configuration.relayPasswords else {}

    def table(routes: Mapping[str, str]) -> dict[str, Route]:
        return {routeName(name): _route(text, passwords) for name, text in routes.items()}

    smarthost = configuration.smarthost
    return Routes(
        table(configuration.routes),
        table(configuration.senderRoutes),
        _route(smarthost, passwords) if smarthost else None,
    )


async def logIn(session: SMTPClientSession, route: Route) -> None:
    """
    Log in to a route's host.

    @raise MailError: if it refuses.
    """
    # Where the route says that there is to be no TLS, its operator has said so.
    await authenticate(session, route.username, route.password, allowPlaintext=route.tls == "none")


class Outbound:
    """
    What leaves the server, and what it tells senders.

    @ivar dispatch: for the target.
    @ivar notifier: likewise.
    @ivar dns: for whoever else asks.
    @ivar runner: the queue.
    """

    log = Logger()

    def __init__(
        self, configuration: Configuration, reactor: Any, store: SQLMailStore, resolver: Resolver
    ) -> None:
        """
        @raise ConfigurationProblem: if a route can't be used.
        """
        self._configuration = configuration
        self._reactor = reactor
        self._store = store
        self._security: RelaySecurity | None = None
        self._stopping = False
        self._routes = makeRoutes(configuration)
        self.dns = CachedLookup(
            resolverQuery(reactor, configuration.resolvers, trusted=configuration.trustResolvers),
            reactor,
        )
        finder = self._finder = HostFinder(
            self.dns,
            (configuration.name,),
            families=[FAMILIES[each] for each in configuration.relayFamilies],
        )
        relay = SMTPRelay(
            reactor,
            configuration.name,
            finder,
            self._routes,
            self,
            EXTENSIONS,
            authenticate=logIn,
            port=configuration.relayPort,
            # However many domains a host serves, it gets no more than one domain may.
            perHost=configuration.relayConnectionsPerDestination,
        )
        self._smtp = relay
        self._relay: IRelay = relay if configuration.relay else _NoRelay()
        self.dispatch = Dispatch(
            relay if configuration.relay else None,
            lifetime=configuration.queueLifetime,
            warnAfter=configuration.queueWarnAfter,
        )
        double = configuration.doubleFailures
        self.notifier = Notifier(
            store.spool,
            store.newContent,
            resolver,
            self.dispatch,
            configuration.name,
            doubleFailures=Address.parse(double) if double else None,
        )
        self._local = LocalRelay(store.spool, store.directory, self.dispatch, self.notifier)
        self.runner = QueueRunner(
            store.spool,
            self._relayFor,
            self.notifier,
            reactor,
            QueueSettings(
                maxConnections=configuration.relayConnections,
                maxPerDestination=configuration.relayConnectionsPerDestination,
            ),
            RetrySchedule(configuration.queueRetry),
        )

    def _relayFor(self, destination: str) -> IRelay:
        return self._local if destination in HERE else self._relay

    # --- ISecurityPolicy: its records are opened after the user was dropped --------------------

    async def securityOf(
        self,
        route: Route,
        host: HostAddresses,
        port: int,
        exchangers: Exchangers | None,
        message: QueuedMessage,
    ) -> Security:
        """See L{twisted_mailstack.relay.security.ISecurityPolicy}."""
        assert self._security is not None
        return await self._security.securityOf(route, host, port, exchangers, message)

    def count(
        self, route: Route, security: Security, result: str, host: str, address: str, reason: str
    ) -> None:
        """See L{twisted_mailstack.relay.security.ISecurityPolicy}."""
        assert self._security is not None
        self._security.count(route, security, result, host, address, reason)

    # --- starting and stopping -----------------------------------------------------------------

    async def start(self) -> None:
        """
        Begin to relay. The store is open, and the user was dropped.

        @raise ConfigurationProblem: if the data directory can't be written.
        """
        configuration = self._configuration
        data = Path(configuration.data)
        self._stopping = False
        try:
            if configuration.relay:
                self._security = makeSecurity(
                    self._reactor,
                    self.dns,
                    self._finder,
                    data,
                    dane=configuration.dane,
                    mtasts=configuration.mtasts,
                )
                await self._reroute(data / ROUTES_FILE)
            else:
                # What is queued without relaying has the destinations of no routes.
                (data / ROUTES_FILE).unlink(missing_ok=True)
        except RecordsProblem as problem:
            raise ConfigurationProblem(
                f"{problem}; it has no mail in it: if it is damaged, delete it"
            ) from problem
        except OSError as error:
            raise ConfigurationProblem(f"{data / ROUTES_FILE}: {error.strerror}") from error
        if not self._stopping:
            self.runner.start()

    async def _reroute(self, path: Path) -> None:
        # What waits has the destinations of the routes that held when it came.
        configuration = self._configuration
        routes = (configuration.routes, configuration.senderRoutes, configuration.smarthost)
        stamp = hashlib.sha256(json.dumps(routes, sort_keys=True).encode()).hexdigest()
        try:
            if path.read_text("ascii") == stamp:
                return
        except (FileNotFoundError, UnicodeDecodeError):
            pass

        def route(message: QueuedMessage, destination: str) -> str:
            if destination in HERE:
                return destination
            (recipient,) = message.recipients
            return self._routes.destinationOf(message.reversePath, recipient.address)

        changed = await self._store.spool.reroute(route)
        if changed:
            self.log.info("routes changed: {count} waiting recipients rerouted", count=changed)
        temporary = path.with_suffix(".new")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(stamp)
        os.replace(temporary, path)

    async def stop(self, patience: float) -> None:
        """
        Begin nothing more; what is on its way has so many seconds.
        """
        self._stopping = True
        try:
            await self.runner.stop(patience)
        finally:
            self._smtp.stop()
            security, self._security = self._security, None
            if security is not None:
                security.close()


@implementer(IRelay)
class _NoRelay:
    """
    For what waits from a time when there was relaying.
    """

    def destinationOf(self, reversePath: Address | None, address: Address) -> str:
        """See L{IRelay}."""
        return address.domain

    async def connect(self, destination: str, message: QueuedMessage) -> IRelayConnection:
        """See L{IRelay}."""
        raise DestinationUnavailable("Relaying is switched off here (relay.enabled)")
