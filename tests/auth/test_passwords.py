"""
Password hashes: what is computed, how often, and what is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher as Argon2
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_mailstack.auth import passwords, schemes
from twisted_mailstack.auth.passwords import (
    CACHE_ENTRIES,
    CACHE_SECONDS,
    MAX_WAITING,
    MAX_WAITING_OF_ONE,
    SUSPECT_SECONDS,
    WORKERS,
    PasswordHasher,
    hashPassword,
    verifyPassword,
)
from twisted_mailstack.errors import SyntaxProblem, TemporaryFailure
from twisted_mailstack.interfaces import IPasswordHasher

#: "Grüße", composed and decomposed.
COMPOSED = "Gr\u00fc\u00dfe".encode()
DECOMPOSED = "Gru\u0308\u00dfe".encode()


class HashTests(SynchronousTestCase):
    """
    Hashes as they are stored.
    """

    def test_argon2id(self) -> None:
        """
        Hashes are argon2id (RFC 9106) with OWASP's least: 19 MiB, two passes, one lane; each has
        its own salt, and tells all that is needed to check it.
        """
        first, second = hashPassword(b"secret"), hashPassword(b"secret")
        self.assertTrue(first.startswith("$argon2id$v=19$m=19456,t=2,p=1$"))
        self.assertNotEqual(first, second)
        self.assertTrue(verifyPassword(first, b"secret"))
        self.assertFalse(verifyPassword(first, b"Secret"))


class Cheap(SynchronousTestCase):
    """
    Tests in which a hash costs next to nothing.
    """

    def setUp(self) -> None:
        """Make hashing cheap."""
        self.patch(schemes, "argon2", Argon2(time_cost=1, memory_cost=8, parallelism=1))


class PreparationTests(Cheap):
    """
    What is the same password, and what is none.
    """

    def test_oneForm(self) -> None:
        """Two keyboards that compose differently type the same password (RFC 4616 §2)."""
        for stored in (COMPOSED, DECOMPOSED):
            for typed in (COMPOSED, DECOMPOSED):
                self.assertTrue(verifyPassword(hashPassword(stored), typed))
        self.assertFalse(verifyPassword(hashPassword(COMPOSED), b"Gru\xcc\x88sse"))

    def test_spaces(self) -> None:
        """Spaces count, also at the ends."""
        hashed = hashPassword(b" secret ")
        self.assertTrue(verifyPassword(hashed, b" secret "))
        for typed in (b"secret", b" secret", b"secret ", b"  secret "):
            self.assertFalse(verifyPassword(hashed, typed))

    def test_long(self) -> None:
        """All of a long password counts: nothing is cut off at 72 octets or anywhere else."""
        hashed = hashPassword(b"x" * 1000 + b"a")
        self.assertTrue(verifyPassword(hashed, b"x" * 1000 + b"a"))
        self.assertFalse(verifyPassword(hashed, b"x" * 1000 + b"b"))

    def test_impossible(self) -> None:
        """
        What can't be a password is refused when it is to be stored, with a reason, and is wrong
        when it is typed (RFC 4616 §2: "if preparation fails, verification SHALL fail").
        """
        hashed = hashPassword(b"secret")
        for password in (b"", b"\xff\xfe", b"a\0b", b"a\tb", "\u00ad".encode(), b"\xed\xa0\x80"):
            self.assertTrue(self.assertRaises(SyntaxProblem, hashPassword, password).text)
            self.assertFalse(verifyPassword(hashed, password))
        # Even if somebody stored the hash of nothing.
        self.assertFalse(verifyPassword(Argon2(1, 8, 1).hash(""), b"\xff"))

    def test_malformed(self) -> None:
        """A stored hash that is damaged or of another kind is nobody's, and no exception."""
        good = hashPassword(b"secret")
        for hashed in (
            *("", "secret", "x" * 10_000, "$argon2id$", "\0", "h\u00e4sh"),
            *("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", "{SHA}abc"),
            "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo",
            *(good[:-1], good[:30], good + "=", good.replace("$", "")),
        ):
            self.assertFalse(verifyPassword(hashed, b"secret"), hashed)


