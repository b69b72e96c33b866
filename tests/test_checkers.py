"""
Checkers from the configuration, and a whole server with each of them that can be had here.
"""

from __future__ import annotations

import sqlite3
from dataclasses import MISSING, fields
from pathlib import Path
from threading import Event
from typing import Any

from twisted.internet import reactor as running
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.test_config import KEYS
from tests.test_service import ServiceTestCase
from twisted_mailstack import checkers
from twisted_mailstack.auth.checkers.chain import CheckerChain
from twisted_mailstack.auth.checkers.registry import SOURCES
from twisted_mailstack.auth.checkers.source import SourceUnavailable
from twisted_mailstack.checkers import SETTINGS, Checkers, examine
from twisted_mailstack.config import Configuration, ConfigurationProblem, load
from twisted_mailstack.model.address import Address
from twisted_mailstack.net.tls import selfSigned
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.service import CannotStart, MailService
from twisted_mailstack.storage.memory import MemoryMailStore

reactor: Any = running
ALICE = Address("alice", "example.test")


class SettingsTests(SynchronousTestCase):
    """
    Keys and settings.
    """

    def load(self, text: str) -> Configuration:
        """
        @return: what a file with that text says.
        """
        path = self.mktemp()
        Path(path).write_text(text)
        return load(path)

    def test_everySetting(self) -> None:
        """Each setting of each source has its key, in the section of its name, and no other."""
        for record in SOURCES:
            settings: Any = record.settings
            keys = SETTINGS[record.name]
            self.assertEqual(sorted(keys.values()), sorted(each.name for each in fields(settings)))
            for key in keys:
                self.assertTrue(key.startswith(f"checker-{record.name}."), key)
                self.assertIn(key, KEYS)
        self.assertEqual(set(SETTINGS), {record.name for record in SOURCES})

    def test_defaults(self) -> None:
        """What a setting is without its key is what the source has as its default."""
        values = Configuration().values
        for record in SOURCES:
            settings: Any = record.settings
            for each in fields(settings):
                (key,) = (k for k, name in SETTINGS[record.name].items() if name == each.name)
                factory: Any = each.default_factory
                wanted = factory() if each.default is MISSING else each.default
                self.assertEqual(values[key], wanted, key)

    def test_mistakes(self) -> None:
        """A mistake is told with its key when the file is read."""
        for text, said in (
            ("auth.checkers = []", "auth.checkers must name one"),
            ('auth.checkers = ["fle"]', "there is no fle; did you mean file?"),
            ('auth.checkers = ["accounts", "accounts"]', "accounts is there twice"),
            ('auth.checkers = ["file"]', "checker-file.path must name"),
            ('auth.checkers = ["http"]', "checker-http.url must be one"),
            ('auth.checkers = ["pam"]', "checker-pam.domain must say"),
            ('auth.checkers = ["ldap"]', "checker-ldap.url must be one"),
            ('auth.checkers = ["command"]', "checker-command.command must name"),
            ('auth.checkers = ["sql"]', "checker-sql.query must be"),
            ('checker-pam.domain = "a b"', "checker-pam.domain: a b: "),
        ):
            problem = self.assertRaises(ConfigurationProblem, self.load, text)
            self.assertIn(said, str(problem))

    def test_examine(self) -> None:
        """mailstack check names what is missing, and lines that can't be used."""
        path = Path(self.mktemp())
        path.write_text("alice@example.test:{PLAIN}x\nbob\n")
        text = (
            'auth.checkers = ["accounts", "file", "command", "http"]\n'
            f'checker-file.path = "{path}"\n'
            'checker-command.command = ["/no/such/program"]\n'
            'checker-http.url = "https://a.test/"\n'
            'checker-http.ca-file = "/no/such/file"\n'
        )
        found = examine(self.load(text).values)
        self.assertEqual(
            found,
            [
                f"{path}: line 2: there is no colon",
                "checker-command.command: /no/such/program is no program that can be run",
                "checker-http.ca-file: [Errno 2] No such file or directory: '/no/such/file'",
            ],
        )
        path.unlink()
        self.assertEqual(examine(self.load(text).values)[0], f"{path}: No such file or directory")


