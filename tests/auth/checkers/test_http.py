"""
A web server that is asked about passwords.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from tests.auth.checkers.support import ALICE, SourceTestCase
from twisted_mailstack.auth.checkers.http import HTTPSettings, HTTPSource
from twisted_mailstack.auth.checkers.source import SourceProblem, SourceUnavailable
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IPasswordSource

URL = "https://www.example.test/check"


class HTTPTests(SourceTestCase):
    """
    L{HTTPSource}.
    """

    def setUp(self) -> None:
        """A source."""
        super().setUp()
        self.watchLog()
        self.source = self.make()

    def make(self, **more: Any) -> HTTPSource:
        """
        @return: a source.
        """
        return HTTPSource(HTTPSettings(url=URL, **more), self.services)

    def answer(self, *answers: Any) -> Any:
        """
        @return: what it makes of an answer.
        """
        self.web.answers = list(answers)
        return self.ask(self.source, ALICE, "p\u00e4ss")

    def test_interface(self) -> None:
        """It is a source of passwords."""
        verifyObject(IPasswordSource, self.source)
        self.run_(self.source.start())
        self.run_(self.source.stop())
        self.assertTrue(self.web.closed)

    def test_request(self) -> None:
        """A POST with JSON: the address, its parts and the password."""
        self.assertIs(self.answer((204, b"")), True)
        ((method, url, headers, body),) = self.web.requests
        self.assertEqual((method, url), ("POST", URL))
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertNotIn("Authorization", headers)
        self.assertEqual(
            json.loads(body),
            {
                "address": "alice@example.test",
                "name": "alice",
                "domain": "example.test",
                "password": "p\u00e4ss",
            },
        )

    def test_token(self) -> None:
        """The token of the file is sent along."""
        path = Path(self.mktemp())
        path.write_text("abc\n")
        self.source = self.make(tokenFile=str(path))
        self.answer((204, b""))
        self.assertEqual(self.web.requests[0][2]["Authorization"], "Bearer abc")
        path.write_text("\n")
        self.assertRaises(SourceProblem, self.make, tokenFile=str(path))
        self.assertRaises(SourceProblem, self.make, tokenFile=self.mktemp())

    def test_answers(self) -> None:
        """Yes, no, and what says neither."""
        for status, body, expected in (
            (204, b"", True),
            (200, b'{"valid": true, "more": 1}', True),
            (200, b'{"valid": false}', False),
            (401, b"", False),
            (403, b'{"valid": true}', False),
            (200, b"", None),
            (200, b"<html>Welcome</html>", None),
            (200, b"true", None),
            (200, b"{}", None),
            (200, b'{"valid": "false"}', None),
            (200, b'{"valid": 1}', None),
            (200, b"[" * 100_000, None),
            (201, b'{"valid": true}', None),
            (302, b"", None),
            (404, b"", None),
            (429, b"", None),
            (500, b'{"valid": true}', None),
        ):
            self.assertIs(self.answer((status, body)), expected, (status, body))

    def test_down(self) -> None:
        """No answer, or none in time, is no answer."""
        self.assertIsNone(self.answer(TemporaryFailure()))
        waiting: Deferred[Any] = Deferred()
        self.web.answers = [waiting]
        result = self.begin(self.source.verify(ALICE, b"secret"))
        self.clock.advance(10)
        self.failureResultOf(result, SourceUnavailable)

    def test_notUTF8(self) -> None:
        """A password that isn't UTF-8 can't be right; it is asked about all the same."""
        self.web.answers = [(204, b"")]
        self.assertIs(self.ask(self.source, ALICE, b"\xff"), False)
        self.assertEqual(len(self.web.requests), 1)

    def test_settings(self) -> None:
        """Passwords are sent to this machine, or by https."""
        for url in ("http://localhost:8080/x", "http://[::1]/", "https://a.test"):
            HTTPSettings(url=url)
        for url in (
            "",
            "check",
            "ftp://a.test",
            "http://a.test/",
            "https://",
            "https://u:p@a.test/",
            "https://a.test:x/",
            "https://\u00e4.test/",
        ):
            self.assertRaises(SourceProblem, HTTPSettings, url=url)
