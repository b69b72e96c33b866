"""
LOGIN-DELAY (RFC 2449 §6.5, §8.1.1).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.pop3.support import Server

REFUSED = b"-ERR [LOGIN-DELAY] Too soon after the last login, wait a while\r\n"
LOGGED_IN = b"+OK 0 messages, 0 octets\r\n"


class LoginDelayTests(SynchronousTestCase):
    """
    Thirty seconds.
    """

    def setUp(self) -> None:
        """A server whose time goes on."""
        self.seconds = 1_700_000_000.0
        self.server = Server(loginDelay=30)
        self.server.store.now = self.server.store.memory._now = lambda: self.seconds
        self.server.options |= {"memory": self.server.store.memory, "now": lambda: self.seconds}

    def logIn(self, name: bytes = b"alice", password: bytes = b"secret") -> bytes:
        """
        @return: what PASS got; the session ended after it.
        """
        client = self.server.connect()
        client.send(b"USER %b\r\n" % name)
        said = client.send(b"PASS %b\r\n" % password)
        if not said:
            self.server.clock.advance(5)
            said = client.wire.take()
        client.send(b"QUIT\r\n")
        self.assertTrue(client.finished)
        self.assertFalse(self.server.locked)
        return said

    def test_delay(self) -> None:
        """The next login has to wait, that of another account hasn't."""
        self.assertEqual(self.logIn(), LOGGED_IN)
        self.assertEqual(self.logIn(), REFUSED)
        self.assertEqual(self.logIn(b"bob"), LOGGED_IN)
        self.seconds += 29
        self.assertEqual(self.logIn(), REFUSED)
        self.seconds += 1
        self.assertEqual(self.logIn(), LOGGED_IN)
        self.assertEqual(self.logIn(), REFUSED)

    def test_refusedDontCount(self) -> None:
        """It counts from the last login that was accepted, however often it was tried since."""
        self.logIn()
        for _ in range(6):
            self.seconds += 5
            said = self.logIn()
        self.assertEqual(said, LOGGED_IN)

    def test_passwordFirst(self) -> None:
        """Who doesn't know the password isn't told, and keeps nobody out."""
        self.assertIn(b"[AUTH]", self.logIn(password=b"wrong"))
        self.assertEqual(self.logIn(), LOGGED_IN)
        self.assertIn(b"[AUTH]", self.logIn(password=b"wrong"))

    def test_inUse(self) -> None:
        """A maildrop that is in use is told as that, and starts no delay."""
        client = self.server.login()
        self.seconds += 60
        second = self.server.connect()
        said = second.send(b"USER alice\r\nPASS secret\r\n")
        self.assertIn(b"-ERR [IN-USE] ", said)
        client.send(b"QUIT\r\n")
        self.assertEqual(self.logIn(), LOGGED_IN)

    def test_again(self) -> None:
        """On the same connection a client can try again later."""
        self.logIn()
        client = self.server.connect()
        client.wire.take()
        self.assertEqual(
            client.send(b"USER alice\r\nPASS secret\r\n"), b"+OK send PASS\r\n" + REFUSED
        )
        self.seconds += 30
        said = client.send(b"USER alice\r\nPASS secret\r\n")
        self.assertEqual(said, b"+OK send PASS\r\n" + LOGGED_IN)

    def test_elsewhere(self) -> None:
        """It is the store that knows: another factory, or the next process, enforces it too."""
        self.logIn()
        other = Server(loginDelay=30)
        other.options |= self.server.options
        client = other.connect()
        self.assertTrue(client.send(b"USER alice\r\nPASS secret\r\n").endswith(REFUSED))

    def test_own(self) -> None:
        """An account's own delay is enforced, a longer, a shorter one, or none."""
        self.server.options["survey"] = self.server.store.directory
        self.server.set("alice", loginDelay=100)
        self.server.set("bob", loginDelay=0)
        self.assertEqual(self.logIn(), LOGGED_IN)
        self.assertEqual(self.logIn(b"bob"), LOGGED_IN)
        self.assertEqual(self.logIn(b"bob"), LOGGED_IN)
        self.seconds += 99
        self.assertEqual(self.logIn(), REFUSED)
        self.seconds += 1
        self.assertEqual(self.logIn(), LOGGED_IN)

    def test_ownUntold(self) -> None:
        """Where clients couldn't be told of it before login, it isn't enforced."""
        self.server.set("alice", loginDelay=100)
        self.assertEqual(self.logIn(), LOGGED_IN)
        self.seconds += 30
        self.assertEqual(self.logIn(), LOGGED_IN)

    def test_broken(self) -> None:
        """If it can't be found out nobody gets in, and the maildrop is free."""

        class Broken:
            async def introduce(self, entries: object) -> None:
                raise OSError(5, "I/O")

        self.server.options["memory"] = Broken()
        self.assertIn(b"-ERR [SYS/TEMP] ", self.logIn())
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
