"""
The way out of the server: what of the configuration reaches it, what becomes of what waits when the
configuration changes, and how it starts and stops.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.test_service import Reactor, ServiceTestCase
from twisted_mailstack.config import Configuration, ConfigurationProblem, load
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.errors import DestinationUnavailable, EncryptionRequired, MailError
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import LOCAL, QueuedMessage, QueuedRecipient, QueueFilter
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient
from twisted_mailstack.outbound import ROUTES_FILE, Outbound, logIn, makeRoutes, readPasswords
from twisted_mailstack.relay.routes import Route
from twisted_mailstack.relay.security import RECORDS_FILE
from twisted_mailstack.smtp.clientsession import SMTPClientSession
from twisted_mailstack.storage.sql.store import SQLMailStore
from twisted_mailstack.testing.conversation import FakeWire
from twisted_mailstack.wire.stream import Stream

ALICE = Address.parse("alice@example.test")


def recipient(number: int, address: str, destination: str) -> QueuedRecipient:
    """
    @return: one that waits.
    """
    return QueuedRecipient(number, Address.parse(address), {}, destination, 1000, 2000)


class FilesTestCase(SynchronousTestCase):
    """
    Writes files.
    """

    def write(self, data: str | bytes) -> str:
        """
        @return: the path of a file with that in it.
        """
        path = Path(self.mktemp())
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)

    def configure(self, text: str, passwords: str | bytes | None = None) -> Configuration:
        """
        @return: a configuration of the section C{[relay]}.
        """
        if passwords is not None:
            text += f'\npasswords = "{self.write(passwords)}"'
        return load(self.write(f"[relay]\n{text}\n"))


class PasswordsTests(FilesTestCase):
    """
    The file with passwords.
    """

    def test_lines(self) -> None:
        """
        A line is for one user at one host; behind the first blanks everything is the password.
        Comments, empty lines, line ends and marks of other systems don't matter.
        """
        path = self.write(
            "\ufeff# of our provider\r\n\r\n"
            "alice@hub.test  correct horse #1 \r\n"
            "\n"
            "bob@example.org@Hub.TEST:587\tp\u00e4ss\u2028wo\u0085rd\n"
            "carol@[2001:db8::1]:25 x"
        )
        self.assertEqual(
            readPasswords(path),
            {
                "alice@hub.test": "correct horse #1 ",
                "bob@example.org@hub.test:587": "p\u00e4ss\u2028wo\u0085rd",
                "carol@[2001:db8::1]:25": "x",
            },
        )
        self.assertEqual(readPasswords(self.write("")), {})

    def test_wrong(self) -> None:
        """What can't be read is named with its line, and nothing of the line is shown."""
        for text, number, said in (
            ("secret", 1, "user@host and a password are wanted"),
            ("# a\nsecret word", 2, "user@host and a password are wanted"),
            ("u@h secret\nu@h", 2, "user@host and a password are wanted"),
            ("u@h ", 1, "user@host and a password are wanted"),
            (" u@h secret", 1, "user@host and a password are wanted"),
            ("@h secret", 1, "user@host and a password are wanted"),
            ("u@h secret\nu@H secret", 2, "there is a line for that user@host already"),
            # RFC 4616 §2: no mechanism can send it.
            ("u@h sec\0ret", 1, "a NUL"),
        ):
            path = self.write(text)
            problem = str(self.assertRaises(ConfigurationProblem, readPasswords, path))
            self.assertEqual(problem, f"relay.passwords: {path}, line {number}: {said}")
            self.assertNotIn("secret", problem)

    def test_unreadable(self) -> None:
        """A file that isn't there, or isn't text, is named with the reason."""
        path = self.mktemp()
        problem = str(self.assertRaises(ConfigurationProblem, readPasswords, path))
        self.assertEqual(problem, f"relay.passwords: {path}: No such file or directory")
        path = self.write(b"u@h s\xe9cret")
        failed = self.assertRaises(ConfigurationProblem, readPasswords, path)
        self.assertEqual(str(failed), f"relay.passwords: {path}: not UTF-8")
        # The chained error would have the octets in it.
        self.assertTrue(failed.__suppress_context__)


