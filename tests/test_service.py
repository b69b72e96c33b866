"""
How the server is put together: what is bound when, in what order it stops, and what is said when it
can't start.
"""

from __future__ import annotations

import atexit
import errno
import os
import queue
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.application.service import IService, MultiService
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock, StringTransport
from twisted.logger import globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_mailstack.config import OFF, SERVICES, load
from twisted_mailstack.delivery.quotawarnings import INTERVAL, QuotaWarner
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import ConnectionInfo, MaildropSettings
from twisted_mailstack.net.tls import CertificateProblem, selfSigned
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.service import FIRST_ACCOUNT, CannotStart, MailService, Worker

#: The services that listen by default.
LISTENING = {name: each for name, each in SERVICES.items() if each[2] != OFF}


class Reactor(MemoryReactorClock):
    """
    A reactor without sockets. What threads hand in waits until the test takes it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.handedIn: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = (
            queue.SimpleQueue()
        )
        self.refuse: dict[int, OSError] = {}
        self.stopped = False

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Keep it for L{turn}."""
        self.handedIn.put((function, arguments))

    def turn(self, until: Callable[[], bool]) -> None:
        """Do what threads handed in until something is so."""
        while not until():
            function, arguments = self.handedIn.get(timeout=30)
            function(*arguments)

    def listenTCP(self, port: int, *arguments: Any, **named: Any) -> Any:
        """Refuse some ports."""
        if port in self.refuse:
            raise CannotListenError("", port, self.refuse[port])
        return super().listenTCP(port, *arguments, **named)

    def callWhenRunning(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """It runs."""
        function(*arguments, **named)

    def stop(self) -> None:
        """Note it."""
        self.stopped = True


class ServiceTestCase(SynchronousTestCase):
    """
    A server that runs on nothing.
    """

    def setUp(self) -> None:
        """A reactor, a place, and what is shown."""
        self.reactor = Reactor()
        self.data = Path(self.mktemp())
        self.shown: list[str] = []
        self.log = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        before = signal.getsignal(signal.SIGHUP)
        self.addCleanup(signal.signal, signal.SIGHUP, before)

    def make(self, attended: bool = True, text: str = "", **given: Any) -> MailService:
        """
        @return: a server that hasn't started.
        """
        path = None
        if text:
            path = self.mktemp()
            Path(path).write_text(text)
        configuration = load(path, data=str(self.data), **given)
        return MailService(configuration, self.reactor, self.shown.append if attended else None)

    def start(self, service: MailService) -> MailService:
        """
        Start it as twistd does, and stop it when the test ends.
        """
        service.privilegedStartService()
        service.startService()
        self.addCleanup(self.stop, service)
        return service

    def stop(self, service: MailService) -> None:
        """
        Stop it as twistd does.
        """
        if service.running:
            stopping = service.stopService()
            self.reactor.turn(lambda: bool(stopping.called))
            self.successResultOf(stopping)

    def reason(self, function: Callable[[], object]) -> str:
        """
        @return: what a person is told when the start fails; the log has it too.
        """
        text = str(self.assertRaises(CannotStart, function))
        self.assertTrue(text.startswith("mailstack: "), text)
        events = [each for each in self.log if each["log_level"].name == "critical"]
        self.assertEqual([f"mailstack: {each['text']}" for each in events], [text])
        return text


class StartTests(ServiceTestCase):
    """
    Starting.
    """

    def test_provides(self) -> None:
        """It is a service, and may be a part of another application."""
        service = self.make()
        verifyObject(IService, service)
        service.setServiceParent(MultiService())

    def test_boundFirst(self) -> None:
        """
        The ports are bound while the process may still be root; the data directory is made only
        after that, as the user that is left.
        """
        service = self.make()
        service.privilegedStartService()
        self.assertEqual(
            [(host, port) for port, _, _, host in self.reactor.tcpServers],
            [("127.0.0.1", int(each[2].split(":")[1])) for each in LISTENING.values()],
        )
        self.assertFalse(self.data.exists())
        service.startService()
        self.addCleanup(self.stop, service)
        self.assertTrue((self.data / "mail.sqlite3").exists())

    def test_private(self) -> None:
        """The data directory and what is in it are for their owner alone."""
        self.start(self.make())
        self.assertEqual(self.data.stat().st_mode & 0o777, 0o700)
        for path in self.data.rglob("*"):
            if path.suffix != ".pem":
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_implicitTLS(self) -> None:
        """The services whose name ends in s speak TLS at once, the others don't."""
        self.start(self.make())
        found = {
            name: isinstance(factory, TLSMemoryBIOFactory)
            for name, (_, factory, _, _) in zip(LISTENING, self.reactor.tcpServers, strict=True)
        }
        self.assertEqual(
            {name for name, tls in found.items() if tls}, {"submissions", "pop3s", "imaps"}
        )

    def test_listen(self) -> None:
        """Only what isn't off listens, each where it was told to."""
        text = '[listen]\nsmtp = "tcp:25"\nsubmission = "off"\nimap = "unix:imap.socket"\n'
        self.start(self.make(text=text, listen={"pop3": "off"}))
        self.assertEqual(
            [(port, host) for port, _, _, host in self.reactor.tcpServers],
            [(25, ""), (2465, "127.0.0.1"), (2995, "127.0.0.1"), (2993, "127.0.0.1")],
        )
        self.assertEqual([each[0] for each in self.reactor.unixServers], ["imap.socket"])

    def test_LMTP(self) -> None:
        """
        LMTP on a Unix socket: each recipient has a reply of its own (RFC 2033 §4.2), and the hop
        limit is that of the configuration.
        """
        text = '[listen]\nlmtp = "unix:lmtp.socket"\n[smtp]\nhop-limit = 101\n'
        service = self.start(self.make(text=text))
        self.reactor.turn(lambda: bool(self.shown))

        async def prepare() -> None:
            for name in ("alice", "bob"):
                await service.store.directory.addAccount(Address(name, "example.test"), None)

        preparing = Deferred.fromCoroutine(service.store.directory.addDomain("example.test"))
        preparing.addCallback(lambda _: Deferred.fromCoroutine(prepare()))
        self.reactor.turn(lambda: bool(preparing.called) and preparing.result is None)
        ((path, factory, *_),) = self.reactor.unixServers
        self.assertEqual(path, "lmtp.socket")
        protocol = factory.buildProtocol(UNIXAddress(None))
        transport = StringTransport(peerAddress=UNIXAddress(None), hostAddress=UNIXAddress(path))
        protocol.makeConnection(transport)
        self.addCleanup(protocol.connectionLost)
        begin = (
            b"MAIL FROM:<x@far.test>\r\nRCPT TO:<alice@example.test>\r\n"
            b"RCPT TO:<nobody@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
        )
        protocol.dataReceived(b"LHLO mta.test\r\n")
        for hops, reply in ((100, b"250 2.0.0"), (101, b"554 5.4.6")):
            transport.clear()
            protocol.dataReceived(begin)
            self.reactor.turn(lambda: b"354 " in transport.value())
            transport.clear()
            protocol.dataReceived(b"Received: x\r\n" * hops + b"\r\n.\r\n")
            self.reactor.turn(lambda: transport.value().count(b"\n") == 2)
            self.assertEqual([line[:9] for line in transport.value().splitlines()], [reply] * 2)

    def greeting(self, index: int, port: int) -> bytes:
        """
        @return: what a client on loopback is told first.
        """
        factory = self.reactor.tcpServers[index][1]
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50000))
        transport = StringTransport(
            peerAddress=IPv4Address("TCP", "127.0.0.1", 50000),
            hostAddress=IPv4Address("TCP", "127.0.0.1", port),
        )
        protocol.makeConnection(transport)
        self.addCleanup(protocol.connectionLost)
        return bytes(transport.value())

    def test_serves(self) -> None:
        """Each service greets in its protocol, by the host name of the configuration."""
        self.start(self.make(text='hostname = "mx.example.org"\n'))
        self.assertEqual(self.greeting(0, 2525), b"220 mx.example.org ESMTP\r\n")
        self.assertTrue(self.greeting(3, 2110).startswith(b"+OK "))
        self.assertTrue(self.greeting(5, 2143).startswith(b"* OK "))

    def test_pop3Policy(self) -> None:
        """POP3's clients are told what is configured, and that an account has its own."""
        service = self.start(self.make(text="[pop3]\nlogin-delay = 60\nexpire-days = 30\n"))
        self.reactor.turn(lambda: bool(self.shown))
        factory = self.reactor.tcpServers[3][1]

        def told() -> list[bytes]:
            protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50000))
            transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 50000))
            protocol.makeConnection(transport)
            self.addCleanup(protocol.connectionLost)
            protocol.dataReceived(b"CAPA\r\n")
            lines = bytes(transport.value()).splitlines()
            return [line for line in lines if line.startswith((b"LOGIN-DELAY", b"EXPIRE"))]

        self.assertEqual(told(), [b"LOGIN-DELAY 60", b"EXPIRE 30"])

        async def change() -> None:
            record = await service.store.directory.findAccount(FIRST_ACCOUNT)
            assert record is not None
            account = await service.store.openAccount(record.accountId)
            await account.setMaildropSettings(MaildropSettings(loginDelay=900, expireDays=7))

        changing = Deferred.fromCoroutine(change())
        self.reactor.turn(lambda: bool(changing.called))
        self.successResultOf(changing)
        self.assertEqual(told(), [b"LOGIN-DELAY 900 USER", b"EXPIRE 7 USER"])

    def test_apop(self) -> None:
        """POP3 has APOP, and so the timestamp that it needs, where the operator wants it."""
        self.start(self.make(text="pop3.apop = true\n"))
        self.assertIn(b"<", self.greeting(3, 2110))

    def test_noAPOP(self) -> None:
        """Elsewhere not."""
        self.start(self.make())
        self.assertNotIn(b"<", self.greeting(3, 2110))

    def test_plaintextOnLoopbackOnly(self) -> None:
        """auth.allow-plaintext has no effect on a port that others can reach."""
        text = (
            "auth.allow-plaintext = true\n[listen]\n"
            'imap = "tcp:143"\npop3 = "tcp:110:interface=127.0.0.1"\nsubmission = "tcp:587"\n'
        )
        self.start(self.make(text=text))
        self.assertIn(b"LOGINDISABLED", self.greeting(5, 143))
        factory = self.reactor.tcpServers[3][1]
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50000))
        transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 50000))
        protocol.makeConnection(transport)
        self.addCleanup(protocol.connectionLost)
        protocol.dataReceived(b"CAPA\r\n")
        self.assertIn(b"\r\nUSER\r\n", bytes(transport.value()))

    def test_certificateBeforeStore(self) -> None:
        """
        The ports are bound already, so the certificate is there before anything is waited for: a
        client that comes at once gets its handshake.
        """
        service = self.make()
        service.privilegedStartService()
        self.assertRaises(CertificateProblem, lambda: service.certificates)
        waited: list[object] = []
        start = service.store.start

        async def slow() -> None:
            waited.append(service.certificates)
            await start()

        service.store.start = slow  # type: ignore[method-assign]
        service.startService()
        self.addCleanup(self.stop, service)
        self.assertEqual(waited, [service.certificates])