class HasherTestCase(Cheap):
    """
    @ivar computed: the functions that were computed.
    @ivar pending: if a list, computations wait in it.
    """

    def setUp(self) -> None:
        """Make a hasher whose thread is this one."""
        super().setUp()
        self.computed: list[str] = []
        self.pending: list[Callable[[], None]] | None = None
        self.clock = Clock()
        self.hasher = PasswordHasher(self.runInThread, self.clock)

    def runInThread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Compute now, or when the test says so."""
        result: Deferred[Any] = Deferred()

        def compute() -> None:
            self.computed.append(function.__name__)
            try:
                result.callback(function(*arguments))
            except Exception:
                result.errback(Failure())

        if self.pending is None:
            compute()
        else:
            self.pending.append(compute)
        return result

    def verify(self, hashed: str | None, password: bytes) -> bool:
        """
        @return: whether it was right.
        """
        return self.successResultOf(ensureDeferred(self.hasher.verify(hashed, password)))


class HasherTests(HasherTestCase):
    """
    L{PasswordHasher}.
    """

    def test_interface(self) -> None:
        """It is what the checker needs."""
        verifyObject(IPasswordHasher, self.hasher)

    def test_hash(self) -> None:
        """A hash is computed in the thread, and checked there."""
        hashed = self.successResultOf(ensureDeferred(self.hasher.hash(b"secret")))
        self.assertTrue(self.verify(hashed, b"secret"))
        self.assertFalse(self.verify(hashed, b"other"))
        self.assertEqual(self.computed, ["hashPassword", "verifyPassword", "verifyPassword"])

    def test_notInThisThread(self) -> None:
        """Nothing is computed before the thread does it."""
        self.pending = []
        waiting = ensureDeferred(self.hasher.verify(hashPassword(b"secret"), b"secret"))
        self.assertNoResult(waiting)
        self.assertEqual(self.computed, [])
        self.pending.pop()()
        self.assertTrue(self.successResultOf(waiting))

    def test_impossible(self) -> None:
        """What can't be a password is refused."""
        self.failureResultOf(ensureDeferred(self.hasher.hash(b"")), SyntaxProblem)

    def test_unknown(self) -> None:
        """For an unknown name as much is computed as for a known one, and it fails."""
        self.assertFalse(self.verify(None, b"secret"))
        self.assertFalse(self.verify(None, b"secret"))
        self.assertEqual(self.computed, ["verifyPassword"] * 2)


class CacheTests(HasherTestCase):
    """
    A password that was verified isn't computed again for a while.
    """

    def setUp(self) -> None:
        """A hash that was verified once."""
        super().setUp()
        self.hashed = hashPassword(b"secret")
        self.assertTrue(self.verify(self.hashed, b"secret"))
        self.computed.clear()

    def test_remembered(self) -> None:
        """Until the time is over it is right without being computed."""
        self.clock.advance(CACHE_SECONDS - 1)
        self.assertTrue(self.verify(self.hashed, b"secret"))
        self.assertEqual(self.computed, [])
        self.clock.advance(1)
        self.assertTrue(self.verify(self.hashed, b"secret"))
        self.assertEqual(self.computed, ["verifyPassword"])

    def test_notProlonged(self) -> None:
        """Using it doesn't prolong the time."""
        for _ in range(4):
            self.clock.advance(CACHE_SECONDS / 4)
            self.assertTrue(self.verify(self.hashed, b"secret"))
        self.assertEqual(self.computed, ["verifyPassword"])

    def test_wrong(self) -> None:
        """Wrong passwords are computed each time, also while the right one is remembered."""
        for _ in range(2):
            self.assertFalse(self.verify(self.hashed, b"wrong"))
        self.assertEqual(self.computed, ["verifyPassword"] * 2)

    def test_changed(self) -> None:
        """When the password is changed the old one is wrong at once."""
        self.assertFalse(self.verify(hashPassword(b"other"), b"secret"))
        self.assertFalse(self.verify(None, b"secret"))

    def test_sameAgain(self) -> None:
        """Setting the same password again, which is another hash, is checked anew."""
        self.assertTrue(self.verify(hashPassword(b"secret"), b"secret"))
        self.assertEqual(self.computed, ["verifyPassword"])

    def test_noMixing(self) -> None:
        """Hash and password are kept apart: no octets moved from one to the other fit."""
        self.assertFalse(self.verify(self.hashed[:-1], self.hashed[-1:].encode() + b"secret"))

    def test_nothingSecret(self) -> None:
        """What is remembered doesn't hold the password."""
        self.assertNotIn("secret", repr(vars(self.hasher)))

    def test_bounded(self) -> None:
        """However many are verified, no more than so many are remembered."""
        self.patch(passwords, "CACHE_ENTRIES", 10)
        self.assertGreater(CACHE_ENTRIES, 100)
        for number in range(50):
            password = b"%d" % number
            self.assertTrue(self.verify(hashPassword(password), password))
            self.assertLessEqual(len(self.hasher._verified), 10)


