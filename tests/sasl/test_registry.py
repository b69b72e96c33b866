"""
Which mechanisms there are, and which may be used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import twisted_mailstack.sasl
from twisted_mailstack.interfaces import (
    IClientMechanism,
    ISASLClientExchange,
    ISASLExchange,
    IServerMechanism,
)
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.registry import CLIENT_MECHANISMS, MECHANISMS, offered, usable

PLAINTEXT = ConnectionInfo("192.0.2.1", 50000, "pop3")
SECURE = PLAINTEXT._replace(secure=True)


@implementer(IServerMechanism)
class Safe:
    """A mechanism that doesn't show the password."""

    name = b"SAFE"
    needsTLS = False

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        raise NotImplementedError


@implementer(IClientMechanism)
class SafeClient:
    """Its client's half."""

    name = b"SAFE"
    needsTLS = False

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        raise NotImplementedError


class RegistryTests(SynchronousTestCase):
    """
    L{MECHANISMS} and L{offered}.
    """

    def test_files(self) -> None:
        """Each file with a mechanism has its line, each name is there once."""
        for interface, table in (
            ("IServerMechanism", MECHANISMS),
            ("IClientMechanism", CLIENT_MECHANISMS),
        ):
            found = set()
            for path in Path(twisted_mailstack.sasl.__file__).parent.glob("*.py"):
                if f"@implementer({interface})" in path.read_text("utf-8"):
                    found.add(f"twisted_mailstack.sasl.{path.stem}")
            self.assertEqual({type(each).__module__ for each in table}, found)
            self.assertEqual(len({each.name for each in table}), len(table))

    def test_secure(self) -> None:
        """Under TLS all are offered, the preferred one first."""
        self.assertEqual(list(offered(MECHANISMS, SECURE, False)), [b"PLAIN", b"LOGIN"])

    def test_plaintext(self) -> None:
        """Without TLS only those that don't show the password, unless that is allowed."""
        safe = Safe()
        mechanisms = (*MECHANISMS, safe)
        self.assertEqual(offered(mechanisms, PLAINTEXT, False), {b"SAFE": safe})
        self.assertEqual(len(offered(mechanisms, PLAINTEXT, True)), len(mechanisms))

    def test_none(self) -> None:
        """There may be none."""
        self.assertEqual(offered(MECHANISMS, PLAINTEXT, False), {})
        self.assertEqual(offered((), SECURE, True), {})

    def test_usable(self) -> None:
        """A client uses what the server offers, the best first, as far as the connection allows."""
        safe = SafeClient()
        mechanisms = (*CLIENT_MECHANISMS, safe)

        def names(*arguments: Any) -> list[bytes]:
            return [each.name for each in usable(mechanisms, *arguments)]

        self.assertEqual(names({b"LOGIN", b"PLAIN", b"X"}, SECURE, False), [b"PLAIN", b"LOGIN"])
        self.assertEqual(names({b"LOGIN"}, SECURE, False), [b"LOGIN"])
        self.assertEqual(names({b"PLAIN", b"SAFE"}, PLAINTEXT, False), [b"SAFE"])
        self.assertEqual(names({b"PLAIN", b"SAFE"}, PLAINTEXT, True), [b"PLAIN", b"SAFE"])
        self.assertEqual(names(set(), SECURE, True), [])