class FirstAccountTests(ServiceTestCase):
    """
    A server without accounts.
    """

    def accounts(self, service: MailService) -> list[str]:
        """
        @return: the addresses there are.
        """
        rows = service.store.reader.execute("SELECT local_part || '@' || domain FROM account")
        return [row[0] for row in rows]

    def test_attended(self) -> None:
        """Somebody is there: an account is made and its password shown, once, and not logged."""
        service = self.start(self.make())
        self.reactor.turn(lambda: bool(self.shown))
        self.assertEqual(self.accounts(service), [str(FIRST_ACCOUNT)])
        (text,) = self.shown
        self.assertIn("A first account: me@localhost\n", text)
        password = text.partition("with the password: ")[2].partition("\n")[0]
        self.assertEqual(len(password), 20)
        for event in self.log:
            self.assertNotIn(password, repr(event))
        self.stop(service)
        self.shown.clear()
        self.start(self.make())
        self.reactor.turn(lambda: bool(self.shown))
        self.assertNotIn("password", self.shown[0].replace("passwd", ""))

    def test_unattended(self) -> None:
        """Nobody is there: no account is made, and the log says what to do."""
        service = self.start(self.make(attended=False))
        self.assertEqual(self.accounts(service), [])
        self.assertIn(
            "there are no accounts yet: mailstack user add ADDRESS makes one",
            [each["log_format"] for each in self.log],
        )

    def test_table(self) -> None:
        """What is shown has each service, where it listens, its TLS, and what to do next."""
        self.start(self.make(listen={"pop3": "off"}))
        self.reactor.turn(lambda: bool(self.shown))
        lines = [line.split() for line in self.shown[0].splitlines()]
        for name, (protocol, implicit, endpoint) in LISTENING.items():
            tls = "TLS" if implicit else "STARTTLS"
            self.assertEqual([name, endpoint, tls] in lines, name != "pop3", protocol)
        self.assertIn(f"mailstack --data {self.data} user add ADDRESS", self.shown[0])
        self.assertIn(str(self.data.resolve()), self.shown[0])


