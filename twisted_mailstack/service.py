# -*- test-case-name: tests.test_service -*-
"""
The server: everything is made and wired here, from a L{Configuration}.

Ports are bound in C{privilegedStartService}, before twistd drops its user; the data directory is
opened after that, in C{startService}.
"""

from __future__ import annotations

import atexit
import os
import secrets
import signal
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from errno import EACCES, EADDRINUSE
from pathlib import Path
from time import time
from typing import Any, NamedTuple, NoReturn

# Signing a certificate loads it late, when twistd has given its rights away and may not be allowed
# to read it any more.
import cryptography.hazmat.backends.openssl.backend  # noqa: F401
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IStreamServerEndpoint,
)
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from twisted_mailstack.auth.anonymous import AnonymousChecker
from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.checkers.registry import ACCOUNTS
from twisted_mailstack.auth.checkers.source import SourceProblem
from twisted_mailstack.auth.guessing import GuessingGuard
from twisted_mailstack.auth.history import LoginRecorder
from twisted_mailstack.auth.onetime import OneTimeCodes
from twisted_mailstack.auth.passwords import WORKERS, PasswordHasher
from twisted_mailstack.auth.policy import LoginPolicy, MailPortal
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.auth.schemes import OURS, makeSecrets
from twisted_mailstack.auth.secretsource import DirectorySecrets
from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.checkers import Checkers
from twisted_mailstack.config import SERVICES, Configuration, ConfigurationProblem, networks
from twisted_mailstack.delivery.policy import HopLimit
from twisted_mailstack.delivery.quotawarnings import INTERVAL, QuotaWarner
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.step import StepServices
from twisted_mailstack.delivery.target import MailTarget
from twisted_mailstack.errors import AlreadyExists, MailError
from twisted_mailstack.imap.server import IMAPFactory
from twisted_mailstack.imap.session import IMAPSettings
from twisted_mailstack.imap.views import Views
from twisted_mailstack.interfaces import ISecretSource
from twisted_mailstack.mechanisms import Mechanisms
from twisted_mailstack.model.address import Address, parseDomain
from twisted_mailstack.net.protocol import MailFactory
from twisted_mailstack.net.proxy import ProxyFactory
from twisted_mailstack.net.tls import CertificateProblem, Certificates, loadCertificates
from twisted_mailstack.outbound import Outbound
from twisted_mailstack.policies import makePolicies
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.smtp.lmtp import LMTPFactory
from twisted_mailstack.smtp.server import SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings
from twisted_mailstack.storage.sql.store import POLL_SECONDS, SQLMailStore

#: The account that a server makes which has none.
FIRST_ACCOUNT = Address("me", "localhost")
#: Services that other servers use: their clients aren't asked for a certificate.
DELIVERED_TO = ("smtp", "lmtp")
#: How often the certificate's files are looked at, seconds.
CERTIFICATE_POLL = 60.0
#: How long sessions have to end when the server stops, seconds.
PATIENCE = 8.0
#: How often a worker looks for changes that nobody told it of, those of the command line, seconds.
#: Not as often as a single process, since its siblings' changes, of which it was told, are found
#: too; and then every session asks what is new.
WORKER_POLL = 5.0


class CannotStart(SystemExit, Exception):
    """
    The server can't start; the text says why, and what to do.

    Both: twistd shows a SystemExit's text without a traceback and ends with status 1, but removes
    its pid file and tells its parent process only after an Exception.
    """


@dataclass
class Listener:
    """
    One service that listens.
    """

    name: str
    endpoint: str
    factory: MailFactory
    port: IListeningPort | None = None


class Worker(NamedTuple):
    """
    What one of several processes is given by its parent.

    @ivar number: which of them it is. Number 0 does what is to be done once.
    @ivar endpointOf: makes the endpoint of a service, whose port is bound already.
    @ivar tell: called with the C{(account, mailbox)} that each commit changed.
    @ivar ready: called when it serves.
    @ivar failed: called with the reason if it can't, after C{startService}.
    @ivar secret: that all of them know, and that isn't stored.
    """

    number: int
    endpointOf: Callable[[str], IStreamServerEndpoint]
    tell: Callable[[Collection[tuple[int, int | str]]], None]
    ready: Callable[[], None]
    failed: Callable[[str], None]
    secret: bytes | None = None


