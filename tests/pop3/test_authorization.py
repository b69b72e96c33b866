"""
Commands of the AUTHORIZATION state: USER and PASS (RFC 1939 §7), and the maildrop's lock (§4).
"""

from __future__ import annotations

from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.pop3.support import FIRST, SECOND, POP3TestCase, now
from twisted_mailstack.errors import NoSuchMailbox, SessionEnded
from twisted_mailstack.model.address import Address
from twisted_mailstack.testing.conversation import Conversation

IN_USE = b"-ERR [IN-USE] The maildrop is in use\r\n"
FAILED = b"-ERR [AUTH] Authentication failed\r\n"
LOGGED_IN = b"+OK 2 messages, 64 octets\r\n"


class AuthorizationTestCase(POP3TestCase):
    """
    @ivar client: under TLS, greeted.
    """

    def setUp(self) -> None:
        """Connect."""
        super().setUp()
        self.client = self.greeted()

    def greeted(self, secure: bool = True) -> Conversation:
        """
        @return: a client whose greeting is read.
        """
        client = self.server.connect(secure)
        client.wire.take()
        return client

    def logIn(self, name: bytes, password: bytes, client: Conversation | None = None) -> bytes:
        """
        @return: the response to PASS, however long it takes.
        """
        client = client or self.client
        said = client.send(b"USER %b\r\nPASS %b\r\n" % (name, password))
        if said == b"+OK send PASS\r\n":
            self.server.clock.advance(15)
            said += client.wire.take()
        return said.removeprefix(b"+OK send PASS\r\n")