class RoutesTests(FilesTestCase):
    """
    Routes of the configuration.
    """

    def route(self, text: str, passwords: str | None = None) -> Route:
        """
        @return: what a smarthost is read as.
        """
        routes = makeRoutes(self.configure(f'smarthost = "{text}"', passwords))
        return routes.find(routes.destinationOf(ALICE, Address.parse("x@far.test")))

    def test_nothing(self) -> None:
        """Without routes mail goes by MX."""
        routes = makeRoutes(load(None))
        self.assertEqual(routes.destinationOf(ALICE, Address.parse("x@far.test")), "far.test")

    def test_order(self) -> None:
        """The recipient's domain, then the sender, then the smarthost."""
        routes = makeRoutes(
            self.configure(
                'smarthost = "smtp://hub.test"\n'
                'routes = {"B.test" = "mx", ".C.test" = "lmtp+unix:/run/c"}\n'
                'sender-routes = {"Alice@Example.test" = "smtp://a.test:26"}'
            )
        )
        for address, expected in (
            ("x@b.test", "b.test"),
            ("x@sub.c.test", "lmtp+unix:/run/c"),
            ("x@c.test", "smtp://a.test:26"),
        ):
            self.assertEqual(routes.destinationOf(ALICE, Address.parse(address)), expected)
        self.assertEqual(
            routes.destinationOf(None, Address.parse("x@far.test")), "smtp://hub.test:25"
        )

    def test_international(self) -> None:
        """A domain may be written as people write it: mail's addresses have A-labels."""
        routes = makeRoutes(
            self.configure(
                'routes = {"B\u00fccher.example" = "smtp://a.test"}\n'
                'sender-routes = {"j\u00fcrgen@B\u00fccher.example" = "smtp://b.test"}'
            )
        )
        sender = Address.parse("J\u00fcrgen@b\u00fccher.example")
        self.assertEqual(
            routes.destinationOf(None, Address.parse("x@b\u00fccher.example")), "smtp://a.test:25"
        )
        self.assertEqual(
            routes.destinationOf(sender, Address.parse("x@far.test")), "smtp://b.test:25"
        )

    def test_passwords(self) -> None:
        """
        The password is that of user@host, or, before that, of user@host with the port that the
        route names; it is no part of what queue and log show.
        """
        passwords = (
            "u@hub.test pass-one\nu@hub.test:2525 pass-two\nu@example.org@hub.test pass-three\n"
            "u@[::1] pass-four\nv@[::1]:2525 pass-five\nu%20v@hub.test pass-six\n"
        )
        for text, username, password in (
            ("smtps://u@hub.test", "u", "pass-one"),
            ("smtps://u@HUB.test:466", "u", "pass-one"),
            ("smtp://u@hub.test:2525", "u", "pass-two"),
            ("smtp://u@example.org@hub.test:587", "u@example.org", "pass-three"),
            ("smtps://u@[::1]", "u", "pass-four"),
            ("smtps://u@[::1]:466", "u", "pass-four"),
            ("smtps://v@[::1]:2525", "v", "pass-five"),
            ("smtps://u%20v@hub.test", "u v", "pass-six"),
            ("smtp://u@hub.test/?tls=required", "u", "pass-one"),
        ):
            route = self.route(text, passwords)
            self.assertEqual((route.username, route.password), (username, password), text)
            self.assertNotIn(password, route.destination + repr(route))

    def test_noPassword(self) -> None:
        """A user without a password is refused, and told what the file must have."""
        for passwords in (None, "", "other@hub.test secret\n", "u@hub.test:25 secret\n"):
            configuration = self.configure('smarthost = "smtps://u@hub.test:466"', passwords)
            problem = str(self.assertRaises(ConfigurationProblem, makeRoutes, configuration))
            self.assertIn("smtps://u@hub.test:466", problem)
            self.assertIn("relay.passwords is for a line that begins with u@hub.test", problem)
            self.assertNotIn("secret", problem)