class MailService(Service):
    """
    The whole server, or one of several processes that are.

    @ivar listeners: what listens where.
    @ivar outbound: what leaves it.
    """

    log = Logger()

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any,
        announce: Callable[[str], None] | None = None,
        worker: Worker | None = None,
    ) -> None:
        """
        @param announce: shows text to the person who started the server; C{None}: nobody is there.
            A first account is made only where its password can be shown.
        @param worker: C{None}: it is the only process.
        @raise CannotStart: if a route's password is missing.
        """
        self.configuration = configuration
        self._reactor = reactor
        self._announce = announce
        self._worker = worker
        self.listeners: list[Listener] = []
        self._certificates: Certificates | None = None
        self._poll: LoopingCall | None = None
        self._quotas: LoopingCall | None = None
        self._looks: LoopingCall | None = None
        self._hashing = ThreadPool(0, WORKERS, "mailstack-passwords")
        limit = configuration.quotaOctets or None, configuration.quotaMessages or None
        self.store = SQLMailStore(
            configuration.data,
            reactor,
            reactor.callFromThread,
            quotaDefaults=limit,
            index=configuration.searchIndex,
            tell=None if worker is None else worker.tell,
            poll=POLL_SECONDS if worker is None else WORKER_POLL,
        )
        self._urls = URLAuthority(self.store, configuration.name, time)
        self._views = Views()
        secret = None if worker is None else worker.secret
        guard = GuessingGuard(self.store.memory, time, configuration.guessing, secret)
        hasher = PasswordHasher(
            lambda function, *arguments: deferToThreadPool(
                reactor, self._hashing, function, *arguments
            ),
            reactor,
            isLocked=guard.isKnown,
        )
        domain = configuration.defaultDomain or None
        schemes = (OURS, *(each.lower() for each in configuration.scram))
        codes = OneTimeCodes(self.store.memory, time)
        accounts = DirectoryChecker(
            self.store.directory,
            hasher,
            domain,
            codes=codes,
            makeSecrets=lambda password, name: hasher.makeSecrets(
                password, schemes, name, configuration.scramIterations
            ),
            schemes=schemes,
        )
        self._recorder = LoginRecorder(self.store.logins, self.store.directory, reactor)
        policy = LoginPolicy(
            self.store.directory,
            time,
            guard,
            self._recorder,
            domain,
        )
        self._warner = QuotaWarner(
            self.store,
            self.store.memory,
            configuration.quotaWarnings,
            configuration.name,
            time,
            lambda: deferLater(reactor, 0),
        )
        realm = MailRealm(
            self.store,
            [Address.parse(each) for each in configuration.quotaAdministrators],
            configuration.defaultDomain or None,
        )
        try:
            self._checkers = Checkers(
                configuration.values, reactor, time, hasher, self.store.directory, accounts, codes
            )
        except SourceProblem as problem:
            self._giveUp(str(problem))
        self._portal = MailPortal(realm, (self._checkers.chain,), policy)
        try:
            self._mechanisms = Mechanisms(
                configuration, reactor, self.store.directory, time, isLocked=guard.isLocked
            )
        except ConfigurationProblem as problem:
            self._giveUp(str(problem))
        if configuration.anonymous:
            account = Address.parse(configuration.anonymous)
            self._portal.registerChecker(AnonymousChecker(self.store.directory, account))
        postmaster = configuration.postmaster
        resolver = Resolver(
            self.store.directory,
            configuration.separator,
            Address.parse(postmaster) if postmaster else None,
            configuration.name,
        )
        try:
            self.outbound = Outbound(configuration, reactor, self.store, resolver)
        except ConfigurationProblem as problem:
            self._giveUp(str(problem))
        self._target = MailTarget(
            self.store, resolver, self.outbound.dispatch, self.outbound.notifier
        )

        services = StepServices(
            hostname=configuration.name,
            resolver=resolver,
            clock=reactor,
            lookup=self.outbound.dns,
            memory=self.store.memory,
        )
        # Of receiving and of submission: what they count is counted for all ports together.
        self._policies = [
            makePolicies(names, configuration.values, services)
            for names in (configuration.policies, configuration.submissionPolicies)
        ]

    # --- starting ------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """
        Bind the ports.
        """
        super().privilegedStartService()
        for name, endpoint in self.configuration.endpoints().items():
            listener = Listener(name, endpoint, self._factory(name, endpoint))
            self.listeners.append(listener)
            self._listen(listener)

    def _factory(self, name: str, endpoint: str) -> MailFactory:
        configuration = self.configuration
        protocol, _, _ = SERVICES[name]
        # The certificate is read after the user was dropped, so the factories ask for it late.
        tls: Any = LateCertificate(self, name)
        common: dict[str, Any] = {
            "tls": tls,
            "service": name,
            "maxConnections": configuration.maxConnections,
            "maxConnectionsPerPeer": configuration.maxConnectionsPerPeer,
        }
        settings: dict[str, Any] = {
            "hostname": configuration.name,
            "maxLoginFailures": configuration.maxLoginFailures,
            "allowPlaintextAuth": configuration.allowPlaintext and _onLoopback(endpoint),
        }
        if protocol == "imap":
            return IMAPFactory(
                self._portal,
                IMAPSettings(
                    timeout=configuration.imapTimeout,
                    maxMessageOctets=configuration.maxMessageOctets,
                    maxMessages=configuration.imapMessageLimit,
                    serverEntries={
                        entry: text.encode("utf-8")
                        for entry, text in (
                            ("/shared/comment", configuration.imapComment),
                            ("/shared/admin", configuration.imapAdmin),
                        )
                        if text
                    },
                    referrals={
                        account.lower(): host
                        for account, host in configuration.imapReferrals.items()
                    },
                    **settings,
                ),
                self._reactor,
                urls=self._urls,
                mechanisms=self._mechanisms.of("imap"),
                views=self._views,
                **common,
            )
        if protocol == "pop3":
            return POP3Factory(
                self._portal,
                POP3Settings(
                    timeout=configuration.pop3Timeout,
                    loginDelay=configuration.pop3LoginDelay,
                    expireDays=configuration.pop3ExpireDays or None,
                    **settings,
                ),
                self._reactor,
                secrets=self._apopSecrets(),
                memory=self.store.memory,
                survey=self.store.directory,
                mechanisms=self._mechanisms.of("pop3"),
                **common,
            )
        if protocol == "lmtp":
            return LMTPFactory(
                self._target,
                SMTPSettings(
                    maxMessageOctets=configuration.maxMessageOctets,
                    maxRecipients=configuration.maxRecipients,
                    maxLineOctets=configuration.maxLineOctets or None,
                    bareNewlines=configuration.bareNewlines,
                    timeout=configuration.smtpTimeout,
                    **settings,
                ),
                self._reactor,
                policies=(HopLimit(configuration.hopLimit),),
                **common,
            )
        return SMTPFactory(
            self._target,
            SMTPSettings(
                submission=name != "smtp",
                maxMessageOctets=configuration.maxMessageOctets,
                maxRecipients=configuration.maxRecipients,
                maxLineOctets=configuration.maxLineOctets or None,
                bareNewlines=configuration.bareNewlines,
                verify=configuration.verify,
                timeout=configuration.smtpTimeout,
                maxHold=configuration.maxHold,
                minDeliverBy=configuration.minDeliverBy,
                maxPriority=configuration.maxPriority,
                priorityNetworks=networks(configuration.priorityNetworks),
                etrnNetworks=networks(configuration.etrnNetworks),
                xclientNetworks=networks(configuration.xclientNetworks),
                xforwardNetworks=networks(configuration.xforwardNetworks),
                **settings,
            ),
            self._reactor,
            portal=self._portal,
            spool=self.store.spool if configuration.relay else None,
            urls=self._urls,
            mechanisms=self._mechanisms.of("smtp"),
            policies=self._policies[name != "smtp"],
            **common,
        )

    def _apopSecrets(self) -> ISecretSource | None:
        configuration = self.configuration
        if not configuration.pop3Apop or ACCOUNTS not in configuration.checkers:
            return None
        # APOP has passwords, which no iterations go into.
        return DirectorySecrets(self.store.directory, 1, time, configuration.defaultDomain or None)

    def _listen(self, listener: Listener) -> None:
        factory: Any = listener.factory
        if SERVICES[listener.name][1]:
            factory = TLSMemoryBIOFactory(LateCertificate(self, listener.name), False, factory)
            factory.noisy = False
        balancers = networks(self.configuration.proxyNetworks)
        if balancers:
            factory = ProxyFactory(factory, balancers, self._reactor, listener.name)
        worker = self._worker

        def endpoint() -> IStreamServerEndpoint:
            if worker is not None:
                return worker.endpointOf(listener.name)
            parsed: IStreamServerEndpoint = serverFromString(self._reactor, listener.endpoint)
            return parsed

        try:
            listener.port = listenOn(listener.name, listener.endpoint, endpoint, factory)
        except ConfigurationProblem as problem:
            self._giveUp(str(problem))

    def _giveUp(self, text: str) -> NoReturn:
        # A daemon has no terminal: then the log is where it is read.
        self.log.critical("{text}", text=text)
        raise CannotStart(f"mailstack: {text}")

    def startService(self) -> None:
        """
        Open the data directory and serve.

        @raise CannotStart: if it can't be opened, or the certificate can't be used.
        """
        super().startService()
        failures: list[Failure] = []
        starting = True

        def failed(failure: Failure) -> None:
            if starting:
                failures.append(failure)
            elif self.running:
                # Otherwise it was stopped before it had started, which is no failure.
                self._reactor.callWhenRunning(self._endBy, failure)

        ensureDeferred(self._start()).addErrback(failed)
        starting = False
        if failures:
            self._giveUp(self._explain(failures[0]))
        # A thread pool that was stopped can't be started again.
        self._hashing = ThreadPool(0, WORKERS, "mailstack-passwords")
        self._hashing.start()

    async def _start(self) -> None:
        # The ports are bound already: nothing may be waited for before all that a connection needs
        # is there, the certificate before the store.
        self._certificates = certificates = self._loadCertificates()
        await self._checkers.start()
        await self.store.start()
        await self.outbound.start()
        self._poll = LoopingCall(certificates.reload)
        self._poll.clock = self._reactor
        self._poll.start(CERTIFICATE_POLL, now=False)
        isFirst = self._worker is None or self._worker.number == 0
        if isFirst:
            self._quotas = LoopingCall(lambda: ensureDeferred(self._lookAtQuotas()))
            self._quotas.clock = self._reactor
            self._quotas.start(INTERVAL, now=False)
        self._looks = LoopingCall(lambda: ensureDeferred(self._look()))
        self._looks.clock = self._reactor
        # Nobody waits for it: until then there is PLAIN.
        self._looks.start(CERTIFICATE_POLL)
        listenForHangup(self._reactor, self.reload)
        if isFirst:
            await self._greet()
        if self._worker is not None:
            self._worker.ready()

    async def _greet(self) -> None:
        accounts = await self.store.directory.listAccounts()
        first = None
        # Of no use where nobody asks the store about passwords.
        knows = ACCOUNTS in self.configuration.checkers
        if not accounts and knows and self._announce is not None:
            first = await self._makeFirstAccount()
        for listener in self.listeners:
            self.log.info(
                "{name} listens on {endpoint}", name=listener.name, endpoint=listener.endpoint
            )
        if not accounts and first is None:
            self.log.warn("there are no accounts yet: mailstack user add ADDRESS makes one")
        if self._announce is not None:
            self._announce(self._welcome(first))

    def _loadCertificates(self) -> Certificates:
        configuration = self.configuration
        data = Path(configuration.data)
        try:
            if not configuration.certificate:
                data.mkdir(mode=0o700, parents=True, exist_ok=True)
            return loadCertificates(
                data,
                configuration.name,
                (Path(configuration.certificate), Path(configuration.key))
                if configuration.certificate
                else None,
                [(Path(each), Path(key)) for each, key in configuration.certificates.items()],
                [parseDomain(name) for name in configuration.tlsNames],
                Path(configuration.clientAuthorities)
                if configuration.clientAuthorities and "EXTERNAL" in configuration.mechanisms
                else None,
            )
        except OSError as error:
            raise CertificateProblem(
                f"the data directory {data} can't be written: {error.strerror}; it must belong to"
                " the user that the server runs as"
            ) from error

    def _explain(self, failure: Failure) -> str:
        if failure.check(MailError, CertificateProblem, ConfigurationProblem):
            return failure.getErrorMessage()
        self.log.failure("the server can't start", failure=failure)
        return f"the server can't start: {failure.getErrorMessage()}"

    def _endBy(self, failure: Failure) -> None:
        text = self._explain(failure)
        if self._worker is not None:
            self._worker.failed(text)
        else:
            endWith(self._reactor, self.log, self._announce, text)

    async def _makeFirstAccount(self) -> tuple[Address, str]:
        password = "-".join(secrets.token_hex(3) for _ in range(3))
        directory = self.store.directory
        try:
            await directory.addDomain(FIRST_ACCOUNT.domain)
        except AlreadyExists:
            pass
        made = makeSecrets(
            password.encode(),
            (OURS, *(each.lower() for each in self.configuration.scram)),
            str(FIRST_ACCOUNT),
            self.configuration.scramIterations,
        )
        await directory.addAccount(FIRST_ACCOUNT, made)
        return FIRST_ACCOUNT, password

    def _welcome(self, first: tuple[Address, str] | None) -> str:
        lines = ["", f"{self.configuration.name}: mail is kept in {self.store.path.resolve()}", ""]
        for listener in self.listeners:
            tls = "TLS" if SERVICES[listener.name][1] else "STARTTLS"
            if SERVICES[listener.name][0] == "pop3" and tls == "STARTTLS":
                tls = "STLS"
            lines.append(f"  {listener.name:12} {listener.endpoint:45} {tls}")
        if first is not None:
            lines += ["", f"  A first account: {first[0]}", f"  with the password: {first[1]}"]
            lines += ["  (shown this once; mailstack user passwd changes it)"]
        data = "" if self.configuration.data == "mailstack-data" else f" --data {self.store.path}"
        lines += ["", f"Add accounts with: mailstack{data} user add ADDRESS", ""]
        return "\n".join(lines)

    def reload(self) -> None:
        """
        Read the certificates again, as on SIGHUP.
        """
        if self._certificates is not None:
            self._certificates.reload()

    def hear(self, changed: Collection[tuple[int, int | str]] | None) -> None:
        """
        Another process changed these C{(account, mailbox)}.

        @param changed: C{None}: anything.
        """
        self.store.hear(changed)

    @property
    def certificates(self) -> Certificates:
        """
        The certificates that serve.
        """
        if self._certificates is None:
            raise CertificateProblem("the server hasn't started")
        return self._certificates

    # --- stopping ------------------------------------------------------------------------------

    def stopService(self) -> Deferred[Any]:
        """
        Take no more connections, end every session with its goodbye, finish what is being
        committed, close.
        """
        super().stopService()
        return ensureDeferred(self._stop())

    async def _lookAtQuotas(self) -> None:
        try:
            await self._warner.look()
        except Exception:
            self.log.failure("quotas could not be looked at")

    async def _look(self) -> None:
        try:
            await self._mechanisms.look()
        except MailError:
            # Not now; or the server ends.
            pass
        except Exception:
            self.log.failure("who can log in how could not be found out")

    async def _stop(self) -> None:
        for loop in (self._poll, self._quotas, self._looks):
            if loop is not None and loop.running:
                loop.stop()
        for listener in self.listeners:
            if listener.port is not None:
                await _settle(listener.port.stopListening())
        await DeferredList(
            [
                *(each.factory.shutDown(PATIENCE) for each in self.listeners),
                ensureDeferred(self.outbound.stop(PATIENCE)),
            ]
        )
        await _settle(self._mechanisms.close())
        await self._checkers.stop()
        await self._recorder.close()
        await self.store.stop()
        if self._hashing.started:
            self._hashing.stop()


def listenOn(
    name: str, text: str, endpoint: Callable[[], IStreamServerEndpoint], factory: Any
) -> IListeningPort:
    """
    Bind a port.

    @param name: the service's.
    @param text: what was configured.
    @param endpoint: parses it.
    @raise ConfigurationProblem: if it can't be done.
    """
    try:
        listening = endpoint().listen(factory)
    except Exception as error:
        # Whatever the endpoint's own parser raises, third parties' included.
        raise ConfigurationProblem(f"{name}: {text} is no endpoint: {error}") from error
    ports: list[IListeningPort] = []
    failures: list[Failure] = []
    # Endpoints of sockets bind at once, so what failed is known when this returns.
    listening.addCallbacks(ports.append, failures.append)
    if failures:
        reason = getattr(failures[0].value, "socketError", failures[0].value)
        number = getattr(reason, "errno", 0)
        hint = ""
        if number == EACCES and text.startswith("tcp"):
            hint = "; ports below 1024 need root"
        elif number == EADDRINUSE:
            hint = "; is another server running there?"
        raise ConfigurationProblem(f"{name} can't listen on {text}: {reason}{hint}")
    return ports[0]


def listenForHangup(reactor: Any, reload: Callable[[], None]) -> None:
    """
    Have something done on SIGHUP.
    """

    def hangup(*_: object) -> None:
        reactor.callFromThread(reload)

    try:
        signal.signal(signal.SIGHUP, hangup)
    except ValueError:
        # Not in the main thread: embedded somewhere; its owner calls reload().
        pass


def endWith(reactor: Any, log: Logger, announce: Callable[[str], None] | None, text: str) -> None:
    """
    End the server that can't start, after C{startService}.

    @param text: why it can't.
    """
    log.critical("{text}", text=text)
    if announce is not None:
        announce(f"mailstack: {text}")
    # twistd ends with 0 whatever a service says, and an operator's scripts want to know.
    atexit.register(os._exit, 1)
    reactor.stop()


async def _settle(result: Any) -> None:
    if result is not None:
        await result


@implementer(IOpenSSLServerConnectionCreator)
class LateCertificate:
    """
    The context factory of a server whose certificate isn't read yet when its ports are bound.
    """

    def __init__(self, service: MailService, name: str) -> None:
        """
        @param name: of what it is for, of C{SERVICES}.
        """
        self._service = service
        self._silent = name in DELIVERED_TO

    def serverConnectionForTLS(self, protocol: object) -> Any:
        """See IOpenSSLServerConnectionCreator."""
        certificates = self._service.certificates
        if self._silent:
            return certificates.silent.serverConnectionForTLS(protocol)
        return certificates.serverConnectionForTLS(protocol)


def _onLoopback(endpoint: str) -> bool:
    return endpoint.startswith("unix:") or any(
        f"interface={each}" in endpoint for each in ("127.", "localhost", "\\:\\:1")
    )


def announce(text: str) -> None:
    """
    Show text on the terminal. Not through C{sys.stdout}, which twistd makes part of the log.
    """
    output = sys.__stdout__
    if output is not None:
        output.write(text + "\n")
        output.flush()
