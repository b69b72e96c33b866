"""
Who may log in, over every protocol: app passwords, services, networks, expiry, masters, one-time
codes, guessing; what is kept of it, and what those who guess can't see.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from argon2 import PasswordHasher as Argon2
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth import schemes
from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.guessing import GuessingGuard, GuessingLimits, TooManyFailures
from twisted_mailstack.auth.history import LoginRecorder
from twisted_mailstack.auth.login import MAX_DELAY, Login
from twisted_mailstack.auth.onetime import STEP, OneTimeCodes, code, newSecret
from twisted_mailstack.auth.passwords import PasswordHasher
from twisted_mailstack.auth.policy import LoginPolicy, MailPortal, Proof
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.auth.schemes import makeSecrets, newAppPassword, parseSecret
from twisted_mailstack.errors import AuthenticationFailed, TemporaryFailure
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import (
    PASSWORD,
    AccountPolicy,
    ConnectionInfo,
    Credential,
    LoginRecord,
)
from twisted_mailstack.sasl.credentials import PasswordCredentials, ProvenIdentity
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.storage.sql.store import SQLMailStore
from twisted_mailstack.testing.contracts import CallQueue
from twisted_mailstack.testing.faulty import FaultyStore

T = TypeVar("T")
PEER = "192.0.2.1"


class LoginTestCase(SynchronousTestCase):
    """
    Accounts alice, bob and master with a store in memory, and a server's portal.

    @ivar computed: how many hashes were computed.
    """

    store: Any

    def setUp(self) -> None:
        """Make it, with hashes that cost nothing."""
        super().setUp()
        self.patch(schemes, "argon2", Argon2(time_cost=1, memory_cost=8, parallelism=1))
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.calls = CallQueue()
        self.computed = 0
        self.pending: list[Any] | None = None
        self.store = self.makeStore()
        self.now(self.store.start())
        self.addCleanup(self.stop)
        self.now(self.store.directory.addDomain("example.test"))
        self.directory = self.store.directory
        self.guard = GuessingGuard(
            self.store.memory,
            self.clock.seconds,
            GuessingLimits(networkFailures=10, accountFailures=20),
        )
        self.recorder = LoginRecorder(self.store.logins, self.directory, self.clock)
        self.policy = LoginPolicy(
            self.directory, self.clock.seconds, self.guard, self.recorder, "example.test"
        )
        hasher = PasswordHasher(self.runInThread, self.clock, isLocked=self.guard.isKnown)
        checker = self.checker = DirectoryChecker(
            self.directory,
            hasher,
            "example.test",
            codes=OneTimeCodes(self.store.memory, self.clock.seconds),
            makeSecrets=lambda password, name: hasher.makeSecrets(password),
        )
        self.portal = MailPortal(MailRealm(self.store), (checker,), self.policy)
        self.ids = {}
        for name in ("alice", "bob", "master"):
            secrets = makeSecrets(f"{name}'s".encode())
            record = self.now(self.directory.addAccount(self.address(name), secrets))
            self.ids[name] = record.accountId

    def stop(self) -> None:
        """As a server does."""
        self.settle()
        self.now(self.recorder.close())
        self.now(self.store.stop())

    def makeStore(self) -> Any:
        """
        @return: the store.
        """
        return MemoryMailStore(self.clock.seconds)

    def address(self, localPart: str) -> Address:
        """
        @return: an address here.
        """
        return Address(localPart, "example.test")

    def runInThread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        """Compute it here."""
        self.computed += 1
        if self.pending is None:
            return succeed(function(*arguments))
        result: Deferred[Any] = Deferred()
        self.pending.append(lambda: result.callback(function(*arguments)))
        return result

    def now(self, awaitable: Awaitable[T]) -> T:
        """
        @return: the result of what needn't wait.
        """

        return self.calls.wait(awaitable)

    def sleep(self, seconds: float) -> Deferred[None]:
        """Wait, by the clock."""
        return deferLater(self.clock, seconds)

    def begin(
        self,
        name: str,
        password: str,
        service: str = "imaps",
        peer: str = PEER,
        identity: str | None = None,
        login: Login | None = None,
    ) -> Deferred[IAccount]:
        """
        @return: fires when an attempt is over.
        """
        credentials = PasswordCredentials(
            name.encode(), password.encode(), None if identity is None else identity.encode()
        )
        info = ConnectionInfo(peer, 5000, service, True)
        attempts = login or Login(self.portal, self.sleep)
        return ensureDeferred(attempts.attempt(credentials, "PLAIN", info))

    def logIn(self, *arguments: Any, **more: Any) -> str | None:
        """
        @return: the local-part of the account, C{None} if it failed.
        """
        attempt = self.begin(*arguments, **more)
        self.finish(attempt)
        self.settle()
        results: list[Any] = []
        attempt.addBoth(results.append)
        (found,) = results
        if hasattr(found, "trap"):
            found.trap(AuthenticationFailed)
            return None
        return str(found.address.localPart)

    def isBusy(self) -> bool:
        """
        @return: whether the store writes.
        """
        return False

    def settle(self) -> None:
        """Let the store be done."""
        while self.isBusy():
            self.calls.runOne()

    def finish(self, attempt: Deferred[Any]) -> None:
        """Let the time pass until it is over."""
        for _ in range(40):
            # What a store's threads do takes no time.
            self.settle()
            if attempt.called:
                return
            self.clock.advance(1)
        raise self.failureException("it is not over")

    def setPolicy(self, name: str, **values: Any) -> None:
        """Say who may log in to an account."""
        self.now(self.directory.setPolicy(self.address(name), AccountPolicy(**values)))

    def logins(self, name: str | None) -> list[LoginRecord]:
        """
        @return: what is kept, the first one first.
        """
        self.settle()
        self.now(self.recorder.flush())
        accountId = None if name is None else self.ids[name]
        return list(self.now(self.store.logins.recent(accountId, 1000)))[::-1]

    def credentials(self, name: str = "alice") -> list[Credential]:
        """
        @return: an account's.
        """
        return list(self.now(self.directory.findCredentials(self.ids[name])))


class PolicyTests(LoginTestCase):
    """
    What accounts and credentials say.
    """

    def test_plain(self) -> None:
        """An account of which nothing was said is open to its password, and to no other."""
        for service in ("imap", "imaps", "pop3", "pop3s", "submission", "submissions", "smtp"):
            self.assertEqual(self.logIn("alice@example.test", "alice's", service), "alice")
        self.assertEqual(self.logIn("alice", "alice's"), "alice")
        for name, password in (("alice", "bob's"), ("alice", ""), ("nobody", "x"), ("", "")):
            self.assertIsNone(self.logIn(name, password))

    def test_services(self) -> None:
        """Each protocol can be switched off, with and without TLS from the beginning alike."""
        self.setPolicy("alice", services=frozenset(("smtp", "pop3")))
        for service, right in (
            *(("submission", True), ("submissions", True), ("smtp", True), ("pop3s", True)),
            *(("imap", False), ("imaps", False), ("webmail", False)),
        ):
            self.assertEqual(self.logIn("alice", "alice's", service) == "alice", right, service)
        self.setPolicy("alice", services=frozenset())
        self.assertIsNone(self.logIn("alice", "alice's", "smtp"))

    def test_networks(self) -> None:
        """From other networks than those that are allowed nobody logs in."""
        self.setPolicy("alice", networks=("198.51.100.0/24", "2001:db8::/32", "127.0.0.0/8"))
        for peer, right in (
            *(("198.51.100.7", True), ("::ffff:198.51.100.7", True), ("2001:db8:9::1", True)),
            *(("198.51.101.7", False), ("2001:db9::1", False), ("local", True), ("?", False)),
        ):
            self.assertEqual(self.logIn("alice", "alice's", peer=peer) == "alice", right, peer)

    def test_expiry(self) -> None:
        """From its end on an account is closed, and what there was before is no matter."""
        self.setPolicy("alice", expires=int(self.clock.seconds()) + 10)
        self.assertEqual(self.logIn("alice", "alice's"), "alice")
        self.clock.advance(10)
        self.assertIsNone(self.logIn("alice", "alice's"))

    def test_disabled(self) -> None:
        """An account that is disabled is closed, to app passwords too."""
        text, secrets = newAppPassword()
        self.now(self.directory.addAppPassword(self.address("alice"), "a", secrets))
        self.assertEqual(self.logIn("alice", text), "alice")
        self.now(self.directory.setEnabled(self.address("alice"), False))
        for password in ("alice's", text):
            self.assertIsNone(self.logIn("alice", password))

    def test_appPasswords(self) -> None:
        """Each app password opens what it is for, as long as it holds, and is noted as used."""
        made = {}
        for name, services, expires in (
            ("Telephone", frozenset(("imap", "smtp")), None),
            ("Printer", frozenset(("smtp",)), int(self.clock.seconds()) + 100),
            ("Anything", None, None),
        ):
            text, secrets = newAppPassword()
            made[name] = text
            self.now(
                self.directory.addAppPassword(
                    self.address("alice"), name, secrets, services, expires
                )
            )
        for name, service, right in (
            *(("Telephone", "imaps", True), ("Telephone", "submission", True)),
            *(("Telephone", "pop3s", False), ("Printer", "submissions", True)),
            *(("Printer", "imap", False), ("Anything", "pop3", True)),
        ):
            found = self.logIn("alice", made[name], service)
            self.assertEqual(found == "alice", right, (name, service))
            # Another's is no good.
            self.assertIsNone(self.logIn("bob", made[name], service, peer="203.0.113.1"))
        self.logins("alice")
        used = {each.name: each.lastUsed for each in self.credentials()}
        self.assertTrue(all(used[name] for name in made))
        self.clock.advance(100)
        self.assertIsNone(self.logIn("alice", made["Printer"], "submissions"))
        (removed,) = [each for each in self.credentials() if each.name == "Anything"]
        self.now(self.directory.removeCredential(removed.credentialId))
        self.assertIsNone(self.logIn("alice", made["Anything"]))
        self.assertEqual(self.logIn("alice", "alice's"), "alice")

    def test_masters(self) -> None:
        """A master logs in to others' accounts, by name or by authorization identity."""
        self.assertIsNone(self.logIn("alice*master", "master's"))
        self.assertIsNone(self.logIn("master", "master's", identity="alice"))
        self.setPolicy("master", master=True, networks=("192.0.2.0/24",))
        self.setPolicy("alice", networks=("198.51.100.0/24",), services=frozenset())
        for name in ("alice*master", "alice@example.test*master@example.test"):
            self.assertEqual(self.logIn(name, "master's"), "alice")
        self.assertEqual(self.logIn("master", "master's", identity="alice@example.test"), "alice")
        self.assertEqual(self.logIn("master", "master's"), "master")
        # The master's own restrictions hold; the other's password isn't the master's.
        self.assertIsNone(self.logIn("alice*master", "master's", peer="198.51.100.1"))
        self.assertIsNone(self.logIn("alice*master", "alice's", peer="203.0.113.1"))
        for name in ("nobody*master", "*master", "alice*", "alice*bob"):
            self.assertIsNone(self.logIn(name, "master's", peer="local"), name)

    def test_mastersOfMasters(self) -> None:
        """No master gets into another's account, nor anybody into one that is closed."""
        self.setPolicy("master", master=True)
        self.setPolicy("bob", master=True)
        self.assertIsNone(self.logIn("bob*master", "master's"))
        self.now(self.directory.setEnabled(self.address("alice"), False))
        self.assertIsNone(self.logIn("alice*master", "master's"))
        self.now(self.directory.setEnabled(self.address("alice"), True))
        self.now(self.directory.setEnabled(self.address("master"), False))
        self.assertIsNone(self.logIn("alice*master", "master's"))

    def test_actors(self) -> None:
        """
        The policy itself and the checker itself know who is a master, whatever the other one says:
        each may be used without the other.
        """
        info = ConnectionInfo(PEER, 5000, "imaps", True)

        def admits(account: str, actor: str) -> bool:
            credentials = PasswordCredentials(b"x", b"y")
            credentials.proof = Proof(actor=self.ids[actor])  # type: ignore[attr-defined]
            results: list[Any] = []
            ensureDeferred(self.policy.admit(self.ids[account], credentials, info)).addBoth(
                results.append
            )
            return results == [None]

        def checks(account: str, actor: str) -> bool:
            name = f"{account}*{actor}".encode()
            credentials = PasswordCredentials(name, f"{actor}'s".encode())
            results: list[Any] = []
            self.checker.requestAvatarId(credentials).addBoth(results.append)
            return results == [self.ids[account].encode()]

        for accepts in (admits, checks):
            self.setPolicy("master")
            self.setPolicy("bob")
            self.assertFalse(accepts("alice", "master"))
            self.assertTrue(accepts("alice", "alice"))
            self.setPolicy("master", master=True)
            self.assertTrue(accepts("alice", "master"))
            self.assertFalse(accepts("master", "alice"))
            self.setPolicy("bob", master=True)
            self.assertFalse(accepts("bob", "master"))
            self.assertTrue(accepts("bob", "bob"))

    def test_oneTimeCodes(self) -> None:
        """Where it is said the main password needs a code behind it; app passwords don't."""
        secret = newSecret()
        self.setPolicy("alice", totp=secret)
        text, secrets = newAppPassword()
        self.now(self.directory.addAppPassword(self.address("alice"), "a", secrets))
        digits = code(secret, int(self.clock.seconds()) // STEP)
        self.assertIsNone(self.logIn("alice", "alice's", peer="local"))
        digits = code(secret, int(self.clock.seconds()) // STEP)
        self.assertIsNone(self.logIn("alice", "wrong" + digits, peer="local"))
        digits = code(secret, int(self.clock.seconds()) // STEP)
        self.assertEqual(self.logIn("alice", "alice's" + digits), "alice")
        self.assertIsNone(self.logIn("alice", "alice's" + digits, peer="local"))
        self.assertEqual(self.logIn("alice", text), "alice")
        self.assertIsNone(self.logIn("alice", text + digits, peer="local"))

    def test_provenIdentity(self) -> None:
        """What a mechanism has verified is subject to the same: SCRAM by the main password isn't
        enough where a code is needed, a certificate is."""
        (main,) = self.credentials()
        info = ConnectionInfo(PEER, 5000, "imaps", True)

        def attempt(credentials: Any) -> bool:
            login = ensureDeferred(Login(self.portal, self.sleep).attempt(credentials, "X", info))
            self.finish(login)
            results: list[Any] = []
            login.addBoth(results.append)
            return IAccount.providedBy(results[0])

        def proven(credentialId: str | None) -> ProvenIdentity:
            return ProvenIdentity(b"alice@example.test", None, credentialId)

        self.assertTrue(attempt(proven(main.credentialId)))
        self.assertTrue(attempt(proven(None)))
        self.assertFalse(attempt(proven("C77-1")))
        self.assertFalse(attempt(ProvenIdentity(b"nobody@example.test", None, None)))
        self.setPolicy("alice", totp=newSecret())
        self.assertFalse(attempt(proven(main.credentialId)))
        self.assertTrue(attempt(proven(None)))
        self.setPolicy("alice", services=frozenset(("smtp",)))
        self.assertFalse(attempt(proven(None)))


class RenewalTests(LoginTestCase):
    """
    Passwords that come from elsewhere.
    """

    def test_renewed(self) -> None:
        """Whoever logs in with a password that another server hashed has it hashed anew."""
        for text in (
            "{SHA512-CRYPT}$6$abc$IdWKNKTJEb8LxY7CGg8YBXlvtfZzFw7Mp/r6niK9YB2mdvgY.."
            "TKjv1T..8RadRt2qvUHYRLr/TsVArtr91iR1",
            "{PLAIN}secret",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56",
            "{DIGEST-MD5}alice:example.test:4842575394a190ef4c973253ba19099c",
            "{PLAIN-MD4}67d3dafef63ff00603aeef3769cfbf0d",
        ):
            scheme, rest = parseSecret(text)
            self.now(self.directory.setPassword(self.address("alice"), {scheme: rest}))
            self.assertIsNone(self.logIn("alice", "wrong", peer="local"))
            self.assertEqual(list(self.credentials()[0].secrets), [scheme])
            before = self.credentials()[0].credentialId
            self.assertEqual(self.logIn("alice", "secret"), "alice")
            (after,) = self.credentials()
            self.assertEqual((after.credentialId, after.kind), (before, PASSWORD))
            # Nothing weaker is left of it.
            self.assertEqual(list(after.secrets), ["argon2id"], text)
            self.assertEqual(self.logIn("alice", "secret"), "alice")

    def test_kept(self) -> None:
        """What mechanisms need beside the hash stays; a hash that is as new ones are does, too."""
        secrets = makeSecrets(b"secret", ("argon2id", "scram-sha-256", "plain"))
        self.now(self.directory.setPassword(self.address("alice"), secrets))
        self.logIn("alice", "secret")
        self.assertEqual(self.credentials()[0].secrets, secrets)
        secrets["argon2id"] = Argon2(time_cost=2, memory_cost=8, parallelism=1).hash("secret")
        self.now(self.directory.setPassword(self.address("alice"), secrets))
        self.logIn("alice", "secret")
        found = self.credentials()[0].secrets
        self.assertNotEqual(found["argon2id"], secrets["argon2id"])
        self.assertEqual({**found, "argon2id": ""}, {**secrets, "argon2id": ""})


class FailingTests(LoginTestCase):
    """
    A store that fails.
    """

    def test_everywhere(self) -> None:
        """
        At whatever call the store fails the login fails or is one, and who was let in by the realm
        and turned away by the policy is logged out.
        """
        faulty = FaultyStore(self.store)
        self.policy._directory = faulty.directory
        self.guard._memory = faulty.memory
        gone: list[int] = []
        realm = MailRealm(self.store)

        def open(*arguments: Any) -> Deferred[Any]:
            found = MailRealm.requestAvatar(realm, *arguments)
            return found.addCallback(lambda it: (*it[:2], lambda: gone.append(1)))

        self.patch(realm, "requestAvatar", open)
        self.portal.realm = realm

        def attempt() -> bool:
            login = self.begin("alice", "alice's")
            self.finish(login)
            results: list[Any] = []
            login.addBoth(results.append)
            return IAccount.providedBy(results[0])

        self.assertTrue(attempt())
        # Whether the network is locked out; the account, and its policy; whether it is known.
        for number, inside, out in ((1, False, 0), (2, False, 1), (3, False, 1), (4, True, 0)):
            faulty.failAt(number, TemporaryFailure)
            gone.clear()
            self.assertEqual((attempt(), len(gone)), (inside, out), number)
            faulty.heal()
        self.flushLoggedErrors(TemporaryFailure)


class GuessingTests(LoginTestCase):
    """
    Those who guess.
    """

    def test_alike(self) -> None:
        """
        Whatever is wrong, it costs one hash and as many questions to the directory's tables, and
        the answer is the same, after the same delay: nobody can tell whether there is an account.
        """
        faulty = FaultyStore(self.store)
        self.checker._directory = faulty.directory
        _, secrets = newAppPassword()
        self.now(self.directory.addAppPassword(self.address("alice"), "a", secrets))
        self.now(self.directory.setPassword(self.address("bob"), None))
        self.setPolicy("master", totp=newSecret())
        self.now(self.directory.addAccount(self.address("closed"), makeSecrets(b"x")))
        self.now(self.directory.setEnabled(self.address("closed"), False))
        self.now(self.directory.addAccount(self.address("old"), {"sha": "5en6G6MezRroT3XK"}))
        seen = set()
        for number, name in enumerate(
            (
                "alice",
                "bob",
                "nobody",
                "closed",
                "old",
                "master",
                "nobody@else",
                "alice*bob",
                "\xff",
            )
        ):
            # What failed under the same name before doesn't count any more.
            self.clock.advance(900)
            before, start = self.computed, self.clock.seconds()
            faulty.calls.clear()
            attempt = self.begin(name, "wrong", peer=f"198.51.{number}.1")
            self.finish(attempt)
            problem = self.failureResultOf(attempt, AuthenticationFailed).value
            # A name that can't be an address isn't looked for.
            calls = tuple(each for each in faulty.calls if each != "IDirectory.findAccount")
            seen.add((problem.text, self.computed - before, self.clock.seconds() - start, calls))
        asked = ("IDirectory.findCredentials", "IDirectory.findPolicy")
        self.assertEqual(seen, {(AuthenticationFailed.text, 1, 1.0, asked)})

    def test_sameTime(self) -> None:
        """How long the hash takes isn't seen: the delay counts from the attempt's beginning."""
        self.pending = []
        attempt = self.begin("alice", "wrong")
        self.clock.advance(0.75)
        self.pending.pop()()
        self.clock.advance(0.125)
        self.assertNoResult(attempt)
        self.clock.advance(0.125)
        self.failureResultOf(attempt, AuthenticationFailed)

    def test_lockedOut(self) -> None:
        """
        A network that failed too often isn't asked any more, whatever the name, right password or
        wrong: nothing is computed for it. That holds for all services, and ends.
        """
        for number in range(10):
            self.assertIsNone(self.logIn(f"user{number}", f"{number}", "imaps"))
        before = self.computed
        for service in ("imaps", "pop3", "submission"):
            for name, password in (("alice", "alice's"), ("nobody", "x")):
                attempt = self.begin(name, password, service)
                self.assertNoResult(attempt)
                self.clock.advance(MAX_DELAY)
                self.failureResultOf(attempt, TooManyFailures)
        self.assertEqual(self.computed, before)
        self.assertEqual(self.logIn("alice", "alice's", peer="198.51.100.1"), "alice")
        self.clock.advance(900)
        self.assertEqual(self.logIn("alice", "alice's"), "alice")

    def test_delays(self) -> None:
        """Each failure of a network is answered later than the one before, on any connection."""
        delays = []
        for number in range(6):
            start = self.clock.seconds()
            self.logIn("alice", f"wrong{number}", ("imap", "pop3", "submission")[number % 3])
            delays.append(self.clock.seconds() - start)
        self.assertEqual(delays, [1, 2, 4, 8, 15, 15])

    def test_delaysOfNames(self) -> None:
        """
        So is each failure under a name, wherever it came from, whether there is such an account or
        not; but where its owner logs in from he is only made to wait for what failed there.
        """
        self.assertEqual(self.logIn("alice", "alice's", peer="203.0.113.1"), "alice")
        for name, where, wanted in (
            ("alice", "198.51.{}.1", [1, 2, 4, 8, 15, 15]),
            ("nobody", "198.18.{}.1", [1, 2, 4, 8, 15, 15]),
            ("alice", "203.0.113.{}", [1, 2, 4]),
        ):
            delays = []
            for number in range(len(wanted)):
                start = self.clock.seconds()
                self.logIn(name, f"wrong{number}", peer=where.format(number))
                delays.append(self.clock.seconds() - start)
            self.assertEqual(delays, wanted)

    def test_thousand(self) -> None:
        """Of a thousand wrong passwords from one network no more are computed than lock it out."""
        before = self.computed
        for number in range(1000):
            attempt = self.begin("alice", f"wrong{number}")
            self.clock.advance(MAX_DELAY / 10)
            self.clock.advance(MAX_DELAY)
            attempt.addErrback(lambda failure: None)
        # The lock-out of 15 minutes ends now and then.
        spent = 1000 * 1.1 * MAX_DELAY
        self.assertLess(self.computed - before, 10 * (spent / 900 + 2))

    def test_atOnce(self) -> None:
        """That holds for attempts that come all at once, before the first of them has failed."""
        self.pending = []
        attempts = [self.begin("alice", f"wrong{number}") for number in range(100)]
        while self.pending:
            self.pending.pop(0)()
        self.assertLessEqual(self.computed, 12)
        self.clock.advance(2 * MAX_DELAY)
        problems = {type(self.failureResultOf(each).value) for each in attempts}
        self.assertEqual(problems, {AuthenticationFailed, TooManyFailures})

    def test_elsewhere(self) -> None:
        """
        A thousand wrong passwords from one network, a hundred at a time, take less than a tenth of
        the hashes that are computed while two hundred log in from another, eight at a time.
        """
        count = 200
        for number in range(count):
            secrets = makeSecrets(b"%d" % number)
            self.now(self.directory.addAccount(self.address(f"user{number}"), secrets))
        self.computed = 0
        self.pending = []
        guesses, logins = iter(range(1000)), iter(range(count))
        refused: list[Any] = []
        arrived: list[str] = []

        def guess() -> None:
            for number in guesses:
                attempt = self.begin(f"user{number % count}", f"guess{number}", peer=PEER)
                attempt.addErrback(refused.append)
                return

        def logIn(found: Any = None) -> None:
            if found is not None:
                arrived.append(found.address.localPart)
            for number in logins:
                name = f"user{number}"
                self.begin(name, f"{number}", "pop3s", "198.51.100.1").addCallback(logIn)
                return

        for _ in range(100):
            guess()
        for _ in range(8):
            logIn()
        while len(arrived) < count:
            # What was computed first is done first; whoever guesses doesn't wait for an answer.
            self.pending.pop(0)()
            guess()
        self.assertEqual(len(set(arrived)), count)
        self.assertLess(self.computed - count, count / 10)
        self.clock.advance(2 * MAX_DELAY)
        self.assertGreater(len(refused), 100)

    def test_exempt(self) -> None:
        """
        From where all users of a webmail come one wrong password doesn't put the others last: that
        isn't one network for those who hash.
        """
        for peer, origin in ((PEER, "192.0.2.0/24"), ("127.0.0.1", ""), ("local", "")):
            info = ConnectionInfo(peer, 5000, "imaps", True)
            self.assertEqual(self.now(self.policy.begin(b"alice", info)), origin)

    def test_owner(self) -> None:
        """Nobody can lock an account's owner out from elsewhere."""
        self.assertEqual(self.logIn("alice", "alice's", peer="203.0.113.1"), "alice")
        for number in range(20):
            self.assertIsNone(self.logIn("alice", f"{number}", peer=f"198.51.{number}.1"))
        self.assertEqual(self.logIn("alice", "alice's", peer="203.0.113.9"), "alice")
        attempt = self.begin("alice", "alice's", peer="198.18.0.1")
        self.clock.advance(MAX_DELAY)
        self.failureResultOf(attempt, TooManyFailures)

    def test_exhausts(self) -> None:
        """Who is locked out uses up the attempts of his connection all the same."""
        for number in range(10):
            self.logIn("alice", f"{number}")
        login = Login(self.portal, self.sleep)
        for _ in range(3):
            self.assertFalse(login.exhausted)
            attempt = self.begin("alice", "alice's", login=login)
            self.clock.advance(MAX_DELAY)
            self.failureResultOf(attempt, TooManyFailures)
        self.assertTrue(login.exhausted)

    def test_mechanisms(self) -> None:
        """
        A mechanism that finds out by itself that a proof is wrong has it counted, and says the same
        of a right one and of a wrong one when the network is locked out.
        """
        info = ConnectionInfo(PEER, 5000, "imaps", True)

        def refuse(number: int) -> Any:
            login = Login(self.portal, self.sleep)
            refused = ensureDeferred(login.refuse(f"user{number}", "SCRAM-SHA-256", info))
            self.finish(refused)
            return self.failureResultOf(refused).type

        self.assertEqual([refuse(number) for number in range(10)], [AuthenticationFailed] * 10)
        self.assertEqual(refuse(11), TooManyFailures)
        proven = ProvenIdentity(b"alice@example.test", None, self.credentials()[0].credentialId)
        attempt = ensureDeferred(
            Login(self.portal, self.sleep).attempt(proven, "SCRAM-SHA-256", info)
        )
        self.finish(attempt)
        self.failureResultOf(attempt, TooManyFailures)

    def test_forgiven(self) -> None:
        """An operator can let a network and a name in again."""
        for number in range(10):
            self.logIn("alice", f"{number}")
        self.now(self.guard.forgive("alice@example.test", [PEER]))
        self.assertEqual(self.logIn("alice", "alice's"), "alice")


class HistoryTests(LoginTestCase):
    """
    What is kept of logins.
    """

    def test_kept(self) -> None:
        """When, what was said, whereto, from where, how, with which app password, and whether."""
        text, secrets = newAppPassword()
        self.now(self.directory.addAppPassword(self.address("alice"), "Phone", secrets))
        at = int(self.clock.seconds())
        self.logIn("alice@example.test", "alice's", "imap")
        self.logIn("ALICE", text, "submission", "2001:db8::1")
        self.assertIsNone(self.logIn("alice", "wrong"))
        self.assertIsNone(self.logIn("nobody", "wrong"))
        alice = self.ids["alice"]
        self.assertEqual(
            self.logins("alice"),
            [
                LoginRecord(at, alice, "alice@example.test", "imap", PEER, "PLAIN", True),
                LoginRecord(
                    at, alice, "ALICE", "submission", "2001:db8::1", "PLAIN", True, "Phone"
                ),
                LoginRecord(at, alice, "alice", "imaps", PEER, "PLAIN", False),
            ],
        )
        (stray,) = self.logins(None)
        self.assertEqual((stray.name, stray.success), ("nobody", False))

    def test_nothingSecret(self) -> None:
        """No password is kept, right or wrong."""
        self.logIn("alice", "alice's")
        self.logIn("alice", "hunter2")
        kept = repr(self.logins("alice"))
        self.assertNotIn("alice's", kept)
        self.assertNotIn("hunter2", kept)

    def test_longNames(self) -> None:
        """A name is kept up to a bound, whatever its octets."""
        self.assertIsNone(self.logIn("\xff" * 10_000, "x"))
        (record,) = self.logins(None)
        self.assertLessEqual(len(record.name), 320)


class SQLStoreMixin:
    """
    The same with the SQL store.
    """

    clock: Clock
    calls: CallQueue
    mktemp: Any
    store: Any

    def makeStore(self) -> Any:
        """
        @return: the store.
        """
        return SQLMailStore(
            self.mktemp(), Clock(), self.calls.callFromThread, now=self.clock.seconds
        )

    def isBusy(self) -> bool:
        """
        @return: whether the store writes.
        """
        return bool(self.store.writer.busy)


class SQLPolicyTests(SQLStoreMixin, PolicyTests):
    """Who may log in."""


class SQLRenewalTests(SQLStoreMixin, RenewalTests):
    """Passwords that come from elsewhere."""


class SQLHistoryTests(SQLStoreMixin, HistoryTests):
    """What is kept."""
