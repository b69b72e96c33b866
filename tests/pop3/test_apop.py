"""
APOP (RFC 1939 §7).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import md5
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from tests.pop3.support import POP3TestCase
from twisted_mailstack.interfaces import ISecretSource
from twisted_mailstack.model.records import StoredSecret
from twisted_mailstack.sasl.credentials import IProvenIdentity
from twisted_mailstack.testing.conversation import Conversation

GREETING = re.compile(rb"\+OK POP3 ready (<[!-;=?-~]+@mx\.example\.test>)\r\n\Z")


@implementer(ISecretSource)
class Secrets:
    """
    Alice has two, others a decoy.
    """

    async def secretsFor(self, name: bytes, scheme: str) -> Sequence[StoredSecret]:
        """See ISecretSource."""
        if (name, scheme) == (b"alice", "plain"):
            return [StoredSecret("C1", "tanstaaf"), StoredSecret("C2", "übung")]
        return [StoredSecret("", "decoy")]


@implementer(ICredentialsChecker)
class Checker:
    """
    Believes what was proven.
    """

    credentialInterfaces = (IProvenIdentity,)

    def __init__(self, accountId: str) -> None:
        self.accountId = accountId
        self.seen: list[Any] = []

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """See ICredentialsChecker."""
        self.seen.append((credentials.username, credentials.credentialId))
        return succeed(self.accountId.encode())


class APOPTests(POP3TestCase):
    """
    @ivar client: greeted.
    """

    def setUp(self) -> None:
        """A server that has it."""
        super().setUp()
        self.server.options["secrets"] = Secrets()
        self.checker = Checker(self.server.inbox().account.accountId)
        self.server.portal.registerChecker(self.checker)
        self.client = self.greeted()

    def greeted(self, secure: bool = False) -> Conversation:
        """
        @return: a connection; C{timestamp} is its greeting's.
        """
        client = self.server.connect(secure)
        match = GREETING.match(client.wire.take())
        assert match is not None
        self.timestamp = match.group(1)
        return client

    def apop(self, name: bytes = b"alice", secret: str = "tanstaaf") -> bytes:
        """
        @return: the response.
        """
        digest = md5(self.timestamp + secret.encode()).hexdigest().encode()
        said = self.client.send(b"APOP %b %b\r\n" % (name, digest))
        if not said:
            self.server.clock.advance(20)
            said = self.client.wire.take()
        return said

    def test_timestamp(self) -> None:
        """Another in each connection."""
        first = self.timestamp
        self.greeted()
        self.assertNotEqual(self.timestamp, first)

    def test_logIn(self) -> None:
        """With the digest of timestamp and secret, without TLS too: the password isn't sent."""
        self.assertEqual(self.apop(), b"+OK 2 messages, 64 octets\r\n")
        self.assertEqual(self.checker.seen, [(b"alice", "C1")])
        self.assertEqual(self.client.send(b"STAT\r\n"), b"+OK 2 64\r\n")

    def test_each(self) -> None:
        """Any of the account's secrets, in UTF-8 (RFC 6856 §2.2)."""
        self.assertEqual(self.apop(secret="übung"), b"+OK 2 messages, 64 octets\r\n")
        self.assertEqual(self.checker.seen, [(b"alice", "C2")])

    def test_wrong(self) -> None:
        """Wrong secrets, unknown names and decoys fail alike, after a while."""
        for name, secret in ((b"alice", "wrong"), (b"nobody", "decoy"), (b"bob", "decoy")):
            self.client = self.greeted()
            digest = md5(self.timestamp + secret.encode()).hexdigest().encode()
            self.assertEqual(self.client.send(b"APOP %b %b\r\n" % (name, digest)), b"")
            self.server.clock.advance(2)
            self.assertEqual(self.client.wire.take(), b"-ERR [AUTH] Authentication failed\r\n")
        self.assertEqual(self.checker.seen, [])

    def test_otherTimestamp(self) -> None:
        """A digest that was heard on another connection is worth nothing."""
        old = self.timestamp
        self.client = self.greeted()
        self.timestamp = old
        self.assertEqual(self.apop(), b"-ERR [AUTH] Authentication failed\r\n")

    def test_exhausted(self) -> None:
        """Three attempts, as with passwords."""
        for _ in range(3):
            self.assertIn(b"[AUTH]", self.apop(secret="wrong"))
        self.assertFreed(self.client)

    def test_malformed(self) -> None:
        """A name, a space, 32 lower-case hexadecimal digits."""
        digest = b"c4c9334bac560ecc979e58001b3e22fb"
        for line in (
            *(b"", b"alice", b" " + digest, digest, b"alice " + digest[:-1]),
            *(b"alice " + digest.upper(), b"alice " + digest + b" x", b"alice " + digest + b"0"),
        ):
            said = self.client.send(b"APOP " + line + b"\r\n")
            self.assertEqual(said, b"-ERR A name and a digest are needed\r\n", line)
        said = self.client.send(b"APOP \xff " + digest + b"\r\n")
        self.assertEqual(said, b"-ERR The name is not UTF-8\r\n")

    def test_afterSTLS(self) -> None:
        """The greeting's timestamp holds on after STLS."""
        self.client.send(b"STLS\r\n")
        self.assertEqual(self.apop(), b"+OK 2 messages, 64 octets\r\n")

    def test_afterUSER(self) -> None:
        """It begins anew: PASS has no name then."""
        self.client = self.greeted(secure=True)
        self.client.send(b"USER alice\r\n")
        self.apop(secret="wrong")
        self.assertEqual(self.client.send(b"PASS secret\r\n"), b"-ERR Say USER first\r\n")
