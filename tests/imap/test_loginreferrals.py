"""
LOGIN-REFERRALS (RFC 2221): C{twisted_mailstack.imap.extensions.loginreferrals}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server

PLAIN = "AUTHENTICATE PLAIN AG1pa2VAZXhhbXBsZS50ZXN0AHNlY3JldA=="
MOVED = "[REFERRAL imap://mike%40example.test;AUTH=*@server2.example.test/]"


class LoginReferralTests(SynchronousTestCase):
    """
    §4.1.
    """

    def setUp(self) -> None:
        """Mike's mailboxes are on another server."""
        self.server = Server(referrals={"mike@example.test": "server2.example.test"})
        self.server.addAccount("mike")
        self.client = self.server.connect()
        self.greeting = self.client.wire.take()

    def test_example(self) -> None:
        """LOGIN and AUTHENTICATE are NO, with a URL; nobody is logged in then."""
        self.client.check(
            f"""
            C: A001 LOGIN MIKE@example.test secret
            S: A001 NO {MOVED} The mailboxes are on another server
            C: A002 {PLAIN}
            S: A002 NO {MOVED} The mailboxes are on another server
            C: A003 SELECT INBOX
            S: A003 BAD Not when not authenticated
            """
        )

    def test_loggedOut(self) -> None:
        """The realm hears that the account isn't used."""
        told: list[str] = []
        login = self.server.portal.realm.requestAvatar

        async def requestAvatar(*arguments: object) -> object:
            interface, avatar, _ = await login(*arguments)
            return interface, avatar, lambda: told.append("out")

        self.patch(
            self.server.portal.realm,
            "requestAvatar",
            lambda *arguments: Deferred.fromCoroutine(requestAvatar(*arguments)),
        )
        self.client.send(b"a LOGIN mike@example.test secret\r\n")
        self.assertEqual(told, ["out"])

    def test_others(self) -> None:
        """Who isn't referred logs in."""
        self.assertRegex(
            self.client.send(b"a LOGIN alice@example.test secret\r\n"), rb"^a OK \[CAPABILITY "
        )

    def test_failed(self) -> None:
        """§6: "MUST NOT give a login referral if authentication for that user fails"."""
        self.client.send(b"a LOGIN mike@example.test wrong\r\n")
        self.client.clock.advance(60)
        answer = self.client.wire.take()
        self.assertRegex(answer, rb"^a NO \[AUTHENTICATIONFAILED\]")
        self.assertNotIn(b"REFERRAL", answer)

    def test_domain(self) -> None:
        """A whole domain may have moved."""
        server = Server(referrals={"example.test": "new.example.test"})
        client = server.connect()
        client.wire.take()
        client.check(
            """
            C: a LOGIN alice@example.test secret
            S: a NO [REFERRAL imap://alice%40example.test;AUTH=*@new.example.test/] The mailboxes are on another server
            """  # noqa: E501
        )

    def test_capability(self) -> None:
        """§3: it is listed where there are referrals, and nowhere else."""
        self.assertIn(b" LOGIN-REFERRALS ", self.greeting)
        self.assertNotIn(b"REFERRALS", Server().connect().wire.take())
