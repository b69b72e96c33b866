"""
The recent logins of an account, as a metadata entry (RFC 5464):
C{twisted_mailstack.imap.extensions.logins}.
"""

from __future__ import annotations

from twisted.cred.portal import Portal
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from tests.imap.support import ClearPasswords, Server, now
from twisted_mailstack.auth.anonymous import AnonymousChecker
from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IMetadataAccount
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.logins import LOGINS, writeLogins
from twisted_mailstack.model.records import LoginRecord
from twisted_mailstack.sasl.anonymous import Anonymous
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.testing.faulty import FaultyStore


class LoginsTests(SynchronousTestCase):
    """
    Alice has logged in, and somebody has tried it; bob, too.
    """

    def setUp(self) -> None:
        """Make it so."""
        self.server = Server(serverEntries={"/shared/comment": b"hello"})
        self.server.addAccount("bob")
        alice = LoginRecord(
            1_700_000_000,
            self.server.account.accountId,
            "alice",
            "imaps",
            "192.0.2.1",
            "PLAIN",
            True,
        )
        self.alice = [
            alice._replace(when=1_700_000_001, success=False, peer="198.51.100.1", name="\u00e9 x"),
            alice._replace(credential="Phone"),
        ]
        bob = alice._replace(accountId=self.accountId("bob"), name="bob", peer="203.0.113.9")
        self.bob = [bob]
        stray = alice._replace(accountId=None, success=False, name="nobody")
        now(self.server.store.logins.record([self.alice[1], bob, stray, self.alice[0]]))
        self.client = self.server.login()

    def accountId(self, name: str) -> str:
        """
        @return: of an account.
        """
        record = now(self.server.store.directory.findAccount(Address(name, "example.test")))
        accountId: str = record.accountId
        return accountId

    def ask(self, command: str, client: Conversation | None = None) -> str:
        """
        @return: what is answered.
        """
        answer = (client or self.client).send(f"a GETMETADATA {command}\r\n".encode())
        return answer.decode("utf-8")

    def told(self, records: list[LoginRecord]) -> str:
        """
        @return: the response that has them.
        """
        octets = writeLogins(records)
        text = octets.decode("utf-8")
        return f'* METADATA "" ({LOGINS} {{{len(octets)}}}\r\n{text})\r\n'

    def test_own(self) -> None:
        """Each sees the own ones, the latest first, whatever the case of the entry's name."""
        done = "a OK GETMETADATA completed\r\n"
        self.assertEqual(self.ask(f'"" {LOGINS}'), self.told(self.alice) + done)
        self.assertEqual(self.ask(f'"" ({LOGINS.upper()})'), self.told(self.alice) + done)
        other = self.server.login("bob")
        self.assertEqual(self.ask(f'"" {LOGINS}', other), self.told(self.bob) + done)

    def test_now(self) -> None:
        """They are as of this moment: a session sees what happens after it began."""
        more = self.alice[0]._replace(when=1_700_000_009)
        now(self.server.store.logins.record([more]))
        self.assertTrue(self.ask(f'"" {LOGINS}').startswith(self.told([more, *self.alice])))

    def test_depth(self) -> None:
        """
        RFC 5464 §4.2.2: it is found where it lies, among what is stored; and not without being
        looked for.
        """
        self.client.check(
            """
            C: s SETMETADATA "" (/private/vendor/acme/x "1")
            S: s OK SETMETADATA completed
            """
        )
        there = self.told(self.alice)
        alone = '* METADATA "" (/private/vendor/acme/x "1" '
        self.assertIn(there, self.ask('(DEPTH 1) "" /private/vendor/twisted_mailstack'))
        found = self.ask('(DEPTH infinity) "" /private')
        self.assertTrue(found.startswith(alone + there.partition("(")[2]), found)
        for command in (
            *('(DEPTH 0) "" /private/vendor/twisted_mailstack', '(DEPTH 1) "" /private/vendor'),
            *('(DEPTH infinity) "" /shared', "(DEPTH infinity) INBOX /private"),
            f"INBOX {LOGINS}",
        ):
            self.assertNotIn("198.51.100.1", self.ask(command), command)

    def test_maxSize(self) -> None:
        """§4.2.1: it is as long as it is."""
        size = len(writeLogins(self.alice))
        self.assertEqual(
            self.ask(f'(MAXSIZE {size - 1}) "" ({LOGINS} /shared/comment)'),
            '* METADATA "" (/shared/comment "hello")\r\n'
            f"a OK [METADATA LONGENTRIES {size}] GETMETADATA completed\r\n",
        )
        self.assertIn(self.told(self.alice), self.ask(f'(MAXSIZE {size}) "" {LOGINS}'))

    def test_none(self) -> None:
        """Without any it is empty."""
        self.server.addAccount("carol")
        self.assertIn(f'({LOGINS} "")', self.ask(f'"" {LOGINS}', self.server.login("carol")))

    def test_readOnly(self) -> None:
        """It isn't set or removed, alone or with others, of which none is then."""
        for values in (f'{LOGINS} "x"', f"{LOGINS} NIL", f'/private/y "1" {LOGINS} "x"'):
            self.client.check(
                f"""
                C: a SETMETADATA "" ({values})
                S: a NO [NOPERM] The entry {LOGINS} is read-only
                C: b GETMETADATA "" /private/y
                S: * METADATA "" (/private/y NIL)
                S: b OK GETMETADATA completed
                """
            )
        self.assertIn(self.told(self.alice), self.ask(f'"" {LOGINS}'))
        self.client.check(
            f"""
            C: c SETMETADATA INBOX ({LOGINS} "mine")
            S: c OK SETMETADATA completed
            C: d GETMETADATA INBOX {LOGINS}
            S: * METADATA INBOX ({LOGINS} "mine")
            S: d OK GETMETADATA completed
            """
        )

    def test_storedBefore(self) -> None:
        """What a client had put there before there was such an entry is shown no more."""
        now(self.server.account.setMetadata("", {LOGINS: b"old"}, 10))  # type: ignore[attr-defined]
        self.assertIn(self.told(self.alice), self.ask(f'"" {LOGINS}'))
        self.withhold()
        self.assertNotIn(LOGINS, self.ask('(DEPTH infinity) "" /private'))

    def withhold(self) -> None:
        """Let the account of the session not tell of logins."""
        directlyProvides(self.server.sessions[-1].account, IMetadataAccount)

    def test_otherStores(self) -> None:
        """A store that doesn't tell has no such entry."""
        self.withhold()
        self.assertEqual(
            self.ask(f'"" {LOGINS}'),
            f'* METADATA "" ({LOGINS} NIL)\r\na OK GETMETADATA completed\r\n',
        )

    def test_anonymous(self) -> None:
        """Whoever came without a name isn't told who else came; its owner is."""
        address = Address("alice", "example.test")
        directory = self.server.store.directory
        self.server.mechanisms = (Anonymous(),)
        self.server.portal = Portal(
            MailRealm(self.server.store),
            [
                DirectoryChecker(directory, ClearPasswords()),
                AnonymousChecker(directory, address),
            ],
        )
        client = self.server.connect()
        client.wire.take()
        self.assertIn(b"a OK ", client.send(b"a AUTHENTICATE ANONYMOUS =\r\n"))
        self.assertIn(f"({LOGINS} NIL)", self.ask(f'"" {LOGINS}', client))
        self.assertNotIn("198.51.100.1", self.ask('(DEPTH infinity) "" /private', client))
        # On the same connection, as somebody (RFC 8437).
        self.assertIn(b"u OK ", client.send(b"u UNAUTHENTICATE\r\n"))
        self.assertIn(b"l OK ", client.send(b"l LOGIN alice@example.test secret\r\n"))
        self.assertIn(self.told(self.alice), self.ask(f'"" {LOGINS}', client))

    def test_faults(self) -> None:
        """A store that fails at any call: NO, and the session goes on."""
        store = FaultyStore(MemoryMailStore())
        client = Server(store=store).login()
        command = '(DEPTH infinity) "" /private'
        before = len(store.calls)
        whole = self.ask(command, client)
        self.assertIn("IAccount.recentLogins", store.calls[before:])
        for number in range(len(store.calls) - before):
            store.failAt(number + 1, TemporaryFailure)
            self.assertTrue(self.ask(command, client).startswith("a NO "))
            store.heal()
            self.assertEqual(self.ask(command, client), whole)