class USERTests(AuthorizationTestCase):
    """
    Names and passwords.
    """

    def test_right(self) -> None:
        """RFC 1939 §7; the response says what is there, as in the RFC's example."""
        self.client.check("""
            C: USER alice@example.test
            S: +OK send PASS
            C: PASS secret
            S: +OK 2 messages, 64 octets
            C: STAT
            S: +OK 2 64
            C: QUIT
            S: +OK bye
        """)

    def test_spaces(self) -> None:
        """
        Everything behind PASS and one space is the password (RFC 1939 §7): spaces in it and at
        both ends count, so a password with one too many is another one.
        """
        for name, password in (
            ("inside", "two  words"),
            ("before", "  x"),
            ("behind", "x  "),
            ("only", "   "),
        ):
            self.server.add(name, password)
            client = self.greeted()
            self.assertEqual(
                self.logIn(name.encode(), password.encode(), client),
                b"+OK 0 messages, 0 octets\r\n",
            )
            client = self.greeted()
            for wrong in (password + " ", " " + password, password.strip() or "x"):
                if wrong != password:
                    self.assertEqual(self.logIn(name.encode(), wrong.encode(), client), FAILED)
                    break

    def test_nameWithSpaces(self) -> None:
        """A name too may have spaces, as an address with a quoted local-part has."""
        self.server.add("john doe")
        self.assertEqual(
            self.logIn(b'"john doe"@example.test', b"secret"), b"+OK 0 messages, 0 octets\r\n"
        )

    def test_utf8(self) -> None:
        """Names and passwords are UTF-8; what isn't is wrong (RFC 6856 §2.2)."""
        self.server.add("jos\u00e9", "Gr\u00fc\u00dfe")
        self.assertEqual(self.logIn("jos\u00e9".encode(), b"Gr\xfc\xdfe"), FAILED)
        self.assertEqual(self.logIn(b"jos\xe9", "Gr\u00fc\u00dfe".encode()), FAILED)
        self.assertEqual(
            self.logIn("jose\u0301".encode(), "Gr\u00fc\u00dfe".encode()),
            b"+OK 0 messages, 0 octets\r\n",
        )

    def test_incomplete(self) -> None:
        """PASS needs a USER before it, and both need what they are about."""
        self.client.check("""
            C: PASS secret
            S: -ERR Say USER first
            C: USER
            S: -ERR A name is needed
            C: PASS secret
            S: -ERR Say USER first
            C: USER alice
            S: +OK send PASS
            C: PASS
            S: -ERR A password is needed
            C: PASS secret
            S: +OK 2 messages, 64 octets
        """)
        self.assertEqual(self.server.hasher.asked, 1)

    def test_again(self) -> None:
        """A second USER replaces the first; one that is refused leaves none."""
        self.client.check("""
            C: USER bob
            S: +OK send PASS
            C: USER alice
            S: +OK send PASS
            C: USER
            S: -ERR A name is needed
            C: PASS secret
            S: -ERR Say USER first
        """)

    def test_alike(self) -> None:
        """
        Unknown names, wrong passwords and disabled accounts get the same responses after the same
        time (RFC 1939 §13: USER doesn't tell whether there is such a user).
        """
        now(self.server.store.directory.setEnabled(Address("bob", "example.test"), False))
        for name, password in (
            (b"alice", b"wrong"),
            (b"nobody", b"secret"),
            (b"bob", b"secret"),
            (b"alice@other.test", b"secret"),
        ):
            client = self.greeted()
            self.assertEqual(client.send(b"USER %b\r\n" % name), b"+OK send PASS\r\n")
            self.assertEqual(client.send(b"PASS %b\r\n" % password), b"")
            self.server.clock.advance(0.9)
            self.assertEqual(client.wire.take(), b"")
            self.server.clock.advance(0.1)
            self.assertEqual(client.wire.take(), FAILED)
            self.assertFalse(client.finished)

    def test_afterFailure(self) -> None:
        """After a failed login the name has to be given again."""
        self.assertEqual(self.logIn(b"alice", b"wrong"), FAILED)
        self.assertEqual(self.client.send(b"PASS secret\r\n"), b"-ERR Say USER first\r\n")
        self.assertEqual(self.logIn(b"alice", b"secret"), LOGGED_IN)

    def test_threeFailures(self) -> None:
        """The third failure is the last: the connection is closed, what is pipelined not run."""
        delays = []
        self.client.send(b"USER alice\r\nPASS wrong\r\n" * 3 + b"USER alice\r\nPASS secret\r\n")
        started = self.server.clock.seconds()
        while not self.client.finished:
            self.server.clock.advance(0.5)
            if self.client.wire.take().count(FAILED):
                delays.append(self.server.clock.seconds() - started)
                started = self.server.clock.seconds()
        self.assertEqual(delays, [1, 2, 4])
        self.assertFreed(self.client)

    def test_pipelined(self) -> None:
        """While a failure waits nothing behind it is run."""
        said = self.client.send(
            b"USER alice\r\nPASS wrong\r\nCAPA\r\nUSER alice\r\nPASS secret\r\n"
        )
        self.assertEqual(said, b"+OK send PASS\r\n")
        self.server.clock.advance(1)
        said = self.client.wire.take()
        self.assertTrue(said.startswith(FAILED + b"+OK capabilities follow\r\n"))
        self.assertTrue(said.endswith(b".\r\n+OK send PASS\r\n" + LOGGED_IN))

    def test_leavesDuringDelay(self) -> None:
        """Hanging up during the delay is the end of it."""
        self.client.send(b"USER alice\r\nPASS wrong\r\n")
        self.client.disconnect()
        self.server.clock.advance(15)
        self.assertFreed(self.client)

    def test_busy(self) -> None:
        """
        If the password can't be checked now, it isn't said to be wrong (RFC 3206 [SYS/TEMP]), and
        the attempt doesn't count.
        """
        self.server.hasher.busy = True
        for _ in range(5):
            self.assertEqual(
                self.logIn(b"alice", b"secret"),
                b"-ERR [SYS/TEMP] Too many logins at once, try again later\r\n",
            )
        self.server.hasher.busy = False
        self.assertEqual(self.logIn(b"alice", b"secret"), LOGGED_IN)

    def test_withoutTLS(self) -> None:
        """Without TLS no password is taken, not even looked at; USER already says so."""
        client = self.greeted(secure=False)
        client.check("""
            C: USER alice
            S: -ERR Encryption required: use STLS first
            C: PASS secret
            S: -ERR Encryption required: use STLS first
        """)
        self.assertEqual(self.server.hasher.asked, 0)

    def test_loopback(self) -> None:
        """Unless the operator allows it."""
        self.server.settings = type(self.server.settings)(hostname="x", allowPlaintextAuth=True)
        client = self.greeted(secure=False)
        self.assertEqual(self.logIn(b"alice", b"secret", client), LOGGED_IN)

    def test_logout(self) -> None:
        """cred's realm is told when the session is over, or its maildrop couldn't be had."""
        gone: list[bytes] = []
        realm = self.server.portal.realm

        @implementer(IRealm)
        class Realm:
            def requestAvatar(
                self, avatarId: bytes, mind: object, *interfaces: object
            ) -> Deferred[object]:
                result = realm.requestAvatar(avatarId, mind, *interfaces)
                return result.addCallback(lambda r: (r[0], r[1], lambda: gone.append(avatarId)))

        self.server.portal.realm = Realm()
        other = self.greeted()
        self.assertEqual(self.logIn(b"alice", b"secret", other), LOGGED_IN)
        self.assertEqual(self.logIn(b"alice", b"secret"), IN_USE)
        self.assertEqual(len(gone), 1)
        other.send(b"QUIT\r\n")
        self.assertEqual(len(gone), 2)


