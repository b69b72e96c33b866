"""
A directory service that is asked to bind. What a real one says: tests/interop/test_directories.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from zope.interface.verify import verifyObject

from tests.auth.checkers.support import ALICE, NOBODY, SourceTestCase
from twisted_mailstack.auth.checkers.ldap import (
    LDAPSettings,
    LDAPSource,
    escapeDN,
    escapeFilter,
    fill,
)
from twisted_mailstack.auth.checkers.source import SourceProblem
from twisted_mailstack.interfaces import IPasswordSource
from twisted_mailstack.model.address import Address

DN = "uid={name},dc=example,dc=test"


class LDAPError(Exception):
    """As bonsai's."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code}")
        self.code = code


class LDAPTests(SourceTestCase):
    """
    L{LDAPSource} with a library that isn't one.

    @ivar binds: as whom somebody wanted to bind, and with which password.
    """

    def setUp(self) -> None:
        """A directory in which everybody's password is C{secret}."""
        super().setUp()
        self.watchLog()
        self.binds: list[tuple[str, str]] = []
        self.searches: list[tuple[Any, ...]] = []
        self.entries = ["uid=alice,dc=example,dc=test"]
        self.passwords = {"uid=alice,dc=example,dc=test": "secret", "cn=mail": "ours", "": ""}
        self.code = 49
        test = self

        class Client:
            def __init__(self, url: str, tls: bool) -> None:
                self.options: dict[str, Any] = {"tls": tls}
                self.who = "", ""
                test.clients.append(self)

            def __getattr__(self, name: str) -> Any:
                return lambda value: self.options.__setitem__(name, value)

            def set_credentials(self, mechanism: str, user: str, password: str) -> None:
                self.who = user, password

            def connect(self, timeout: float) -> Client:
                test.binds.append(self.who)
                if test.passwords.get(self.who[0]) != self.who[1]:
                    raise LDAPError(test.code)
                return self

            def close(self) -> None:
                pass

            def __enter__(self) -> Client:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def search(self, *arguments: Any, timeout: float) -> list[Any]:
                test.searches.append(arguments)
                return [SimpleNamespace(dn=each) for each in test.entries]

        self.clients: list[Client] = []
        module: Any = ModuleType("bonsai")
        module.LDAPClient = Client
        module.LDAPError = LDAPError
        module.LDAPSearchScope = SimpleNamespace(SUBTREE=2)
        self.patch(sys, "modules", {**sys.modules, "bonsai": module})

    def make(self, **more: Any) -> LDAPSource:
        """
        @return: a source.
        """
        source = LDAPSource(LDAPSettings(url="ldaps://ldap.test", **more), self.services)
        self.run_(source.start())
        return source

    def searching(self) -> LDAPSource:
        """
        @return: one that searches.
        """
        path = Path(self.mktemp())
        path.write_text("ours\n")
        return self.make(base="dc=test", bindDN="cn=mail", bindPasswordFile=str(path))

    def test_interface(self) -> None:
        """It is a source of passwords."""
        source = self.make(dn=DN)
        verifyObject(IPasswordSource, source)
        self.run_(source.stop())

    def test_template(self) -> None:
        """Who can bind as the DN of the template has the right password."""
        source = self.make(dn=DN)
        self.assertIs(self.ask(source, ALICE, "secret"), True)
        self.assertIs(self.ask(source, ALICE, "wrong"), False)
        self.assertIs(self.ask(source, NOBODY, "secret"), False)
        self.assertEqual(self.searches, [])
        self.assertEqual(self.clients[0].options["set_cert_policy"], "demand")

    def test_search(self) -> None:
        """The entry is searched for as the server, the password tried as the entry."""
        source = self.searching()
        self.assertIs(self.ask(source, ALICE, "secret"), True)
        self.assertEqual(self.binds, [("cn=mail", "ours"), (self.entries[0], "secret")])
        self.assertEqual(self.searches[0][:3], ("dc=test", 2, "(mail=alice@example.test)"))
        self.assertIs(self.ask(source, ALICE, "wrong"), False)

    def test_injection(self) -> None:
        """
        What is in a name is never a filter (RFC 4515 §3) or a part of a DN (RFC 4514 §2.4): nobody
        asks about other entries than the own one.
        """
        self.ask(self.searching(), Address("*)(uid=*\\", "example.test"), "secret")
        self.assertEqual(self.searches[0][2], "(mail=\\2a\\29\\28uid=\\2a\\5c@example.test)")
        self.binds.clear()
        self.ask(self.make(dn=DN), Address("alice,ou=staff+cn=x", "example.test"), "secret")
        ((dn, _),) = self.binds
        self.assertEqual(dn, DN.replace("{name}", "alice\\,ou\\=staff\\+cn\\=x"))

    def test_unknown(self) -> None:
        """Where there is no entry, or there are two, it takes a bind as well, and says no."""
        source = self.searching()
        for entries in ([], ["uid=alice,dc=example,dc=test", "uid=b,dc=test"]):
            self.entries = entries
            self.binds.clear()
            self.assertIs(self.ask(source, ALICE, "secret"), False)
            self.assertEqual(len(self.binds), 2)
        self.assertIn("more than one entry", self.logged()[0])

    def test_ourPassword(self) -> None:
        """That the server itself can't bind says nothing of the user's password."""
        source = self.searching()
        self.passwords["cn=mail"] = "another"
        self.assertIsNone(self.ask(source, ALICE, "secret"))

    def test_codes(self) -> None:
        """What is about the DN or the password is no; busy, unavailable, no TLS no answer."""
        source = self.make(dn=DN)
        for code, expected in ((49, False), (32, False), (48, False), (53, False)):
            self.code = code
            self.assertIs(self.ask(source, ALICE, "wrong"), expected, code)
        for code in (1, 2, 13, 51, 52, 80, -1, -11):
            self.code = code
            self.assertIsNone(self.ask(source, ALICE, "wrong"), code)

    def test_prepared(self) -> None:
        """Passwords are prepared by SASLprep (RFC 4511 §4.2); what can't be is nobody's."""
        source = self.make(dn=DN)
        self.passwords[self.entries[0]] = "p\u00e4ss"
        self.assertIs(self.ask(source, ALICE, "pa\u0308ss"), True)
        self.assertIs(self.ask(source, ALICE, b"\xff"), False)

    def test_slow(self) -> None:
        """No answer in time is no answer."""
        source = self.make(dn=DN)
        self.threads.held = []
        result = self.begin(source.verify(ALICE, b"secret"))
        self.clock.advance(10)
        self.failureResultOf(result)

    def test_settings(self) -> None:
        """What can't be used is told when it is read."""
        good: dict[str, Any] = {"url": "ldaps://a.test", "dn": DN}
        usable: tuple[dict[str, Any], ...] = (
            {},
            {"url": "ldap://a.test", "startTLS": True},
            {"url": "ldap://127.0.0.1:389"},
            {"url": "ldapi://%2Frun%2Fldapi"},
            {"dn": "", "base": "dc=test"},
        )
        for more in usable:
            LDAPSettings(**{**good, **more})
        for more in (
            {"url": ""},
            {"url": "a.test"},
            {"url": "ldap://a.test"},
            {"startTLS": True},
            {"dn": ""},
            {"base": "dc=test"},
            {"dn": "cn=mail"},
            {"dn": "cn={user}"},
            {"dn": "", "base": "dc=test", "filter": ""},
            {"dn": "", "base": "dc=test", "filter": "(mail=*)"},
            {"bindDN": "cn=mail"},
            {"bindPasswordFile": "x"},
        ):
            self.assertRaises(SourceProblem, LDAPSettings, **{**good, **more})
        empty = Path(self.mktemp())
        empty.write_text("\n")
        self.assertRaises(
            SourceProblem, self.make, base="dc=t", bindDN="cn=m", bindPasswordFile=str(empty)
        )
        self.assertRaises(SourceProblem, self.make, dn=DN, caFile="/no/such/file")

    def test_missing(self) -> None:
        """Without the library it says what to install."""
        self.patch(sys, "modules", {**sys.modules, "bonsai": None})
        problem = self.assertRaises(SourceProblem, self.make, dn=DN)
        self.assertIn("twisted_mailstack[ldap]", str(problem))


