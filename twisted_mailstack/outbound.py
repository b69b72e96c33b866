# -*- test-case-name: tests.test_outbound -*-
"""
The way out of the server, from a L{Configuration}: the queue, the relay and the notifications.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.config import FAMILIES, Configuration, ConfigurationProblem
from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.localrelay import LocalRelay
from twisted_mailstack.delivery.notification import Notifier
from twisted_mailstack.delivery.queue import QueueRunner, QueueSettings
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.schedule import RetrySchedule
from twisted_mailstack.errors import DestinationUnavailable
from twisted_mailstack.interfaces import IRelay, IRelayConnection
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import LOCAL, QueuedMessage
from twisted_mailstack.net.dns import CachedLookup, resolverQuery
from twisted_mailstack.relay.hosts import Exchangers, HostAddresses, HostFinder
from twisted_mailstack.relay.records import RecordsProblem
from twisted_mailstack.relay.relay import SMTPRelay
from twisted_mailstack.relay.routes import Route, RouteProblem, Routes, parseRoute
from twisted_mailstack.relay.security import RelaySecurity, Security, makeSecurity
from twisted_mailstack.smtp.registry import EXTENSIONS
from twisted_mailstack.storage.sql.store import SQLMailStore

#: In the data directory: which routes the destinations of the spool were made by.
ROUTES_FILE = "routes"


def readPasswords(path: str) -> dict[str, str]:
    """
    @return: the passwords of routes, by C{user@host}.
    @raise ConfigurationProblem: if the file can't be used.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigurationProblem(f"relay.passwords: {path}: {reason}") from error
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, space, password = line.partition(" ")
        if not space or "@" not in name:
            # The line isn't shown: it may be a password.
            raise ConfigurationProblem(
                f"relay.passwords: {path}, line {number}: user@host and a password are wanted"
            )
        found[name] = password
    return found


def makeRoutes(configuration: Configuration) -> Routes:
    """
    @raise ConfigurationProblem: if a password is missing.
    """
    passwords = readPasswords(configuration.relayPasswords) if configuration.relayPasswords else {}

    def route(text: str) -> Route:
        authority = text.partition("://")[2].partition("?")[0]
        user, at, host = authority.rpartition("@")
        name = f"{user}@{host.rpartition(':')[0] or host}" if at else ""
        try:
            return parseRoute(text, passwords.get(name, passwords.get(authority, "")))
        except RouteProblem as problem:
            raise ConfigurationProblem(
                f"{problem}; relay.passwords is for a line that begins with {name}"
                if at
                else str(problem)
            ) from None

    return Routes(
        {domain.lower(): route(text) for domain, text in configuration.routes.items()},
        {sender.lower(): route(text) for sender, text in configuration.senderRoutes.items()},
        route(configuration.smarthost) if configuration.smarthost else None,
    )


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
            port=configuration.relayPort,
        )
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
        return self._local if destination == LOCAL else self._relay

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
        if configuration.relay:
            try:
                self._security = makeSecurity(
                    self._reactor,
                    self.dns,
                    self._finder,
                    data,
                    dane=configuration.dane,
                    mtasts=configuration.mtasts,
                )
            except RecordsProblem as problem:
                raise ConfigurationProblem(str(problem)) from problem
            await self._reroute(data / ROUTES_FILE)
        self.runner.start()

    async def _reroute(self, path: Path) -> None:
        # What waits has the destinations of the routes that held when it came.
        configuration = self._configuration
        routes = (configuration.routes, configuration.senderRoutes, configuration.smarthost)
        stamp = hashlib.sha256(json.dumps(routes, sort_keys=True).encode()).hexdigest()
        try:
            if path.read_text("ascii") == stamp:
                return
        except (OSError, UnicodeDecodeError):
            pass

        def route(message: QueuedMessage, destination: str) -> str:
            if destination == LOCAL:
                return LOCAL
            (recipient,) = message.recipients
            return self._routes.destinationOf(message.reversePath, recipient.address)

        changed = await self._store.spool.reroute(route)
        if changed:
            self.log.info("routes changed: {count} waiting recipients rerouted", count=changed)
        temporary = path.with_suffix(".new")
        temporary.write_text(stamp, "ascii")
        os.replace(temporary, path)

    async def stop(self, patience: float) -> None:
        """
        Begin nothing more; what is on its way has so many seconds.
        """
        await self.runner.stop(patience)
        if self._security is not None:
            self._security.close()


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