class ConfigTests(FilesTestCase):
    """
    What is wrong with the configuration is said when it is read, with the key.
    """

    def test_refused(self) -> None:
        """Each key of relaying names itself."""
        for text, said in (
            ('relay.smarthost = "hub.test"', "relay.smarthost: 'hub.test' is no route"),
            ('relay.smarthost = "smtp://u:secret@hub.test"', "relay.smarthost: a route has a pass"),
            ('relay.routes = {"a.test" = ""}', "relay.routes: '' is no route"),
            ('relay.routes = {"a b" = "mx"}', "relay.routes: 'a b': Invalid domain name"),
            ('relay.routes = {"*.a.test" = "mx"}', "relay.routes: '*.a.test': Invalid domain"),
            ('relay.routes = {"" = "mx"}', "relay.routes: '': Invalid domain name"),
            ('relay.routes = {"x@a.test" = "mx"}', "relay.routes: 'x@a.test': a domain is wanted"),
            (
                'relay.routes = {"a.test" = "mx", "A.test" = "mx"}',
                "relay.routes: a.test has two routes",
            ),
            ('relay.sender-routes = {"a@" = "mx"}', "relay.sender-routes: 'a@': "),
            ('relay.sender-routes = {"a.test" = "ftp://x"}', "relay.sender-routes: 'ftp://x' is"),
            ('relay.resolvers = ["nobody"]', "relay.resolvers: "),
            ("relay.port = 65536", "relay.port must be at most 65535"),
            ('relay.address-families = ["ipx"]', "relay.address-families must be"),
            ("relay.address-families = []", "relay.address-families must be"),
            ('relay.address-families = ["ipv4", "ipv4"]', "relay.address-families must be"),
            ("relay.connections = 0", "relay.connections must be at least 1"),
            ("queue.retry = []", "queue.retry must be"),
            ("queue.retry = [60, 0]", "queue.retry must be"),
            ("queue.lifetime = 59", "queue.lifetime must be at least 60"),
            ('queue.double-failures = "root"', "queue.double-failures: root: "),
        ):
            path = self.write(text)
            problem = str(self.assertRaises(ConfigurationProblem, load, path))
            self.assertTrue(problem.startswith(f"{path}: {said}"), problem)
            self.assertNotIn("secret", problem)


class OutboundTestCase(FilesTestCase):
    """
    The way out over a store on disk, on a reactor without sockets.
    """

    def setUp(self) -> None:
        """A store in which alice is."""
        self.reactor = Reactor()
        self.data = Path(self.mktemp())
        self.store = SQLMailStore(str(self.data), self.reactor, self.reactor.callFromThread)
        self.run_(self.store.start())
        self.addCleanup(lambda: self.run_(self.store.stop()))
        self.run_(self.store.directory.addDomain("example.test"))
        self.run_(self.store.directory.addAccount(ALICE, None))

    def run_(self, awaitable: Any) -> Any:
        """
        @return: what something gives in the end.
        """

        async def wait() -> Any:
            return await awaitable

        done = Deferred.fromCoroutine(wait())
        self.reactor.turn(lambda: bool(done.called))
        return self.successResultOf(done)

    def make(self, text: str = "") -> Outbound:
        """
        @return: one that hasn't started; it runs nothing, since somebody else has the queue.
        """
        path = self.write(text)
        configuration = load(path, data=str(self.data))
        return Outbound(
            configuration, self.reactor, self.store, Resolver(self.store.directory, "+")
        )

    def started(self, text: str) -> Outbound:
        """
        @return: one that has started and stopped again, as a server has before the next start.
        """
        outbound = self.make(text)
        self.run_(outbound.start())
        self.run_(outbound.stop(1))
        return outbound

    def queue(self, *recipients: QueuedRecipient) -> None:
        """
        Put a message for some into the queue.
        """
        writer = self.store.newContent()
        writer.write(b"Subject: x\r\n\r\ntext\r\n")
        staged = self.run_(writer.finish())
        # Held, so that nothing is tried here.
        message = QueuedMessage(
            "Q1", ALICE, {}, b"", 1000, 1 << 40, recipients, held=True, origin=str(ALICE)
        )
        self.run_(self.store.spool.accept(staged, (), 1000, message))
        staged.discard()

    def destinations(self) -> dict[str, str]:
        """
        @return: by address, whom it waits for.
        """
        messages = self.run_(self.store.spool.select(QueueFilter(), 100))
        return {
            str(each.address): each.destination
            for message in messages
            for each in message.recipients
        }