class WorkerTests(ServiceTestCase):
    """
    One of several processes.
    """

    def setUp(self) -> None:
        """What it tells its parent."""
        super().setUp()
        self.told: list[Any] = []

    def worker(self, number: int) -> MailService:
        """
        @return: one that hasn't started.
        """

        def endpointOf(name: str) -> Any:
            self.told.append(name)
            return TCP4ServerEndpoint(self.reactor, 1)

        worker = Worker(
            number,
            endpointOf,
            lambda changed: self.told.append(set(changed)),
            lambda: self.told.append("ready"),
            lambda text: self.told.append(f"failed: {text}"),
            b"known to all workers",
        )
        configuration = load(None, data=str(self.data), listen={"smtp": "tcp:25"})
        return MailService(configuration, self.reactor, self.shown.append, worker)

    def result(self, awaitable: Any) -> Any:
        """
        @return: what comes of it.
        """
        done = ensureDeferred(awaitable)
        results: list[Any] = []
        done.addBoth(results.append)
        self.reactor.turn(lambda: bool(results))
        return results[0]

    def test_once(self) -> None:
        """What is to be done once the first does, and no other."""
        looks: list[None] = []

        async def look(_: QuotaWarner) -> None:
            looks.append(None)

        self.patch(QuotaWarner, "look", look)
        for number in (1, 0):
            service = self.start(self.worker(number))
            self.reactor.turn(lambda: "ready" in self.told)
            self.assertEqual(bool(self.shown), number == 0)
            listens = [each for each in self.log if "listens on" in each["log_format"]]
            self.assertEqual(len(listens), (1 - number) * len(LISTENING))
            self.reactor.advance(INTERVAL)
            self.assertEqual(looks, [None] * (1 - number))
            self.told.clear()
            self.stop(service)

    def test_lockedOut(self) -> None:
        """
        From a network that is locked out no proof of a mechanism is right: SCRAM says so before the
        policy is asked.
        """
        service = self.start(self.worker(0))
        self.reactor.turn(lambda: "ready" in self.told)
        name = str(FIRST_ACCOUNT).encode()
        info = ConnectionInfo("192.0.2.1", 5000, "imaps", True)
        secrets = service._mechanisms.services.secrets

        def known(peer: str) -> bool:
            found = self.result(secrets.secretsFor(name, "scram-sha-256", peer))
            return any(each.credentialId for each in found)

        self.assertTrue(known("192.0.2.1"))
        for number in range(service.configuration.guessing.networkFailures):
            credentials = PasswordCredentials(b"bob@example.test", b"%d" % number)
            failed = service._portal.policy.failed(b"bob", credentials, "PLAIN", info)
            self.result(failed)
        self.assertFalse(known("192.0.2.2"))
        self.assertTrue(known("198.51.100.1"))

    def test_repeats(self) -> None:
        """A client that repeats one wrong password is counted once by all of them together."""
        info = ConnectionInfo("192.0.2.1", 5000, "imaps", True)
        counts = []
        for number in (0, 1):
            service = self.start(self.worker(number))
            self.reactor.turn(lambda: "ready" in self.told)
            for password in (b"old", b"old", b"other"):
                credentials = PasswordCredentials(b"alice@example.test", password)
                failed = service._portal.policy.failed(b"alice", credentials, "PLAIN", info)
                counts.append(self.result(failed))
            self.told.clear()
            self.stop(service)
        self.assertEqual(counts, [1, 1, 2, 2, 2, 2])

    def test_ports(self) -> None:
        """It listens where its parent says."""
        service = self.worker(1)
        service.privilegedStartService()
        self.assertEqual(self.told, list(LISTENING))
        self.assertEqual([each[0] for each in self.reactor.tcpServers], [1] * len(LISTENING))

    def test_changes(self) -> None:
        """It tells what it changed, and hears what others did."""
        service = self.start(self.worker(0))
        self.reactor.turn(lambda: "ready" in self.told)
        self.told.clear()
        (account,) = self.result(service.store.directory.listAccounts())
        opened = self.result(service.store.openAccount(account.accountId))
        self.result(opened.createMailbox("new"))
        self.assertTrue(self.told)
        heard: list[Any] = []
        opened.watch(heard.append)
        for changed in (*self.told, None):
            heard.clear()
            service.hear(changed)
            self.assertTrue(heard)

    def test_fails(self) -> None:
        """What it finds out after the start it tells its parent, and goes on living."""
        service = self.worker(1)
        waiting: Deferred[None] = Deferred()

        async def slow() -> None:
            await waiting

        self.patch(service.store, "start", slow)
        service.privilegedStartService()
        service.startService()
        waiting.errback(CertificateProblem("no way"))
        self.assertEqual(self.told[-1], "failed: no way")
        self.assertFalse(self.reactor.stopped)


