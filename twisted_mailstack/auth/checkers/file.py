# -*- test-case-name: tests.auth.checkers.test_file -*-
"""
A password file, as L{twisted_mailstack.auth.passwordfile} reads it, read again when it changes.

A file that somebody is writing is never taken for the whole: what was read before goes on to hold
until it stays as it is for L{SETTLE} seconds. Write a new one beside it and rename it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.auth.checkers.decoy import decoyOf
from twisted_mailstack.auth.checkers.source import (
    SourceProblem,
    SourceRecord,
    SourceServices,
    SourceUnavailable,
)
from twisted_mailstack.auth.names import addressKey
from twisted_mailstack.auth.passwordfile import Entry, parsePasswordFile
from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import IPasswordSource
from twisted_mailstack.model.address import Address

#: Seconds without a change after which nobody is writing the file any more.
SETTLE = 1.0
#: Octets of a file.
MAX_FILE = 64 * 1024 * 1024
#: Bad lines that the log names.
MAX_NAMED = 20


@dataclass(frozen=True)
class FileSettings:
    """
    @ivar path: of the file.
    """

    path: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise SourceProblem("path must name the password file")


class _Signature(NamedTuple):
    device: int
    inode: int
    size: int
    changed: int

    @staticmethod
    def of(status: os.stat_result) -> _Signature:
        return _Signature(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _read(path: str) -> tuple[_Signature | None, bytes]:
    # In a thread. No signature: it was written meanwhile.
    if not os.path.isfile(path):
        raise OSError(None, "it is no file")
    with open(path, "rb") as file:
        before = _Signature.of(os.fstat(file.fileno()))
        octets = file.read(MAX_FILE + 1)
        after = _Signature.of(os.fstat(file.fileno()))
    if len(octets) > MAX_FILE:
        raise OSError(None, "it is too large")
    return after if before == after else None, octets


@implementer(IPasswordSource)
class PasswordFile:
    """
    See L{IPasswordSource}.
    """

    log = Logger()

    def __init__(self, settings: FileSettings, services: SourceServices) -> None:
        self._path = settings.path
        self._services = services
        self._threads = services.makeThreads("password-file", 1)
        self._entries: dict[str, Entry] | None = None
        self._decoy: str | None = None
        self._taken: _Signature | None = None
        self._seen: tuple[_Signature, float] | None = None
        self._loading: list[Deferred[None]] | None = None
        self._said = ""

    async def start(self) -> None:
        """See L{IPasswordSource}."""
        self._threads.start()

    async def stop(self) -> None:
        """See L{IPasswordSource}."""
        await self._threads.stop()

    async def verify(self, address: Address, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordSource}."""
        entries = await self._current()
        entry = entries.get(addressKey(address))
        hasher = self._services.hasher
        if entry is not None and entry.secret is not None:
            return await hasher.verify(entry.secret, password, origin)
        # As long as for one of those that are there.
        await hasher.verify(self._decoy, password, origin)
        return False

    async def _current(self) -> dict[str, Entry]:
        clock = self._services.reactor
        while True:
            try:
                signature = _Signature.of(os.stat(self._path))
            except OSError as error:
                self._fail(error)
            if signature == self._taken and self._entries is not None:
                return self._entries
            wait = self._unsettled(signature)
            if wait <= 0:
                if self._loading is None or self._entries is None:
                    await self._load()
            elif self._entries is None:
                await deferLater(clock, wait)
            if self._entries is not None:
                return self._entries

    def _unsettled(self, signature: _Signature) -> float:
        # How much longer it has to stay as it is.
        if self._seen is None or self._seen[0] != signature:
            self._seen = signature, self._services.reactor.seconds()
        age = self._services.now() - signature.changed / 1e9
        # Clocks of file servers may be ahead.
        seen: float = self._services.reactor.seconds() - self._seen[1]
        return SETTLE - max(age, seen)

    async def _load(self) -> None:
        if self._loading is not None:
            loaded: Deferred[None] = Deferred()
            self._loading.append(loaded)
            await loaded
            return
        waiting = self._loading = []
        try:
            signature, octets = await self._threads.run(_read, self._path)
            if signature is not None:
                self._take(
                    *await self._threads.run(
                        parsePasswordFile, octets, self._services.defaultDomain
                    )
                )
                self._taken = signature
            else:
                self._seen = None
        except OSError as error:
            self._fail(error)
        finally:
            self._loading = None
            for loaded in waiting:
                loaded.callback(None)

    def _take(self, entries: dict[str, Entry], bad: list[tuple[int, str]]) -> None:
        usable = {}
        bad = list(bad)
        for key, entry in entries.items():
            try:
                if entry.networks:
                    # Left out, it would be from everywhere.
                    raise SyntaxProblem(
                        "allow_nets isn't for here: say it by mailstack user networks"
                    )
            except SyntaxProblem as problem:
                bad.append((entry.number, problem.text))
                continue
            usable[key] = entry._replace(secret=None) if entry.isLocked else entry
        for number, text in sorted(bad)[:MAX_NAMED]:
            self.log.error(
                "{path}: line {number} is left out: {text}",
                path=self._path,
                number=number,
                text=text,
            )
        if len(bad) > MAX_NAMED:
            more = len(bad) - MAX_NAMED
            self.log.error("{path}: {more} more bad lines", path=self._path, more=more)
        self.log.info("{path}: {count} users", path=self._path, count=len(usable))
        self._said = ""
        self._entries = usable
        secret = next((each.secret for each in usable.values() if each.secret), None)
        self._decoy = None if secret is None else decoyOf(secret)

    def _fail(self, error: OSError) -> None:
        # Not what was read before: who takes the file away wants that nobody gets in by it.
        self._entries = self._taken = None
        text = error.strerror or str(error)
        if text != self._said:
            self._said = text
            self.log.error("checker file: {path}: {text}", path=self._path, text=text)
        raise SourceUnavailable()


SOURCE = SourceRecord("file", FileSettings, PasswordFile)
