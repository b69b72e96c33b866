"""
NAMESPACE (RFC 2342): C{twisted_mailstack.imap.extensions.namespace}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer_only

from tests.imap.support import Server
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.storage.memory import MemoryMailStore


class NamespaceTests(SynchronousTestCase):
    """
    Where mailboxes are.
    """

    def test_example(self) -> None:
        """Example 5.4: all three kinds, one of each; valid when logged in (§4)."""
        server = Server()
        for client in (server.login(), server.select()):
            client.check(
                """
                C: A001 NAMESPACE
                S: * NAMESPACE (("" "/")) (("Other Users/" "/")) (("Shared/" "/"))
                S: A001 OK NAMESPACE completed
                """
            )

    def test_alone(self) -> None:
        """Example 5.1: where accounts can't share, there is one's own namespace alone."""

        @implementer_only(IMailStore)
        class Alone(MemoryMailStore):
            """A store that can't share."""

        server = Server(store=Alone())
        for client in (server.login(), server.select()):
            client.check(
                """
                C: A001 NAMESPACE
                S: * NAMESPACE (("" "/")) NIL NIL
                S: A001 OK NAMESPACE completed
                """
            )

    def test_prefix(self) -> None:
        """What it says holds: prefix and delimiter make names that can be used."""
        Server().login().check(
            r"""
            C: a CREATE "Delete Items"
            S: a OK [MAILBOXID (M1-7)] CREATE completed
            C: b LIST "" "Del%"
            S: * LIST (\HasNoChildren) "/" "Delete Items"
            S: b OK LIST completed
            """
        )