class ServiceCheckersTests(ServiceTestCase):
    """
    What a server makes of it.
    """

    def test_default(self) -> None:
        """Without a word of checkers there is none but that of the accounts."""
        accounts: Any = object()
        made = Checkers(Configuration().values, None, float, accounts, accounts, accounts)
        self.assertIs(made.chain, accounts)

    def test_cannotStart(self) -> None:
        """A server whose checker can't be made says which key is wrong, and doesn't start."""
        configuration = Configuration(
            data=self.mktemp(),
            checkers=("command",),
            checkerCommand=("/no/such/program",),
        )
        problem = self.assertRaises(CannotStart, MailService, configuration, reactor)
        self.assertIn("checker-command.command: /no/such/program", str(problem))

    def test_noFirstAccount(self) -> None:
        """Where the store isn't asked about passwords no first account is made with one."""
        users = Path(self.mktemp())
        users.write_text("")
        text = f'auth.checkers = ["file"]\n[checker-file]\npath = "{users}"\n'
        self.start(self.make(text=text))
        self.reactor.turn(lambda: bool(self.shown))
        self.assertNotIn("A first account", self.shown[0])

    def test_scram(self) -> None:
        """
        Who is known elsewhere isn't offered SCRAM, which the store would have to verify, unless
        that is wanted; without the store's accounts nobody is.
        """
        for names, mechanisms, offered in (
            (("accounts",), None, True),
            (("accounts", "file"), None, False),
            (("accounts", "file"), ("PLAIN", "SCRAM-SHA-256"), True),
            (("file",), ("PLAIN", "SCRAM-SHA-256"), False),
        ):
            more: Any = {} if mechanisms is None else {"mechanisms": mechanisms}
            configuration = Configuration(
                data=self.mktemp(), checkers=names, checkerFilePath="x", **more
            )
            service = MailService(configuration, reactor)
            found = {each.name for each in service._mechanisms.of("imap")}
            self.assertEqual(b"SCRAM-SHA-256" in found, offered, (names, mechanisms))
            self.assertIn(b"PLAIN", found)