class CannotStartTests(ServiceTestCase):
    """
    Each names what is wrong, where, and what to do.
    """

    def test_badEndpoint(self) -> None:
        """An endpoint that isn't one names the service and what was given."""
        for endpoint in ("nonsense:25", "tcp:imap2", "tcp", "tcp:25:interface=::1", "ssl:993"):
            self.log._events.clear()
            said = self.reason(self.make(listen={"imap": endpoint}).privilegedStartService)
            self.assertIn(f"imap: {endpoint} is no endpoint: ", said)

    def test_portInUse(self) -> None:
        """A port that another server has."""
        self.reactor.refuse[2143] = OSError(errno.EADDRINUSE, "Address already in use")
        said = self.reason(self.make().privilegedStartService)
        self.assertIn("imap can't listen on tcp:2143:interface=127.0.0.1: ", said)
        self.assertIn("Address already in use; is another server running there?", said)

    def test_portNeedsRoot(self) -> None:
        """A port below 1024 without the right to it."""
        self.reactor.refuse[25] = OSError(errno.EACCES, "Permission denied")
        said = self.reason(self.make(listen={"smtp": "tcp:25"}).privilegedStartService)
        self.assertIn("smtp can't listen on tcp:25: ", said)
        self.assertIn("; ports below 1024 need root", said)

    def startReason(self, **given: Any) -> str:
        """
        @return: why the second half of the start fails.
        """
        service = self.make(**given)
        service.privilegedStartService()
        return self.reason(service.startService)

    def test_noCertificate(self) -> None:
        """A certificate file that isn't there, isn't one, or isn't the key's, is named."""
        folder = Path(self.mktemp())
        folder.mkdir()
        missing, junk = folder / "missing.pem", folder / "junk.pem"
        junk.write_text("no certificate\n")
        own = selfSigned(folder, "localhost")
        for certificate, key, expected in (
            (missing, own.key, f"{missing}: No such file or directory"),
            (own.certificate, missing, f"{missing}: No such file or directory"),
            (junk, own.key, str(junk)),
            (own.certificate, junk, str(junk)),
        ):
            self.log._events.clear()
            text = f'tls.certificate = "{certificate}"\ntls.key = "{key}"\n'
            self.assertIn(expected, self.startReason(text=text))

    def test_keyUnreadable(self) -> None:
        """A key that the user isn't allowed to read."""
        folder = Path(self.mktemp())
        folder.mkdir()
        own = selfSigned(folder, "localhost")
        read = Path.read_bytes

        def refuse(path: Path) -> bytes:
            if path == own.key:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return read(path)

        self.patch(Path, "read_bytes", refuse)
        text = f'tls.certificate = "{own.certificate}"\ntls.key = "{own.key}"\n'
        said = self.startReason(text=text)
        self.assertIn(str(own.key), said)
        self.assertIn("Permission denied", said)

    def test_dataIsAFile(self) -> None:
        """A data directory that is a file."""
        self.data.write_text("")
        self.assertIn(f"the data directory {self.data} can't be written: ", self.startReason())

    def test_notADatabase(self) -> None:
        """A database that is something else is named; nothing is changed in it."""
        self.data.mkdir()
        file = self.data / "mail.sqlite3"
        file.write_bytes(b"no database at all\n" * 100)
        self.assertIn(str(file), self.startReason())
        self.assertEqual(file.read_bytes(), b"no database at all\n" * 100)

    def test_newerDatabase(self) -> None:
        """A database of a later release isn't touched."""
        service = self.start(self.make())
        self.stop(service)
        connection = sqlite3.connect(self.data / "mail.sqlite3")
        connection.execute("PRAGMA user_version = 9999")
        connection.close()
        self.assertIn("newer release", self.startReason())

    def test_later(self) -> None:
        """A start that fails only after a while ends the server, and says so."""
        service = self.make()
        service.privilegedStartService()
        exits: list[tuple[Any, ...]] = []
        self.patch(atexit, "register", lambda *arguments: exits.append(arguments))
        waiting: Deferred[None] = Deferred()

        async def start() -> None:
            await waiting

        service.store.start = start  # type: ignore[method-assign]
        service.startService()
        self.assertFalse(self.reactor.stopped)
        waiting.errback(CertificateProblem("it can't"))
        self.assertTrue(self.reactor.stopped)
        self.assertEqual(self.shown, ["mailstack: it can't"])
        self.assertEqual(exits, [(os._exit, 1)])
        stopping = service.stopService()
        self.successResultOf(stopping)


