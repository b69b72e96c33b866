"""
Several processes over one database, as the workers of a server are: what one has counted, taken or
written holds in the others at once, whatever the protocol, and after all of them were started anew.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from argon2 import PasswordHasher as Argon2
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth import schemes
from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.guessing import GuessingGuard, GuessingLimits, TooManyFailures
from twisted_mailstack.auth.history import LoginRecorder
from twisted_mailstack.auth.login import Login
from twisted_mailstack.auth.onetime import STEP, OneTimeCodes, code, newSecret
from twisted_mailstack.auth.passwords import PasswordHasher
from twisted_mailstack.auth.policy import LoginPolicy, MailPortal
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.auth.schemes import makeSecrets, newAppPassword
from twisted_mailstack.errors import AuthenticationFailed
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import AccountPolicy, ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.storage.sql.store import SQLMailStore
from twisted_mailstack.testing.contracts import CallQueue

T = TypeVar("T")
ALICE = Address("alice", "example.test")
PEER = "192.0.2.1"
#: With which a network is locked out, and a name.
FAILURES, NAME_FAILURES = 4, 8
PERIOD = 900
SERVICES = ("imaps", "pop3s", "submission")


class Process:
    """
    All that a process has of its own.

    @ivar delays: seconds that clients were made to wait.
    """

    def __init__(self, path: str, clock: Clock, calls: CallQueue, secret: bytes | None) -> None:
        self.calls = calls
        self.delays: list[float] = []
        self.computed = 0
        self.store = SQLMailStore(path, clock, calls.callFromThread, now=clock.seconds)
        calls.wait(self.store.start())
        directory = self.directory = self.store.directory
        limits = GuessingLimits(FAILURES, NAME_FAILURES, PERIOD)
        self.guard = GuessingGuard(self.store.memory, clock.seconds, limits, secret)
        self.recorder = LoginRecorder(self.store.logins, directory, clock)
        self.codes = OneTimeCodes(self.store.memory, clock.seconds)
        policy = LoginPolicy(directory, clock.seconds, self.guard, self.recorder)
        hasher = PasswordHasher(self.run, clock, isLocked=self.guard.isKnown)
        checker = DirectoryChecker(directory, hasher, codes=self.codes)
        self.portal = MailPortal(MailRealm(self.store), (checker,), policy)

    def run(self, function: Any, *arguments: Any) -> Deferred[Any]:
        """Compute it here."""
        self.computed += 1
        return succeed(function(*arguments))

    def sleep(self, seconds: float) -> Deferred[None]:
        """Note it; no time passes."""
        self.delays.append(seconds)
        return succeed(None)

    def begin(
        self, password: str, service: str = "imaps", peer: str = PEER, name: str = str(ALICE)
    ) -> Deferred[Any]:
        """
        @return: fires with the account.
        """
        credentials = PasswordCredentials(name.encode(), password.encode())
        info = ConnectionInfo(peer, 5000, service, True)
        login = Login(self.portal, self.sleep)
        return ensureDeferred(login.attempt(credentials, "PLAIN", info))

    def logIn(self, *arguments: Any, **more: Any) -> str:
        """
        @return: C{yes}, C{no} or C{locked}.
        """
        try:
            self.calls.wait(self.begin(*arguments, **more))
        except AuthenticationFailed:
            return "no"
        except TooManyFailures:
            return "locked"
        return "yes"

    def stop(self) -> None:
        """As a server does."""
        self.calls.wait(self.recorder.close())
        self.calls.wait(self.store.stop())


class ProcessesTests(SynchronousTestCase):
    """
    Two of them.
    """

    def setUp(self) -> None:
        """One account, and hashes that cost nothing."""
        self.patch(schemes, "argon2", Argon2(time_cost=1, memory_cost=8, parallelism=1))
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.calls = CallQueue()
        self.path = self.mktemp()
        self.running: list[Process] = []
        self.addCleanup(self.stop)
        self.start()
        directory = self.one.directory
        self.now(directory.addDomain(ALICE.domain))
        self.account = self.now(directory.addAccount(ALICE, makeSecrets(b"right"))).accountId

    def start(self, *secrets: bytes | None) -> None:
        """Start both."""
        for secret in secrets or (b"one secret", b"one secret"):
            self.running.append(Process(self.path, self.clock, self.calls, secret))
        self.one, self.two = self.running

    def stop(self) -> None:
        """Stop both."""
        while self.running:
            self.running.pop().stop()

    def restart(self, *secrets: bytes | None) -> None:
        """Stop both, and start them anew."""
        self.stop()
        self.start(*secrets)

    def now(self, awaitable: Awaitable[T]) -> T:
        """
        @return: its result.
        """
        return self.calls.wait(awaitable)

    def together(self, *attempts: Deferred[Any]) -> list[str]:
        """
        @return: what became of attempts that were begun at once.
        """
        results: list[str] = []
        for each in attempts:
            each.addCallbacks(
                lambda _: results.append("yes"),
                lambda failure: results.append(failure.value.__class__.__name__),
            )
        while len(results) < len(attempts):
            self.assertTrue(self.calls.runOne())
        return sorted(results)

    def test_network(self) -> None:
        """A network that failed here and there is locked out here and there, by all protocols."""
        for number in range(FAILURES):
            process = self.running[number % 2]
            name = f"user{number}@example.test"
            found = process.logIn("x", SERVICES[number % 3], f"192.0.2.{number}", name)
            self.assertEqual(found, "no")
        for _ in range(2):
            computed = self.one.computed + self.two.computed
            for process in self.running:
                for service in SERVICES:
                    self.assertEqual(process.logIn("right", service), "locked")
                self.assertEqual(process.logIn("right", peer="198.51.100.1"), "yes")
            # Those that were locked out cost nothing.
            self.assertLessEqual(self.one.computed + self.two.computed - computed, 2)
            self.restart()
        self.clock.advance(PERIOD)
        for process in self.running:
            self.assertEqual(process.logIn("right"), "yes")

    def test_delays(self) -> None:
        """Each failure is answered later than the one before, whoever answered that."""
        for number in range(2):
            self.one.logIn(f"a{number}", "imap")
            self.two.logIn(f"b{number}", "pop3")
            if not number:
                self.assertEqual((self.one.delays, self.two.delays), ([1], [2]))
                self.restart()
        self.assertEqual((self.one.delays, self.two.delays), ([4], [8]))
        # From another network under that name.
        self.clock.advance(PERIOD)
        for number in range(4):
            self.running[number % 2].logIn(f"c{number}", peer=f"198.51.{number}.1")
        self.assertEqual((self.one.delays[1:], self.two.delays[1:]), ([1, 4], [2, 8]))

    def test_name(self) -> None:
        """
        A name at which is guessed from everywhere is taken from where its owner has logged in only,
        to whichever process.
        """
        self.assertEqual(self.one.logIn("right", peer="203.0.113.1"), "yes")
        for number in range(NAME_FAILURES):
            process = self.running[number % 2]
            self.assertEqual(process.logIn("x", SERVICES[number % 3], f"192.0.{number}.1"), "no")
        for _ in range(2):
            for process in self.running:
                self.assertEqual(process.logIn("right", peer="198.51.100.1"), "locked")
                self.assertEqual(process.logIn("right", peer="203.0.113.2"), "yes")
            self.restart()

    def test_forgiven(self) -> None:
        """What an operator's command forgives is forgiven in each process at once."""
        for number in range(FAILURES):
            self.assertEqual(self.one.logIn(f"x{number}"), "no")
        self.assertEqual(self.one.logIn("right"), "locked")
        self.assertEqual(self.two.logIn("right"), "locked")
        command = Process(self.path, self.clock, self.calls, None)
        self.now(command.guard.forgive(None, [PEER]))
        command.stop()
        for process in self.running:
            self.assertEqual(process.logIn("right"), "yes")

    def test_repeats(self) -> None:
        """
        A client that repeats one old password is counted once, whichever worker it meets; of
        processes without a common secret by each once.
        """
        for _ in range(2 * FAILURES):
            for process in self.running:
                self.assertEqual(process.logIn("old"), "no")
        self.assertEqual({*self.one.delays, *self.two.delays}, {1})
        self.assertEqual(self.one.logIn("right"), "yes")
        self.clock.advance(PERIOD)
        self.restart(None, None)
        for _ in range(FAILURES):
            for process in self.running:
                self.assertEqual(process.logIn("old"), "no")
        self.assertEqual(max(*self.one.delays, *self.two.delays), 2)
        self.assertEqual(self.one.logIn("right"), "yes")

    def test_repeatsAtOnce(self) -> None:
        """That holds for attempts that come to both at the same moment."""
        found = self.together(self.one.begin("old"), self.two.begin("old"), self.one.begin("old"))
        self.assertEqual(found, ["AuthenticationFailed"] * 3)
        self.assertEqual({*self.one.delays, *self.two.delays}, {1})
        self.one.logIn("other")
        self.assertEqual(self.one.delays[-1], 2)

    def test_codes(self) -> None:
        """A one-time code holds once: not for the other process, nor after both started anew."""
        secret = newSecret()
        self.now(self.one.directory.setPolicy(ALICE, AccountPolicy(totp=secret)))
        step = int(self.clock.seconds()) // STEP
        first, second = (code(secret, step + drift) for drift in (0, 1))
        self.assertEqual(self.one.logIn("right" + first, "imaps"), "yes")
        self.assertEqual(self.two.logIn("right" + first, "pop3s", "198.51.100.1"), "no")
        self.restart()
        for number, process in enumerate(self.running):
            self.assertEqual(process.logIn("right" + first, peer=f"198.51.{number}.1"), "no")
        found = self.together(
            *(
                process.begin("right" + second, "submission", f"203.0.{number}.1")
                for number, process in enumerate(self.running)
            )
        )
        self.assertEqual(found, ["AuthenticationFailed", "yes"])

    def test_records(self) -> None:
        """What one has written down the other shows, and when a credential was used."""
        text, secrets = newAppPassword()
        self.now(self.one.directory.addAppPassword(ALICE, "Phone", secrets))
        for process, password, service in (
            *((self.one, "right", "imaps"), (self.two, text, "pop3s"), (self.one, "x", "smtp")),
            (self.two, "right", "submission"),
        ):
            process.logIn(password, service)
            self.now(process.recorder.flush())
            self.clock.advance(1)
        wanted = [
            *(("submission", True, ""), ("smtp", False, "")),
            *(("pop3s", True, "Phone"), ("imaps", True, "")),
        ]
        for _ in range(2):
            for process in self.running:
                account = self.now(process.store.openAccount(self.account))
                seen = self.now(account.recentLogins(10))
                self.assertEqual([(r.service, r.success, r.credential) for r in seen], wanted)
                credentials = self.now(process.directory.findCredentials(self.account))
                used = {each.name: each.lastUsed for each in credentials}
                self.assertEqual(used["Phone"], 1_700_000_001)
            self.restart()

    def test_changes(self) -> None:
        """
        What an operator changes by one process holds in the other at once, though it remembers
        passwords that it has verified.
        """
        self.assertEqual(self.two.logIn("right"), "yes")
        computed = self.two.computed
        self.assertEqual(self.two.logIn("right"), "yes")
        self.assertEqual(self.two.computed, computed)
        directory = self.one.directory
        self.now(directory.setPassword(ALICE, makeSecrets(b"new")))
        self.assertEqual([self.two.logIn(each) for each in ("right", "new")], ["no", "yes"])
        self.now(directory.setEnabled(ALICE, False))
        self.assertEqual(self.two.logIn("new"), "no")
        self.now(directory.setEnabled(ALICE, True))
        self.now(directory.setPolicy(ALICE, AccountPolicy(services=frozenset(("pop3",)))))
        self.assertEqual([self.two.logIn("new", each) for each in ("pop3s", "imap")], ["yes", "no"])