class RelayingTests(OutboundTestCase):
    """
    Relaying is off, or on.
    """

    def message(self) -> QueuedMessage:
        """
        @return: one from alice to x@far.test.
        """
        return QueuedMessage(
            "Q1", ALICE, {}, b"", 1000, 2000, (recipient(0, "x@far.test", "far.test"),)
        )

    def test_off(self) -> None:
        """
        By default nothing leaves the server; what waits from a time when there was relaying waits
        on, and says why.
        """
        outbound = self.make()
        self.assertIsNone(outbound.dispatch.relay)
        relay = outbound._relayFor("far.test")
        failed = self.failureResultOf(
            Deferred.fromCoroutine(_wait(relay.connect("far.test", self.message())))
        )
        failed.trap(DestinationUnavailable)
        self.assertEqual(failed.getErrorMessage(), "Relaying is switched off here (relay.enabled)")
        self.assertTrue(400 <= failed.value.smtpCode < 500)

    def test_offRecords(self) -> None:
        """Without relaying there are no records of it."""
        self.started("")
        self.assertFalse((self.data / RECORDS_FILE).exists())

    def test_on(self) -> None:
        """With relaying, recipients of other domains wait for where their routes lead."""
        outbound = self.make('relay.enabled = true\nrelay.routes = {"b.test" = "smtp://hub.test"}')
        queued = outbound.dispatch.queued(
            "Q1",
            ALICE,
            {},
            [
                (Recipient(Address.parse("x@b.test"), {}), None),
                (Recipient(Address.parse("x@c.test"), {}), None),
                (Recipient(ALICE, {}), ALICE),
            ],
        )
        self.assertEqual(
            [each.destination for each in queued.recipients],
            ["smtp://hub.test:25", "c.test", LOCAL],
        )
        self.assertEqual(queued.expires - queued.arrived, 5 * 86400)
        self.assertIs(outbound._relayFor("c.test"), outbound.dispatch.relay)

    def test_localWithoutRelaying(self) -> None:
        """Copies that wait for accounts of ours have a way with relaying and without."""
        for text in ("", "relay.enabled = true"):
            outbound = self.make(text)
            self.assertIsNot(outbound._relayFor(LOCAL), outbound._relayFor("far.test"))
            self.assertEqual(outbound._relayFor(LOCAL).destinationOf(None, ALICE), LOCAL)

    def test_users(self) -> None:
        """
        A route's user is logged in with its password, which goes out in the clear only where the
        route says that there is to be no TLS.
        """
        for tls, secure, sent in (
            ("verified", True, True),
            ("verified", False, False),
            ("none", False, True),
        ):
            wire = FakeWire("relay", secure)
            session = SMTPClientSession(Stream(wire, Clock()), "mx.a.test")
            session.offered = {"AUTH": "PLAIN"}
            route = Route("x", host="hub.test", tls=tls, username="u", password="secret")
            done = Deferred.fromCoroutine(logIn(session, route))
            expected = b"AUTH PLAIN " + b64encode(b"\0u\0secret") + b"\r\n"
            self.assertEqual(wire.take(), expected if sent else b"")
            if sent:
                session.stream.received(b"235 2.7.0 yes\r\n")
                self.successResultOf(done)
                self.assertTrue(session.authenticated)
            else:
                self.failureResultOf(done, EncryptionRequired)

    def test_times(self) -> None:
        """How long mail waits, and when its sender is told, are configured."""
        outbound = self.make("queue.lifetime = 100\nqueue.warn-after = 30")
        queued = outbound.dispatch.queued(
            "Q1", ALICE, {}, [(Recipient(Address.parse("x@c.test"), {}), False)]
        )
        self.assertEqual(queued.expires - queued.arrived, 100)
        self.assertEqual(queued.recipients[0].checkAt - queued.arrived, 30)