class StopTests(ServiceTestCase):
    """
    Stopping.
    """

    def test_order(self) -> None:
        """
        No new connections, then every session's goodbye, and only when the last session is over is
        the store closed: what is being committed is committed.
        """
        service = self.start(self.make())
        order: list[str] = []
        for listener in service.listeners:
            port = listener.port
            assert port is not None
            stopListening, shutDown = port.stopListening, listener.factory.shutDown

            def stopListeningNoted(stop: Callable[[], Any] = stopListening) -> Any:
                order.append("port")
                return stop()

            def shutDownNoted(patience: float, stop: Callable[[float], Any] = shutDown) -> Any:
                order.append("sessions")
                return stop(patience)

            port.stopListening = stopListeningNoted  # type: ignore[method-assign]
            listener.factory.shutDown = shutDownNoted  # type: ignore[method-assign]
        storeStop = service.store.stop

        async def storeStopNoted() -> None:
            order.append("store")
            await storeStop()

        service.store.stop = storeStopNoted  # type: ignore[method-assign]
        factory = self.reactor.tcpServers[0][1]
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50000))
        transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 50000))
        protocol.makeConnection(transport)
        transport.clear()
        stopping = service.stopService()
        count = len(LISTENING)
        self.assertEqual(order, ["port"] * count + ["sessions"] * count)
        self.assertTrue(bytes(transport.value()).startswith(b"421 "))
        self.assertNoResult(stopping)
        protocol.connectionLost()
        self.reactor.turn(lambda: bool(stopping.called))
        self.assertEqual(order[-1], "store")
        self.successResultOf(stopping)

    def test_impatient(self) -> None:
        """A client that doesn't go is cut off after a while, and the server ends."""
        service = self.start(self.make())
        factory = self.reactor.tcpServers[0][1]
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50000))
        transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 50000))
        transport.abortConnection = lambda: protocol.connectionLost()  # type: ignore[method-assign]
        protocol.makeConnection(transport)
        stopping = service.stopService()
        self.assertNoResult(stopping)
        self.reactor.advance(20)
        self.reactor.turn(lambda: bool(stopping.called))
        self.successResultOf(stopping)

    def test_nothingLeft(self) -> None:
        """Afterwards no timer and no thread of ours is left."""
        service = self.start(self.make())
        self.stop(service)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(service._hashing.threads, [])

    def test_whileStarting(self) -> None:
        """
        A server that is stopped before it has started stops, and that is no failure. If it has made
        its first account by then the password was shown, else there is none.
        """
        service = self.make()
        service.privilegedStartService()
        service.startService()
        # The first account is being made, by a thread.
        self.assertEqual(self.shown, [])
        self.stop(service)
        self.assertFalse(self.reactor.stopped)
        self.assertEqual([each for each in self.log if each["log_level"].name == "critical"], [])
        database = sqlite3.connect(self.data / "mail.sqlite3")
        self.addCleanup(database.close)
        ((accounts,),) = database.execute("SELECT count(*) FROM account").fetchall()
        self.assertEqual(len(self.shown), accounts)

    def test_startedAgain(self) -> None:
        """What was stopped can be started again, with the same data."""
        self.stop(self.start(self.make()))
        self.start(self.make())