class LoadTests(HasherTestCase):
    """
    A storm of logins.
    """

    def setUp(self) -> None:
        """Let computations wait."""
        super().setUp()
        self.hashed = hashPassword(b"secret")
        self.pending = []

    def test_bounded(self) -> None:
        """When many wait the next is told to come back, and is let in when one is done."""
        assert self.pending is not None
        waiting = [
            ensureDeferred(self.hasher.verify(self.hashed, b"%d" % number))
            for number in range(MAX_WAITING)
        ]
        refused = self.failureResultOf(
            ensureDeferred(self.hasher.verify(self.hashed, b"secret")), TemporaryFailure
        )
        self.assertEqual(refused.value.text, "Too many logins at once, try again later")
        for hashed in (None, self.hashed):
            self.failureResultOf(
                ensureDeferred(self.hasher.verify(hashed, b"other")), TemporaryFailure
            )
        self.assertEqual(len(self.pending), WORKERS)
        self.pending.pop(0)()
        self.assertFalse(self.successResultOf(waiting[0]))
        last = ensureDeferred(self.hasher.verify(self.hashed, b"secret"))
        while self.pending:
            self.pending.pop()()
        self.assertTrue(self.successResultOf(last))

    def begin(self, origin: str, password: bytes) -> Deferred[bool]:
        """
        @return: a verification that was asked for.
        """
        return ensureDeferred(self.hasher.verify(self.hashed, password, origin))

    def finish(self) -> None:
        """Let the thread that began first be done."""
        assert self.pending is not None
        self.pending.pop(0)()

    def test_turns(self) -> None:
        """Networks take turns: who comes from another one waits for one of each, not for all."""
        storm = [self.begin("192.0.2.0/24", b"%d" % number) for number in range(50)]
        others = [self.begin(f"198.51.{n}.0/24", b"secret") for n in range(3)]
        for _ in range(WORKERS + 6):
            self.finish()
        self.assertTrue(all(self.successResultOf(each) for each in others))
        self.assertLess(sum(each.called for each in storm), 10)

    def test_guessing(self) -> None:
        """
        Of a network that has shown a wrong password one is computed at a time, so that there is
        always a thread for the others; after a while it is like any other.
        """
        assert self.pending is not None
        first = self.begin("192.0.2.0/24", b"wrong")
        self.finish()
        self.assertFalse(self.successResultOf(first))
        storm = [self.begin("192.0.2.0/24", b"%d" % number) for number in range(20)]
        self.assertEqual(len(self.pending), 1)
        other = self.begin("2001:db8::/64", b"secret")
        self.assertEqual(len(self.pending), 2)
        self.pending.pop()()
        self.assertTrue(self.successResultOf(other))
        while self.pending:
            self.finish()
            self.assertLessEqual(len(self.pending), 1)
        self.assertTrue(all(each.called for each in storm))
        self.clock.advance(SUSPECT_SECONDS)
        for password in (b"x", b"y"):
            self.begin("192.0.2.0/24", password)
        self.assertEqual(len(self.pending), 2)

    def test_last(self) -> None:
        """
        Whoever comes from a network that guesses waits until nobody else does, but for a turn now
        and then: others' logins are slowed down by no more than that, and he isn't kept out.
        """
        assert self.pending is not None
        first = self.begin("192.0.2.0/24", b"wrong")
        self.finish()
        self.assertFalse(self.successResultOf(first))
        guesses = [self.begin("192.0.2.0/24", b"%d" % number) for number in range(50)]
        others = [self.begin(f"198.51.{number % 7}.0/24", b"secret") for number in range(100)]
        # One of them had begun before anybody else was there.
        while not all(each.called for each in others):
            self.finish()
        done = sum(each.called for each in guesses)
        self.assertLessEqual(done, 1 + len(others) // (passwords.LAST_TURNS - 1) + 1)
        self.assertGreater(done, 2)

    def test_boundedOfOne(self) -> None:
        """One network can't take all the places; others get in, and it does when one is free."""
        self.assertLess(MAX_WAITING_OF_ONE + WORKERS, MAX_WAITING)
        for number in range(MAX_WAITING_OF_ONE + WORKERS):
            self.assertNoResult(self.begin("192.0.2.0/24", b"%d" % number))
        self.failureResultOf(self.begin("192.0.2.0/24", b"x"), TemporaryFailure)
        self.assertNoResult(self.begin("198.51.100.0/24", b"x"))
        self.finish()
        self.finish()
        self.assertNoResult(self.begin("192.0.2.0/24", b"x"))

    def test_leaves(self) -> None:
        """Who goes while he waits gives his place to the next, and nothing is computed for him."""
        assert self.pending is not None
        waiting = [self.begin("192.0.2.0/24", b"secret%d" % number) for number in range(4)]
        waiting[2].cancel()
        self.failureResultOf(waiting[2], CancelledError)
        while self.pending:
            self.finish()
        self.assertEqual(len(self.computed), 3)
        self.assertTrue(waiting[3].called)

    def test_suspectsBounded(self) -> None:
        """However many networks guess, only so many are known for it."""
        self.patch(passwords, "SUSPECTS", 10)
        self.pending = None
        for number in range(50):
            self.begin(f"198.51.{number}.0/24", b"wrong")
        self.assertLessEqual(len(self.hasher._suspects), 10)

    def test_failure(self) -> None:
        """Computations that fail give their place back."""
        assert self.pending is not None
        self.patch(passwords, "MAX_WAITING", 1)

        def broken(*_: object) -> None:
            raise RuntimeError("no threads")

        self.patch(self.hasher, "_run", broken)
        for _ in range(3):
            self.failureResultOf(
                ensureDeferred(self.hasher.verify(self.hashed, b"secret")), RuntimeError
            )