class RerouteTests(OutboundTestCase):
    """
    What waits when the server is started with other routes.
    """

    def setUp(self) -> None:
        """Relaying, with a message for three in the queue."""
        super().setUp()
        self.queue(
            recipient(0, "x@b.test", "b.test"),
            recipient(1, "x@c.test", "smtp://old.test:25"),
            recipient(2, str(ALICE), LOCAL),
        )

    def test_changed(self) -> None:
        """Recipients go by the new routes; those of our own accounts stay ours."""
        self.started('relay.enabled = true\nrelay.smarthost = "smtp://hub.test"')
        self.assertEqual(
            self.destinations(),
            {
                "x@b.test": "smtp://hub.test:25",
                "x@c.test": "smtp://hub.test:25",
                str(ALICE): LOCAL,
            },
        )
        self.started("relay.enabled = true")
        self.assertEqual(
            self.destinations(), {"x@b.test": "b.test", "x@c.test": "c.test", str(ALICE): LOCAL}
        )

    def test_bySender(self) -> None:
        """Routes by sender hold for what waits too."""
        self.started(f'relay.enabled = true\nrelay.sender-routes = {{"{ALICE}" = "smtp://s.test"}}')
        self.assertEqual(self.destinations()["x@b.test"], "smtp://s.test:25")

    def rerouted(self) -> list[None]:
        """
        @return: gets an item whenever the whole queue is looked through.
        """
        found: list[None] = []
        reroute = self.store.spool.reroute

        async def noted(route: Any) -> int:
            found.append(None)
            return await reroute(route)

        self.store.spool.reroute = noted  # type: ignore[method-assign]
        return found

    def test_same(self) -> None:
        """With the same routes, in whatever order, a start doesn't look through the queue."""
        found = self.rerouted()
        text = "relay.enabled = true\nrelay.routes = {%s}"
        self.started(text % '"d.test" = "mx", "e.test" = "mx"')
        self.started(text % '"e.test" = "mx", "d.test" = "mx"')
        self.assertEqual(len(found), 1)

    def test_damagedStamp(self) -> None:
        """What says by which routes the queue was made may be damaged, or gone."""
        found = self.rerouted()
        stamp = self.data / ROUTES_FILE
        self.started("relay.enabled = true")
        self.assertEqual(stamp.stat().st_mode & 0o077, 0)
        for content in (b"", b"\xff\xfe", b"0" * 64):
            stamp.write_bytes(content)
            self.started("relay.enabled = true")
        stamp.unlink()
        self.started("relay.enabled = true")
        self.assertEqual(len(found), 5)

    def test_offMeanwhile(self) -> None:
        """
        What came while relaying was off has no routes' destinations: it gets them when relaying is
        on again, though the routes are those of before.
        """
        text = 'relay.enabled = true\nrelay.smarthost = "smtp://hub.test"'
        self.started(text)
        self.started("")
        self.queue(recipient(0, "y@d.test", "d.test"))
        self.started(text)
        self.assertEqual(self.destinations()["y@d.test"], "smtp://hub.test:25")

    def test_spoolFails(self) -> None:
        """If the queue can't be changed the next start tries again."""

        async def fail(route: Any) -> int:
            raise MailError("disk full")

        reroute = self.store.spool.reroute
        self.store.spool.reroute = fail  # type: ignore[method-assign]
        text = 'relay.enabled = true\nrelay.smarthost = "smtp://hub.test"'
        outbound = self.make(text)
        self.failureResultOf(Deferred.fromCoroutine(outbound.start())).trap(MailError)
        self.assertFalse(outbound.runner.running)
        self.run_(outbound.stop(1))
        self.store.spool.reroute = reroute  # type: ignore[method-assign]
        self.started(text)
        self.assertEqual(self.destinations()["x@b.test"], "smtp://hub.test:25")


class OrderTests(OutboundTestCase):
    """
    Starting and stopping.
    """

    def test_reroutedFirst(self) -> None:
        """Nothing is tried before the new routes hold; stopped meanwhile, nothing ever is."""
        for stopped in (False, True):
            (self.data / ROUTES_FILE).unlink(missing_ok=True)
            waiting: Deferred[int] = Deferred()

            async def reroute(route: Any, waiting: Deferred[int] = waiting) -> int:
                return await waiting

            self.store.spool.reroute = reroute  # type: ignore[method-assign]
            outbound = self.make("relay.enabled = true")
            calls: list[str] = []
            outbound.runner.start = lambda calls=calls: calls.append("start")  # type: ignore
            starting = Deferred.fromCoroutine(outbound.start())
            self.assertEqual(calls, [])
            if stopped:
                self.run_(outbound.stop(1))
            waiting.callback(0)
            self.successResultOf(starting)
            self.assertEqual(calls, [] if stopped else ["start"])
            self.run_(outbound.stop(1))

    def test_stop(self) -> None:
        """
        What is on its way has its time, by the records of the relay, which are closed when it has
        ended, whatever it ended with.
        """
        for fails in (False, True):
            outbound = self.make("relay.enabled = true")
            self.run_(outbound.start())
            order: list[object] = []
            going: Deferred[None] = Deferred()
            stopRunner = outbound.runner.stop

            async def stop(
                patience: float,
                order: list[object] = order,
                going: Deferred[None] = going,
                stopRunner: Any = stopRunner,
            ) -> None:
                order.append(patience)
                await stopRunner(0)
                await going

            outbound.runner.stop = stop  # type: ignore[assignment,method-assign]
            security = outbound._security
            assert security is not None
            close = security.close

            def closing(order: list[object] = order, close: Any = close) -> None:
                order.append("closed")
                close()

            security.close = closing  # type: ignore[method-assign]
            stopping = Deferred.fromCoroutine(outbound.stop(7.5))
            self.assertEqual(order, [7.5])
            if fails:
                going.errback(ValueError("for once"))
                self.reactor.turn(lambda stopping=stopping: bool(stopping.called))  # type: ignore
                self.failureResultOf(stopping).trap(ValueError)
            else:
                going.callback(None)
                self.reactor.turn(lambda stopping=stopping: bool(stopping.called))  # type: ignore
                self.successResultOf(stopping)
            self.assertEqual(order, [7.5, "closed"])

    def test_again(self) -> None:
        """What was stopped can be started again, and stopped twice."""
        outbound = self.make("relay.enabled = true")
        for _ in range(2):
            self.run_(outbound.start())
            self.run_(outbound.stop(1))
        self.run_(outbound.stop(1))


