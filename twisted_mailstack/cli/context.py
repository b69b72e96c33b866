"""
What the commands share: the configuration, and a store that is used without a reactor.
"""

from __future__ import annotations

import queue
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from unicodedata import normalize

import click
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_mailstack.config import Configuration
from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.model.address import Address, parseDomain
from twisted_mailstack.storage.sql.store import FILE, SQLMailStore

T = TypeVar("T")


class Context:
    """
    @ivar configuration: as the options say.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._calls: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = (
            queue.SimpleQueue()
        )
        self._store: SQLMailStore | None = None

    @property
    def file(self) -> Path:
        """The database."""
        return Path(self.configuration.data) / FILE

    def open(self, make: bool = False) -> SQLMailStore:
        """
        @param make: make the data directory if it isn't there.
        @raise click.ClickException: if it can't be opened.
        """
        if self._store is None:
            if not make:
                self._requireFile()
            self._store = self._make(
                Clock(), lambda function, *arguments: self._calls.put((function, arguments))
            )
            self.run(self._store.start())
        return self._store

    def _requireFile(self) -> None:
        if not self.file.exists():
            raise click.ClickException(
                f"there is no mail in {self.configuration.data}: name the data directory with"
                " --data, or start the server once"
            )

    def _make(self, clock: Any, callFromThread: Callable[..., Any]) -> SQLMailStore:
        configuration = self.configuration
        return SQLMailStore(
            configuration.data,
            clock,
            callFromThread,
            quotaDefaults=(configuration.quotaOctets or None, configuration.quotaMessages or None),
        )

    def react(self, work: Callable[[Any, SQLMailStore], Awaitable[T]]) -> T:
        """
        Do what needs the network, with a store of its own. Once in a process.

        @param work: given the reactor and the store.
        @raise click.ClickException: as L{run}.
        """
        self._requireFile()

        async def main(reactor: Any) -> T:
            store = self._make(reactor, reactor.callFromThread)
            await store.start()
            try:
                return await work(reactor, store)
            finally:
                await store.stop()

        return self.visit(main)

    def visit(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """
        Do what needs the network only. Once in a process.

        @param work: given the reactor.
        @raise click.ClickException: as L{run}.
        """
        # Here: the other commands do without, and it takes time.
        from twisted.internet import reactor as running

        reactor: Any = running
        result: list[Any] = []

        async def main() -> T:
            return await work(reactor)

        def begin() -> None:
            done = ensureDeferred(main()).addBoth(result.append)
            done.addBoth(lambda _: reactor.stop())

        reactor.callWhenRunning(begin)
        reactor.run()
        if not result:
            # Stopped by a signal. What was done is on disk.
            raise click.Abort()
        value: T = self._value(result[0])
        return value

    def run(self, awaitable: Awaitable[T], look: Callable[[], None] | None = None) -> T:
        """
        Wait for something of the store.

        @param look: called now and then while it takes long.
        @raise click.ClickException: with the text of a MailError, or what is wrong with the
            database.
        """

        async def wait() -> T:
            return await awaitable

        result: list[Any] = []
        ensureDeferred(wait()).addBoth(result.append)
        while not result:
            try:
                function, arguments = self._calls.get(timeout=None if look is None else 0.2)
            except queue.Empty:
                assert look is not None
                look()
            else:
                function(*arguments)
        value: T = self._value(result[0])
        return value

    def _value(self, found: Any) -> Any:
        if isinstance(found, Failure):
            if found.check(MailError):
                raise click.ClickException(found.getErrorMessage())
            if found.check(sqlite3.Error):
                raise click.ClickException(
                    f"{self.file}: {found.getErrorMessage()}; mailstack check names what is damaged"
                )
            found.raiseException()
        return found

    def close(self) -> None:
        """
        Close the store, if it is open.
        """
        if self._store is not None:
            store, self._store = self._store, None
            self.run(store.stop())


class Commands(click.Group):
    """
    A group of commands in which an error of the system is told as one: what, and where.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """See L{click.Group}."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            raise click.ClickException(f"{where}{error.strerror or error}") from error


@contextmanager
def progress(label: str, whole: int) -> Iterator[Callable[[int], None]]:
    """
    Show how far long work is, if somebody sees it.

    @param whole: how much there is to do.
    @return: call it with how much is done by now.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    with click.progressbar(length=max(whole, 1), label=label, file=sys.stderr) as bar:
        yield lambda done: bar.update(min(done, bar.length or 0) - bar.pos)


passContext = click.make_pass_decorator(Context)


class AddressType(click.ParamType[Address]):
    """An address."""

    name = "address"

    def convert(self, value: Any, param: Any, ctx: Any) -> Address:
        """See L{click.ParamType}."""
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(normalize("NFC", value))
        except SyntaxProblem as problem:
            self.fail(f"{value}: {problem.text}", param, ctx)


class DomainType(click.ParamType[str]):
    """A domain."""

    name = "domain"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """See L{click.ParamType}."""
        try:
            return parseDomain(normalize("NFC", value))
        except SyntaxProblem as problem:
            self.fail(f"{value}: {problem.text}", param, ctx)


ADDRESS = AddressType()
DOMAIN = DomainType()


def askPassword(confirm: bool = True) -> bytes:
    """
    A password: asked for on a terminal, else one line of standard input.

    @param confirm: it is a new one, and asked for twice.
    @return: UTF-8.
    """
    if sys.stdin.isatty():
        text: str = click.prompt("Password", hide_input=True, confirmation_prompt=confirm)
    else:
        line = sys.stdin.buffer.readline()
        try:
            text = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise click.ClickException("the password is not UTF-8") from None
    if not text:
        raise click.ClickException("the password is empty")
    return text.encode("utf-8", "surrogateescape")
