"""
The system's accounts. What a real PAM says: tests/interop/test_directories.py.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from zope.interface.verify import verifyObject

from tests.auth.checkers.support import ALICE, SourceTestCase
from twisted_mailstack.auth.checkers.pam import PAMSettings, PAMSource
from twisted_mailstack.auth.checkers.source import SourceProblem
from twisted_mailstack.interfaces import IPasswordSource
from twisted_mailstack.model.address import Address


class PAMTests(SourceTestCase):
    """
    L{PAMSource} with a library that isn't one.
    """

    def setUp(self) -> None:
        """A library that answers with a code."""
        super().setUp()
        self.watchLog()
        self.asked: list[tuple[Any, ...]] = []
        self.code = 0
        test = self

        class Authenticator:
            reason = "because"

            def authenticate(self, *arguments: Any, resetcreds: bool) -> bool:
                assert not resetcreds
                test.asked.append(arguments)
                self.code = test.code
                return self.code == 0

        module: Any = ModuleType("pam")
        module.PamAuthenticator = Authenticator
        self.patch(sys, "modules", {**sys.modules, "pam": module})
        self.source = self.make(domain="Example.Test")

    def make(self, **more: Any) -> PAMSource:
        """
        @return: a source.
        """
        source = PAMSource(PAMSettings(**more), self.services)
        self.run_(source.start())
        return source

    def test_interface(self) -> None:
        """It is a source of passwords."""
        verifyObject(IPasswordSource, self.source)
        self.run_(self.source.stop())

    def test_right(self) -> None:
        """PAM is asked about the local-part, or the address."""
        self.assertIs(self.ask(self.source, ALICE, b"s\xff"), True)
        source = self.make(username="address", service="imap")
        self.assertIs(self.ask(source, ALICE, "secret"), True)
        self.assertEqual(
            self.asked,
            [("alice", b"s\xff", "mailstack"), ("alice@example.test", b"secret", "imap")],
        )

    def test_otherDomain(self) -> None:
        """The machine's users are of one domain; nobody else is asked about."""
        self.assertIs(self.ask(self.source, Address("alice", "other.test"), "secret"), False)
        self.assertEqual(self.asked, [])

    def test_codes(self) -> None:
        """
        Wrong, unknown, expired and the like are no; what PAM couldn't do (SYSTEM_ERR,
        AUTHINFO_UNAVAIL, ABORT) is no answer.
        """
        for self.code in (6, 7, 8, 10, 11, 12, 13, 27):
            self.assertIs(self.ask(self.source, ALICE, "wrong"), False, self.code)
        for self.code in (1, 3, 4, 5, 9, 19, 26, 28):
            self.assertIsNone(self.ask(self.source, ALICE, "secret"), self.code)
        self.assertIn("ValueError: because (1)", self.logged()[0])

    def test_settings(self) -> None:
        """What can't be used is told when it is read."""
        for more in (
            {},
            {"domain": "a.test", "service": "../shadow"},
            {"domain": "a.test", "service": ""},
            {"domain": "a.test", "username": "uid"},
        ):
            self.assertRaises(SourceProblem, PAMSettings, **more)

    def test_missing(self) -> None:
        """Without the library it says what to install."""
        self.patch(sys, "modules", {**sys.modules, "pam": None})
        problem = self.assertRaises(SourceProblem, self.make, domain="a.test")
        self.assertIn("twisted_mailstack[pam]", str(problem))