class LockTests(AuthorizationTestCase):
    """
    RFC 1939 §4: the exclusive lock on the maildrop, and [IN-USE] of RFC 2449 §8.1.2.
    """

    def setUp(self) -> None:
        """Another session has the maildrop."""
        super().setUp()
        self.holder = self.server.login()

    def test_inUse(self) -> None:
        """A second session can't have it, and may try again when it is free."""
        self.assertEqual(self.logIn(b"alice", b"secret"), IN_USE)
        self.assertEqual(self.client.send(b"STAT\r\n"), b"-ERR Not in this state\r\n")
        self.assertEqual(self.client.send(b"PASS secret\r\n"), b"-ERR Say USER first\r\n")
        self.holder.send(b"QUIT\r\n")
        self.assertEqual(self.logIn(b"alice", b"secret"), LOGGED_IN)

    def test_notAFailure(self) -> None:
        """A maildrop in use doesn't count as a failed login, and the holder isn't disturbed."""
        for _ in range(4):
            self.assertEqual(self.logIn(b"alice", b"secret"), IN_USE)
        self.assertEqual(self.holder.send(b"STAT\r\n"), b"+OK 2 64\r\n")

    def test_others(self) -> None:
        """Other people's maildrops are free."""
        self.assertEqual(self.logIn(b"bob", b"secret"), b"+OK 0 messages, 0 octets\r\n")

    def test_wrongPassword(self) -> None:
        """Only who knows the password learns that it is in use."""
        self.assertEqual(self.logIn(b"alice", b"wrong"), FAILED)

    def test_delivery(self) -> None:
        """Mail arrives while a session has the maildrop, and IMAP isn't locked out."""
        self.server.put(b"Subject: new\r\n\r\n")
        self.server.expunge(1)
        self.assertEqual(self.holder.send(b"STAT\r\n"), b"+OK 2 64\r\n")

    def freedBy(self, end: object) -> None:
        """Whatever ends the holder's session frees the maildrop."""
        assert callable(end)
        self.holder.send(b"DELE 1\r\n")
        end()
        self.assertTrue(self.holder.finished)
        client = self.greeted()
        self.assertEqual(self.logIn(b"alice", b"secret", client), LOGGED_IN)
        self.assertEqual(self.server.messages(), [FIRST, SECOND])

    def test_disconnect(self) -> None:
        """A lost connection frees it."""
        self.freedBy(self.holder.disconnect)

    def test_timeout(self) -> None:
        """Autologout frees it."""
        self.freedBy(lambda: self.server.clock.advance(600))

    def test_shutdown(self) -> None:
        """The server's end frees it."""
        self.freedBy(lambda: self.holder.stream.end(SessionEnded.SHUTDOWN))

    def test_errors(self) -> None:
        """Being sent away frees it."""
        self.freedBy(lambda: self.holder.send(b"x\r\n" * 20))

    def test_quitFails(self) -> None:
        """A QUIT that couldn't delete frees it (RFC 1939 §6)."""
        self.server.gate.fails = {"removeMessages"}
        self.freedBy(lambda: self.holder.send(b"QUIT\r\n"))


class OpeningTests(AuthorizationTestCase):
    """
    Taking the lock and the snapshot.
    """

    def test_fails(self) -> None:
        """
        Whatever fails while the maildrop is opened: the client is told that it is temporary, the
        lock is free, the session is where it was, and the next attempt works.
        """
        gate = self.server.gate
        calls = 0
        while True:
            client = self.greeted()
            gate.calls.clear()
            gate.failAt = calls
            said = self.logIn(b"alice", b"secret", client)
            reached = len(gate.calls) > calls
            gate.failAt = None
            if not reached:
                self.assertEqual(said, LOGGED_IN)
                break
            self.assertEqual(said, b"-ERR [SYS/TEMP] Temporary failure, try again later\r\n")
            self.assertFalse(self.server.locked)
            self.assertEqual(client.send(b"STAT\r\n"), b"-ERR Not in this state\r\n")
            self.assertEqual(self.logIn(b"alice", b"secret", client), LOGGED_IN)
            client.disconnect()
            calls += 1
        self.assertGreaterEqual(calls, 4)

    def test_removed(self) -> None:
        """The account is removed while it logs in."""
        self.server.gate.error, self.server.gate.failAt = NoSuchMailbox, 1
        self.assertTrue(self.logIn(b"alice", b"secret").startswith(b"-ERR "))
        self.assertFalse(self.server.locked)

    def test_leaves(self) -> None:
        """A client that is gone when its maildrop is open doesn't keep it."""
        for held in ("lockMaildrop", "openMailbox", "changesSince", "fetch"):
            client = self.greeted()
            self.server.gate.held = {held}
            client.send(b"USER alice\r\nPASS secret\r\n")
            client.disconnect()
            self.assertFalse(client.finished)
            self.server.gate.release()
            self.assertFreed(client)

    def test_expungedMeanwhile(self) -> None:
        """What IMAP removes while the snapshot is taken isn't in it."""
        self.server.gate.held = {"fetch"}
        self.client.send(b"USER alice\r\nPASS secret\r\n")
        self.server.expunge(1)
        self.server.gate.release()
        self.assertEqual(self.client.wire.take(), b"+OK send PASS\r\n+OK 1 messages, 25 octets\r\n")
        self.assertIn(b"Subject: second\r\n", self.client.send(b"RETR 1\r\n"))
