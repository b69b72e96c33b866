# -*- test-case-name: tests.auth.test_guessing -*-
"""
Against guessing: failed logins are counted by network and by name, in the store's memory, so that
it is one count for all protocols and processes, and stays through a restart.

From a network that failed too often nothing is taken for a while, whatever the name. A name that
failed too often from anywhere is only taken from networks that its owner logged in from lately, so
that nobody can lock him out. Whether there is such a name makes no difference.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from secrets import randbelow
from typing import NamedTuple

from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IKeyedMemory

#: Seconds that a network is known as one from which an account's owner came.
KNOWN = 30 * 86400
DAY = 86400
#: Networks that are known as locked out without asking.
LOCKED = 10_000


class TooManyFailures(TemporaryFailure):
    """Failed too often, from there or under that name; says nothing of this attempt."""

    enhancedStatus = "4.7.0"
    text = "Too many failed logins, try again later"


class GuessingLimits(NamedTuple):
    """
    @ivar networkFailures: with which a network is locked out, 0 for never.
    @ivar accountFailures: with which a name is, 0 for never.
    @ivar period: seconds that a failure counts, and so that a lock-out lasts.
    @ivar exempt: networks that are never locked out.
    @ivar ipv4Prefix: bits of the addresses of one network; C{ipv6Prefix} likewise.
    """

    networkFailures: int = 20
    accountFailures: int = 50
    period: int = 900
    exempt: Collection[IPv4Network | IPv6Network] = (
        ip_network("127.0.0.0/8"),
        ip_network("::1/128"),
    )
    ipv4Prefix: int = 24
    ipv6Prefix: int = 64


def peerAddress(peer: str) -> IPv4Address | IPv6Address | None:
    """
    @param peer: as of L{ConnectionInfo}.
    @return: its address, that of IPv4 where it is mapped into IPv6; this machine's for a Unix
        socket; C{None} if it is none.
    """
    try:
        address = ip_address("127.0.0.1" if peer == "local" else peer.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class GuessingGuard:
    """
    Counts, and says who is locked out.
    """

    def __init__(
        self,
        memory: IKeyedMemory,
        now: Callable[[], float],
        limits: GuessingLimits = GuessingLimits(),  # noqa: B008
        secret: bytes | None = None,
    ) -> None:
        """
        @param now: seconds since 1970.
        @param secret: by which processes that have the same know wrong passwords that came before;
            it isn't to be stored. C{None}: this process has its own, and a client that repeats a
            wrong password is counted once by each process.
        """
        self._memory = memory
        self._now = now
        self._limits = limits
        self._secret = os.urandom(32) if secret is None else secret
        self._locked: dict[str, float] = {}

    def network(self, peer: str) -> str:
        """
        @return: the network that an address is of; the text itself if it is none.
        """
        address = peerAddress(peer)
        if address is None:
            return peer[:64]
        bits = self._limits.ipv4Prefix if address.version == 4 else self._limits.ipv6Prefix
        return str(ip_network(f"{address}/{bits}", strict=False))

    def isExempt(self, peer: str) -> bool:
        """
        @return: whether logins from there aren't counted.
        """
        address = peerAddress(peer)
        return address is not None and any(address in each for each in self._limits.exempt)

    async def isLocked(self, name: str, peer: str) -> bool:
        """
        @param name: as L{names.nameKey} has it.
        """
        if self.isExempt(peer):
            return False
        limits, keys = self._limits, self._keys(name, peer)
        found = await self._memory.recall(keys)
        if 0 < limits.networkFailures <= found.get(keys[0], 0):
            return True
        # Another process may have forgiven it.
        self._locked.pop(self.network(peer), None)
        return 0 < limits.accountFailures <= found.get(keys[1], 0) and keys[2] not in found

    async def failed(self, name: str, peer: str, password: bytes | None = None) -> int:
        """
        A login failed.

        @param password: that was wrong; the same again counts once.
        @return: the failures of the network by now, or those under that name, whatever are more;
            the name's don't count where its owner comes from.
        """
        if self.isExempt(peer):
            return 0
        until = int(self._now()) + self._limits.period
        network, account, known = self._keys(name, peer)
        if password is not None and await self._isRepeat(name, peer, password):
            counts = await self._memory.recall((network, account))
        else:
            counts = await self._memory.add([(network, 1, until), (account, 1, until)])
        count = counts.get(network, 0)
        if 0 < self._limits.networkFailures <= count:
            if len(self._locked) >= LOCKED:
                self._locked.clear()
            self._locked[self.network(peer)] = until
        if known in await self._memory.recall((known,)):
            return count
        return max(count, counts.get(account, 0))

    def isKnown(self, network: str) -> bool:
        """
        @return: whether a network is one that this process has locked out. Of those that wait for
            their turn when that happens none needs to be computed any more.
        """
        return self._locked.get(network, 0.0) > self._now()

    async def succeeded(self, name: str, peer: str) -> None:
        """
        An account's owner logged in from there.
        """
        if self.isExempt(peer) or not self._limits.accountFailures:
            return
        key, now = self._keys(name, peer)[2], int(self._now())
        # Written anew once a day, not at each login. The number is the day.
        found = await self._memory.recall((key,))
        if found.get(key) != now // DAY:
            await self._memory.remember([(key, now // DAY, now + KNOWN)])

    async def forgive(self, name: str | None, peers: Collection[str]) -> None:
        """
        Nothing that failed under a name, or from the networks of these addresses, counts any more.

        @param name: C{None}: none.
        """
        keys = [self._keys("", peer)[0] for peer in peers]
        for peer in peers:
            self._locked.pop(self.network(peer), None)
        if name is not None:
            keys.append(self._keys(name, "")[1])
        await self._memory.remember([(key, 0, int(self._now())) for key in keys])

    def _keys(self, name: str, peer: str) -> tuple[str, str, str]:
        network = self.network(peer)
        digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32]
        return f"login:n:{network}", f"login:a:{digest}", f"login:k:{digest}:{network}"

    async def _isRepeat(self, name: str, peer: str, password: bytes) -> bool:
        """
        @return: whether this wrong password came before, from that address under that name. From
            now on it has.
        """
        text = b"\0".join((name.encode("utf-8", "replace"), peer.encode(), password))
        # Who reads the database can't tell from it what was typed, which may be nearly the
        # password: what it is made with isn't there.
        key = f"login:r:{hmac.digest(self._secret, text, 'sha256').hex()[:32]}"
        if key in await self._memory.recall((key,)):
            return True
        # Another process may see the same at the same time: one of them is the first.
        ours = randbelow(2**52)
        until = int(self._now()) + self._limits.period
        kept = await self._memory.introduce([(key, ours, until)])
        return kept[key] != ours
