"""
The command line of C{twistd mailstack}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_mailstack.config import SERVICES
from twisted_mailstack.service import MailService, announce
from twisted_mailstack.tap import Options, makeService


class OptionsTests(SynchronousTestCase):
    """
    What can be said there.
    """

    def parse(self, *arguments: str) -> Options:
        """
        @return: the options, parsed.
        """
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def problem(self, *arguments: str) -> str:
        """
        @return: what a person is told who says that.
        """
        return str(self.assertRaises(UsageError, self.parse, *arguments))

    def test_nothing(self) -> None:
        """Without options: every service at its default, data in mailstack-data."""
        configuration = self.parse().configuration
        self.assertEqual(configuration.data, "mailstack-data")
        self.assertEqual(
            configuration.endpoints(),
            {name: each[2] for name, each in SERVICES.items() if name != "lmtp"},
        )

    def test_all(self) -> None:
        """Long and short forms; --listen replaces that service's default and no other."""
        path = Path(self.mktemp())
        path.write_text('hostname = "mx.example.org"\ndata = "there"\n')
        for arguments in (
            ["--config", str(path), "--data", "here", "--listen", "smtp=tcp:25"],
            ["-c", str(path), "-d", "here", "-l", "smtp=tcp:25"],
        ):
            configuration = self.parse(*arguments, "--listen", "pop3=off").configuration
            self.assertEqual(configuration.hostname, "mx.example.org")
            self.assertEqual(configuration.data, "here")
            endpoints = configuration.endpoints()
            self.assertEqual(endpoints["smtp"], "tcp:25")
            self.assertNotIn("pop3", endpoints)
            self.assertEqual(endpoints["imap"], SERVICES["imap"][2])

    def test_endpointWithEquals(self) -> None:
        """An endpoint may have an equals sign of its own."""
        endpoints = self.parse("--listen", "imap=tcp:143:interface=10.0.0.1").configuration
        self.assertEqual(endpoints.endpoints()["imap"], "tcp:143:interface=10.0.0.1")

    def test_listenMalformed(self) -> None:
        """Without a name or an endpoint, the form is shown."""
        for value in ("smtp", "smtp=", "25"):
            said = self.problem("--listen", value)
            self.assertIn(f"--listen {value}: NAME=ENDPOINT is wanted", said)
        self.assertIn("there is no service ", self.problem("--listen", "=tcp:25"))

    def test_listenTwice(self) -> None:
        """One service listens once."""
        said = self.problem("--listen", "smtp=tcp:25", "--listen", "smtp=tcp:26")
        self.assertEqual(said, "--listen smtp is given twice")

    def test_unknownService(self) -> None:
        """A service that there isn't names the nearest, and all."""
        said = self.problem("--listen", "impas=tcp:993")
        self.assertIn("there is no service impas; did you mean imaps?", said)
        self.assertIn("submissions, lmtp, pop3", said)

    def test_allOff(self) -> None:
        """A server that listens nowhere is a mistake."""
        arguments = [word for name in SERVICES for word in ("--listen", f"{name}=off")]
        self.assertIn("nothing is to listen", self.problem(*arguments))

    def test_configuration(self) -> None:
        """What is wrong with the file is said with its name."""
        path = Path(self.mktemp())
        self.assertEqual(self.problem("--config", str(path)), f"{path}: No such file or directory")
        path.write_text("[smtp]\nmax-recipents = 500\n")
        self.assertEqual(
            self.problem("--config", str(path)),
            f"{path}: there is no key smtp.max-recipents; did you mean smtp.max-recipients?",
        )

    def test_unknownOption(self) -> None:
        """An unknown option, or an argument, is refused."""
        self.assertRaises(UsageError, self.parse, "--what")
        self.assertRaises(UsageError, self.parse, "word")

    def test_help(self) -> None:
        """--help tells of each option."""
        text = str(Options())
        for word in ("--config", "--data", "--listen", "NAME=ENDPOINT", "mailstack-data"):
            self.assertIn(word, text)


class MakeServiceTests(SynchronousTestCase):
    """
    The service that twistd gets.
    """

    def make(self, parent: dict[str, Any] | None) -> MailService:
        """
        @return: the service for options below those of twistd.
        """
        options = Options()
        options.parent = parent  # type: ignore[assignment]
        options.parseOptions(["--data", self.mktemp()])
        made = makeService(options)
        self.assertIsInstance(made, MailService)
        assert isinstance(made, MailService)
        return made

    def test_service(self) -> None:
        """It is a service with what the options say, and nothing was opened yet."""
        made = self.make({"nodaemon": True})
        verifyObject(IService, made)
        self.assertFalse(Path(made.configuration.data).exists())

    def test_attended(self) -> None:
        """A password is shown only where twistd stays on the terminal."""
        self.assertIs(self.make({"nodaemon": True})._announce, announce)
        self.assertIs(self.make({"nodaemon": 0})._announce, None)
        self.assertIs(self.make(None)._announce, None)