class ClientCertificateTests(ServiceTestCase):
    """
    Whom clients are asked for a certificate.
    """

    def asking(self, text: str) -> set[str]:
        """
        @return: the services that ask.
        """
        others = Path(self.mktemp()).resolve()
        others.mkdir()
        own = selfSigned(others, "clients.example")
        text += f'[tls]\nclient-authorities = "{own.certificate}"\n'
        text += '[listen]\nlmtp = "unix:lmtp.socket"\n'
        service = self.start(self.make(text=text))
        found = set()
        for listener in service.listeners:
            tls = listener.factory.tls
            assert tls is not None
            context = tls.serverConnectionForTLS(None).get_context()  # type: ignore[arg-type]
            if context.get_verify_mode() != SSL.VERIFY_NONE:
                found.add(listener.name)
        self.stop(service)
        return found

    def test_whereEXTERNALIs(self) -> None:
        """Where somebody may log in by EXTERNAL, but for the ports where other servers deliver."""
        self.assertEqual(
            self.asking(""), {"submission", "submissions", "pop3", "pop3s", "imap", "imaps"}
        )
        self.assertEqual(self.asking('auth.mechanisms = ["PLAIN", "SCRAM-SHA-256"]\n'), set())


class ReloadTests(ServiceTestCase):
    """
    A certificate that changes.
    """

    def test_hangup(self) -> None:
        """SIGHUP reads the certificate's files again, in the reactor's own time."""
        service = self.start(self.make())
        before = service.certificates.serverConnectionForTLS(None).get_context()
        other = Path(self.mktemp())
        other.mkdir()
        selfSigned(other, "other.example")
        for name in ("self-signed.pem", "self-signed.key"):
            os.replace(other / name, self.data / name)
        os.kill(os.getpid(), signal.SIGHUP)
        self.reactor.turn(
            lambda: service.certificates.serverConnectionForTLS(None).get_context() is not before
        )

    def test_poll(self) -> None:
        """Nobody need say anything: a changed file is found."""
        service = self.start(self.make())
        before = service.certificates.serverConnectionForTLS(None).get_context()
        other = Path(self.mktemp())
        other.mkdir()
        selfSigned(other, "other.example")
        for name in ("self-signed.key", "self-signed.pem"):
            os.replace(other / name, self.data / name)
        self.reactor.advance(60)
        self.assertIsNot(service.certificates.serverConnectionForTLS(None).get_context(), before)

    def test_damaged(self) -> None:
        """A new file that can't be used changes nothing but the log."""
        service = self.start(self.make())
        before = service.certificates.serverConnectionForTLS(None).get_context()
        (self.data / "self-signed.pem").write_text("no certificate\n")
        service.reload()
        self.assertIs(service.certificates.serverConnectionForTLS(None).get_context(), before)
        self.assertTrue([each for each in self.log if each["log_level"].name == "error"])

    def test_notStarted(self) -> None:
        """Before the start there is nothing to read again."""
        self.make().reload()