class EscapeTests(SourceTestCase):
    """
    Names in DNs and filters.
    """

    def test_filter(self) -> None:
        """RFC 4515 §3 and its examples (§4): nothing of a name is part of the filter."""
        for value, escaped in (
            (
                "Parens R Us (for all your parenthetical needs)",
                "Parens R Us \\28for all your parenthetical needs\\29",
            ),
            ("*", "\\2a"),
            ("C:\\MyFile", "C:\\5cMyFile"),
            ("\0", "\\00"),
            ("Lu\u010di\u0107", "Lu\u010di\u0107"),
        ):
            self.assertEqual(escapeFilter(value), escaped)

    def test_dn(self) -> None:
        """RFC 4514 §2.4 and its examples (§4)."""
        for value, escaped in (
            ('James "Jim" Smith, III', 'James \\"Jim\\" Smith\\, III'),
            ("#04", "\\#04"),
            (" a ", "\\ a\\ "),
            (" ", "\\ "),
            ("a+b;c<d>e=f\\g\0", "a\\+b\\;c\\<d\\>e\\=f\\\\g\\00"),
            ("Lu\u010di\u0107", "Lu\u010di\u0107"),
        ):
            self.assertEqual(escapeDN(value), escaped)

    def test_fill(self) -> None:
        """What is filled in isn't looked at again."""
        address = Address("{domain}", "a.test")
        self.assertEqual(
            fill("{name}@{domain}|{address}", address, str), "{domain}@a.test|{domain}@a.test"
        )
