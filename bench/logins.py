"""
Logins a second, and what guessing from elsewhere does to them (docs/performance.rst).

    python -m bench.logins

All but the network and the protocol: policy, guessing guard, checker, hashes in threads, a store on
disk in which failures and recent logins are kept. Eight clients log in one after the other; the
attacker makes a hundred attempts at a time, and doesn't wait for the delays: as soon as one has
failed the next connection is there.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from typing import Any

from twisted.internet import reactor as running
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from twisted_mailstack.auth import passwords
from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.guessing import GuessingGuard
from twisted_mailstack.auth.history import LoginRecorder
from twisted_mailstack.auth.login import Login
from twisted_mailstack.auth.onetime import OneTimeCodes
from twisted_mailstack.auth.passwords import WORKERS, PasswordHasher
from twisted_mailstack.auth.policy import LoginPolicy, MailPortal
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.auth.schemes import makeSecrets, newAppPassword
from twisted_mailstack.errors import MailError
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.storage.sql.store import SQLMailStore

reactor: Any = running
ACCOUNTS = 20
CLIENTS = 8
LOGINS = 200
GUESSES = 1000
GUESSERS = 100
ROUNDS = 5
DOMAIN = "example.test"


class Bench:
    """
    A server's logins.
    """

    def __init__(self, store: SQLMailStore, pool: ThreadPool) -> None:
        self._store = store
        self._pool = pool
        self.appPasswords: list[str] = []
        self.renew()

    def renew(self) -> None:
        """Forget what was verified, and who guessed."""
        directory, memory = self._store.directory, self._store.memory
        self._guard = GuessingGuard(memory, time.time)
        hasher = PasswordHasher(
            lambda function, *arguments: deferToThreadPool(
                reactor, self._pool, function, *arguments
            ),
            reactor,
            isLocked=self._guard.isKnown,
        )
        checker = DirectoryChecker(directory, hasher, codes=OneTimeCodes(memory, time.time))
        self.recorder = LoginRecorder(self._store.logins, directory, reactor)
        policy = LoginPolicy(directory, time.time, self._guard, self.recorder)
        self._portal = MailPortal(MailRealm(self._store), (checker,), policy)

    async def prepare(self) -> None:
        """Make the accounts."""
        directory = self._store.directory
        await directory.addDomain(DOMAIN)
        for number in range(ACCOUNTS):
            address = Address(f"user{number}", DOMAIN)
            await directory.addAccount(address, makeSecrets(b"password%d" % number))
            text, secrets = newAppPassword()
            await directory.addAppPassword(address, "app", secrets)
            self.appPasswords.append(text)

    async def attempt(self, name: str, password: str, peer: str) -> bool:
        """
        @return: whether it was right.
        """
        login = Login(self._portal, lambda seconds: succeed(None))
        credentials = PasswordCredentials(name.encode(), password.encode())
        try:
            await login.attempt(credentials, "PLAIN", ConnectionInfo(peer, 1, "imaps", True))
        except MailError:
            return False
        return True

    async def logins(self, app: bool = False) -> float:
        """
        @return: logins a second, of L{CLIENTS} clients in the network 192.0.2.0/24.
        """
        waiting = list(range(LOGINS))
        began = time.perf_counter()

        async def client(number: int) -> None:
            while waiting:
                account = waiting.pop() % ACCOUNTS
                password = self.appPasswords[account] if app else f"password{account}"
                name = f"user{account}@{DOMAIN}"
                assert await self.attempt(name, password, f"192.0.2.{number}")

        await together(client(number) for number in range(CLIENTS))
        return LOGINS / (time.perf_counter() - began)

    async def guess(self) -> float:
        """
        @return: how many seconds L{GUESSES} wrong passwords from another network took.
        """
        waiting = list(range(GUESSES))
        began = time.perf_counter()

        async def client() -> None:
            while waiting:
                number = waiting.pop()
                peer = f"198.51.100.{number % 250}"
                assert not await self.attempt(f"user0@{DOMAIN}", f"wrong{number}", peer)
                pause: Deferred[None] = Deferred()
                reactor.callLater(0, pause.callback, None)
                await pause

        await together(client() for _ in range(GUESSERS))
        return time.perf_counter() - began

    async def beside(self) -> float:
        """
        @return: logins a second while somebody guesses.
        """
        await self._guard.forgive(f"user0@{DOMAIN}", ["198.51.100.1"])
        guessing = ensureDeferred(self.guess())
        found = await self.logins()
        await guessing
        return found


async def together(work: Any) -> None:
    """
    Do all of it at the same time.

    @raise Exception: what one of it failed with.
    """
    await DeferredList([ensureDeferred(each) for each in work], fireOnOneErrback=True)


def show(what: str, numbers: list[float], unit: str = "logins/s") -> None:
    """Print a line."""
    low, high = min(numbers), max(numbers)
    print(f"{what:52} {statistics.median(numbers):9,.0f} {unit}  ({low:,.0f}-{high:,.0f})")


async def measure(store: SQLMailStore, pool: ThreadPool) -> None:
    """
    Measure, and print it. What is compared is measured in turns, since other work disturbs it.
    """
    await store.start()
    bench = Bench(store, pool)
    await bench.prepare()
    cached, apps, alone, beside = [], [], [], []
    for _ in range(ROUNDS):
        passwords.CACHE_SECONDS = 600.0
        await bench.logins()
        cached.append(await bench.logins())
        apps.append(await bench.logins(app=True))
        passwords.CACHE_SECONDS = 0.0
        await bench.recorder.close()
        bench.renew()
        alone.append(await bench.logins())
        beside.append(await bench.beside())
        await bench.recorder.close()
        bench.renew()
    show("password, verified less than a minute ago", cached)
    show("app password", apps)
    show("password, computed", alone)
    show(f"the same, beside {GUESSES} wrong ones from one network", beside)
    ratio = statistics.median(each / other for each, other in zip(beside, alone, strict=True))
    print(f"so it is slower by {max(0.0, 1 - ratio):.1%} (the median of {ROUNDS} pairs)")
    await store.stop()


def main() -> None:
    """
    Run it.
    """
    pool = ThreadPool(WORKERS, WORKERS, "hashes")
    failed: list[Any] = []

    async def run(path: str) -> None:
        pool.start()
        try:
            await measure(SQLMailStore(path, reactor, reactor.callFromThread), pool)
        finally:
            pool.stop()

    def begin(path: str) -> None:
        done = ensureDeferred(run(path)).addErrback(failed.append)
        done.addBoth(lambda _: reactor.stop())

    with tempfile.TemporaryDirectory(prefix="mailstack-logins-") as path:
        reactor.callWhenRunning(begin, path)
        reactor.run()
    if failed:
        sys.exit(failed[0].getTraceback())


if __name__ == "__main__":
    main()