class _Check(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.status = 0

    def render_POST(self, request: Any) -> bytes:
        """One password is right."""
        right = b'"password": "secret"' in request.content.read()
        request.setResponseCode(self.status or (204 if right else 401))
        return b""


class RealTests(TestCase):
    """
    Real threads, files, processes and sockets.
    """

    timeout = 30

    async def make(self, name: str, **values: Any) -> None:
        """
        Begin with one checker.
        """
        self.store = MemoryMailStore()
        directory = self.store.directory
        await directory.addDomain("example.test")
        found = Configuration(
            checkers=(name,), createAccounts=True, defaultDomain="example.test", **values
        ).values
        hasher: Any = _Hasher()
        self.checkers = Checkers(found, reactor, reactor.seconds, hasher, directory, object())
        await self.checkers.start()
        self.addCleanup(lambda: ensureDeferred(self.checkers.stop()))

    async def check(self, name: str, password: bytes) -> str:
        """
        @return: C{yes}, or the error's name.
        """
        credentials = PasswordCredentials(name.encode(), password)
        try:
            accountId = await self.checkers.chain.requestAvatarId(credentials)
        except Exception as error:
            return type(error).__name__
        record = await self.store.directory.findAccount(ALICE)
        assert record is not None and record.accountId.encode() == accountId
        return "yes"

    async def verify(self) -> None:
        """The right password, a wrong one, an unknown name; with one that is no text."""
        self.assertIsInstance(self.checkers.chain, CheckerChain)
        self.assertEqual(await self.check("alice", b"secret"), "yes")
        self.assertEqual(await self.check("alice", b"wrong"), "UnauthorizedLogin")
        self.assertEqual(await self.check("alice", b"\xff"), "UnauthorizedLogin")
        self.assertEqual(await self.check("bob", b"secret$"), "UnauthorizedLogin")

    async def test_file(self) -> None:
        """A password file."""
        path = Path(self.mktemp())
        path.write_text("alice:{PLAIN}secret\n")
        await self.make("file", checkerFilePath=str(path))
        await self.verify()
        path.unlink()
        self.assertEqual(await self.check("alice", b"secret"), "SourceUnavailable")

    async def test_sql(self) -> None:
        """A database of SQLite."""
        path = Path(self.mktemp())
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE users (name, hash)")
            database.execute("INSERT INTO users VALUES ('alice', '{PLAIN}secret')")
        database.close()
        await self.make(
            "sql",
            checkerSQLArguments={"database": str(path)},
            checkerSQLQuery="SELECT hash FROM users WHERE name = :name",
        )
        await self.verify()

    async def test_command(self) -> None:
        """A program, which reads what checkpassword reads."""
        path = Path(self.mktemp()).resolve()
        path.write_text(
            "#!/bin/sh\n"
            "question=$(tr '\\000' : <&3)\n"
            'case "$question" in\n'
            "alice@example.test:secret::) exit 0;;\n"
            "*:hang::) exec sleep 60;;\n"
            "*:broken::) exit 111;;\n"
            "esac\n"
            "exit 1\n"
        )
        path.chmod(0o700)
        await self.make("command", checkerCommand=(str(path),), checkerCommandTimeout=2)
        await self.verify()
        for password in (b"broken", b"hang"):
            self.assertEqual(await self.check("alice", password), "SourceUnavailable")
        # The reactor hears of its end a little later.
        await deferLater(reactor, 0.2)

    async def test_checkpassword(self) -> None:
        """On standard input, a program that doesn't read it, too."""
        await self.make("command", checkerCommand=("/bin/true",), checkerCommandDescriptor=0)
        self.assertEqual(await self.check("alice", b"x" * 100_000), "yes")

    async def test_http(self) -> None:
        """A web server."""
        page = _Check()
        port = reactor.listenTCP(0, Site(page), interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}/"
        await self.make("http", checkerHTTPURL=url)
        await self.verify()
        page.status = 500
        self.assertEqual(await self.check("alice", b"secret"), "SourceUnavailable")
        await self.checkers.stop()
        stopped: Deferred[None] = port.stopListening()
        await stopped
        self.assertEqual(await self.check("alice", b"secret"), "SourceUnavailable")

    async def test_https(self) -> None:
        """A web server whose certificate is in the file is believed, and no other."""
        folder = Path(self.mktemp())
        folder.mkdir()
        own, other = selfSigned(folder, "localhost"), Path(self.mktemp())
        context = DefaultOpenSSLContextFactory(str(own.key), str(own.certificate))
        port = reactor.listenSSL(0, Site(_Check()), context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"https://localhost:{port.getHost().port}/"
        await self.make("http", checkerHTTPURL=url, checkerHTTPCAFile=str(own.certificate))
        await self.verify()
        await self.checkers.stop()
        other.mkdir()
        for path in ("", str(selfSigned(other, "localhost").certificate)):
            await self.make("http", checkerHTTPURL=url, checkerHTTPCAFile=path)
            self.assertEqual(await self.check("alice", b"secret"), "SourceUnavailable")
        # The server's ends hear of it a little later.
        await deferLater(reactor, 0.1)

    async def test_hangs(self) -> None:
        """A thread that hangs keeps the server from ending for a moment only."""
        self.patch(checkers, "PATIENCE", 0.1)
        threads = checkers.ReactorThreads(reactor, "test", 1)
        threads.start()
        end = Event()
        self.addCleanup(end.set)
        threads.run(end.wait).addErrback(lambda _: None)
        await threads.stop()
        self.assertFalse(end.is_set())
        self.assertRaises(SourceUnavailable, threads.run, end.wait)
        await threads.stop()


class _Hasher:
    async def verify(self, hashed: str | None, password: bytes, origin: str = "") -> bool:
        """As L{IPasswordHasher}."""
        return hashed == "{PLAIN}" + password.decode("latin-1")