class ServiceTests(ServiceTestCase):
    """
    In the whole server.
    """

    def envelope(self, authenticated: Address | None) -> Envelope:
        """
        @return: alice's.
        """
        info = ConnectionInfo("192.0.2.1", 50000, "submission")
        return Envelope(info, "client.test", ALICE, authenticated, {}, "Q1")

    def taken(self, text: str, authenticated: Address | None) -> str:
        """
        @return: what is said to mail for another domain; empty if it is taken.
        """
        service = self.start(self.make(text=text))
        self.reactor.turn(lambda: bool(self.shown))
        adding = Deferred.fromCoroutine(_wait(service.store.directory.addDomain("example.test")))
        self.reactor.turn(lambda: bool(adding.called))
        self.successResultOf(adding)
        delivery = service._target.begin(self.envelope(authenticated))
        done = Deferred.fromCoroutine(
            _wait(delivery.addRecipient(Recipient(Address.parse("x@far.test"), {})))
        )
        delivery.abort()
        if isinstance(done.result, type(None)):
            return ""
        error: Any = self.failureResultOf(done).value
        return f"{error.smtpCode} {error.enhancedStatus}"

    def test_off(self) -> None:
        """Mail for other domains is refused, from users too (RFC 5321 §3.6.2)."""
        self.assertEqual(self.taken("", ALICE), "550 5.7.1")

    def test_on(self) -> None:
        """A user's is taken where relaying is on."""
        self.assertEqual(self.taken("relay.enabled = true", ALICE), "")

    def test_onForUsersOnly(self) -> None:
        """A stranger's isn't, whatever is switched on."""
        self.assertEqual(self.taken("relay.enabled = true", None), "550 5.7.1")

    def test_private(self) -> None:
        """What the relay keeps is for the server's user alone."""
        service = self.start(self.make(text="relay.enabled = true"))
        self.reactor.turn(lambda: bool(self.shown))
        found = {path.name for path in self.data.iterdir() if path.stat().st_mode & 0o077}
        self.assertEqual({name for name in found if not name.endswith(".pem")}, set())
        self.assertTrue((self.data / RECORDS_FILE).exists())
        self.stop(service)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_records(self) -> None:
        """A file of the relay's that can't be used is named when the server starts."""
        self.data.mkdir(mode=0o700)
        (self.data / RECORDS_FILE).write_bytes(b"no database at all\n" * 100)
        service = self.make(text="relay.enabled = true")
        service.privilegedStartService()
        said = self.reason(service.startService)
        self.assertIn(str(self.data / RECORDS_FILE), said)
        self.assertIn("delete it", said)
        self.stop(service)
        # Without relaying nobody needs it.
        self.start(self.make())

    def test_stampUnwritable(self) -> None:
        """So is one that can't be written."""
        self.data.mkdir(mode=0o700)
        (self.data / ROUTES_FILE).mkdir()
        service = self.make(text="relay.enabled = true")
        service.privilegedStartService()
        said = self.reason(service.startService)
        self.assertIn(f"{self.data / ROUTES_FILE}: ", said)
        self.stop(service)

    def test_noPassword(self) -> None:
        """A route whose password is missing is told before a port is bound."""
        text = 'relay.smarthost = "smtps://u@hub.test"'
        said = self.reason(lambda: self.make(text=text))
        self.assertIn("relay.passwords is for a line that begins with u@hub.test", said)
        self.assertEqual(self.reactor.tcpServers, [])


async def _wait(awaitable: Any) -> Any:
    return await awaitable
