"""
docs/relaying.rst: its configuration is taken, and its programs run.
"""

from __future__ import annotations

import contextlib
import io
import os
import tomllib
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred

from tests.docs import DOCS
from tests.docs.console import blocks
from tests.net.internet import InternetTestCase
from tests.relay.server import Server
from tests.relay.support import DNS, message
from twisted_mailstack.config import Configuration, load
from twisted_mailstack.net import dns as net
from twisted_mailstack.relay.records import RelayRecords
from twisted_mailstack.relay.routes import RouteProblem, parseRoute
from twisted_mailstack.relay.tlsrpt import SUCCESS, ReportedPolicy, Session
from twisted_mailstack.smtp.clientsession import BytesContent

PAGE = DOCS / "relaying.rst"


class PageTests(InternetTestCase):
    """
    The page.
    """

    def setUp(self) -> None:
        """A directory to work in, and a DNS."""
        super().setUp()
        directory = Path(self.mktemp())
        (directory / "mailstack-data").mkdir(parents=True)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)
        self.dns = DNS()
        self.dns.mx("example.org", (10, "mx.example.org"))
        self.dns.host("mx.example.org", "198.51.100.1", "2001:db8::1")

    def load(self, text: str) -> Configuration:
        """
        @return: the configuration of a block.
        """
        Path("relay-passwords").write_text(
            "example@mail.provider.example secret\nnews@bulk.provider.example secret\n"
        )
        path = Path("mailstack.toml")
        path.write_text(text.replace("/etc/mailstack/", f"{Path.cwd()}/"))
        return load(str(path))

    def test_configuration(self) -> None:
        """Each block of configuration is taken."""
        found = blocks(PAGE, "toml")
        self.assertEqual(len(found), 2)
        for text in found:
            self.assertTrue(self.load(text).relay)

    def test_routes(self) -> None:
        """Each route of the page is one, as it is in the table and in the configuration."""
        table = [
            line.partition("``")[2].partition("``")[0]
            for line in PAGE.read_text("utf-8").splitlines()
            if line.startswith(("``mx``", "``smtp", "``lmtp"))
        ]
        self.assertEqual(len(table), 6)
        relay = tomllib.loads(blocks(PAGE, "toml")[1])["relay"]
        routes = [relay["smarthost"], *relay["routes"].values(), *relay["sender-routes"].values()]
        for text in table + routes:
            parseRoute(text, "secret" if "@" in text else "")
        self.assertRaises(RouteProblem, parseRoute, "smtp://user:secret@host")

    def program(self, number: int, names: dict[str, Any]) -> str:
        """
        Run a program of the page.

        @return: what it prints.
        """
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(blocks(PAGE, "python")[number], str(PAGE), "exec"), names)
        return printed.getvalue()

    def test_counters(self) -> None:
        """The counters are shown by day."""
        records = RelayRecords(Path("mailstack-data/relay.sqlite"))
        policy = ReportedPolicy("no-policy-found", "example.org")
        records.addSessions({Session("2026-10-31", "example.org", policy, SUCCESS): 7}, "")
        records.close()
        names: dict[str, Any] = {}
        printed = self.program(0, names)
        names["records"].close()
        self.assertIn("2026-10-31 {", printed)
        self.assertIn('"total-successful-session-count": 7', printed)

    def test_parts(self) -> None:
        """The hosts of a domain are explained, and a message is sent."""
        self.patch(net, "resolverQuery", lambda reactor: None)
        self.patch(net, "CachedLookup", lambda query, reactor: self.dns)
        names: dict[str, Any] = {"Path": Path}
        self.program(1, names)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            ensureDeferred(names["explain"]("example.org"))
            self.dns.mx("none.test", (0, ""))
            ensureDeferred(names["explain"]("none.test"))
        lines = printed.getvalue().splitlines()
        self.assertEqual(lines[0], "not signed")
        self.assertEqual(
            sorted(lines[1].split()), ["198.51.100.1", "2001:db8::1", "mx.example.org"]
        )
        self.assertEqual(lines[2], "5.1.10 The domain none.test takes no mail")
        server = Server()
        self.internet.servers["198.51.100.1", 25] = server
        names["reactor"] = self.internet
        self.program(2, names)
        sent = message("bob@example.org")
        with contextlib.redirect_stdout(printed):
            self.result(names["send"](sent, BytesContent(b"Subject: hello\r\n\r\n")))
        self.assertEqual(len(server.messages), 1)
        self.assertIn("said: 250 2.0.0 Taken", printed.getvalue())
        names["security"].close()
        self.assertIdle()
