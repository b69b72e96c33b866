# -*- test-case-name: tests.auth.checkers.test_registry -*-
"""
What a source of passwords is made of, and of what it says of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred

from twisted_mailstack.auth.tokens import Fetch
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IPasswordHasher, IPasswordSource


class SourceProblem(Exception):
    """Settings that can't be used; the text begins with the setting's name, or the library's."""


class SourceUnavailable(TemporaryFailure):
    """Who knows whether a password is right can't be asked; says nothing of the password."""

    enhancedStatus = "4.7.0"


class Threads(Protocol):
    """
    A pool of threads of its own, for what waits for others.
    """

    def start(self) -> None:
        """From here on it may run something; after L{stop}, too."""

    def stop(self) -> Deferred[None]:
        """
        Run nothing more.

        @return: fires when nothing runs any more, or what does has had its time.
        """

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """
        @return: what the function returns in a thread.
        """


class SourceServices(NamedTuple):
    """
    What sources are given.

    @ivar reactor: tells the time, waits, and starts processes.
    @ivar now: seconds since 1970.
    @ivar hasher: verifies hashes.
    @ivar makeThreads: given a name and how many.
    @ivar makeFetch: given the seconds of a whole answer, and a file with certificates of those
        who are trusted with certificates, C{""} for the platform's.
    @ivar defaultDomain: of names without C{@}; C{None}: they are nobody's.
    """

    reactor: Any
    now: Callable[[], float]
    hasher: IPasswordHasher
    makeThreads: Callable[[str, int], Threads]
    makeFetch: Callable[[float, str], Fetch]
    defaultDomain: str | None = None


class SourceRecord(NamedTuple):
    """
    @ivar name: by which the configuration calls it.
    @ivar settings: a frozen dataclass; raises L{SourceProblem} for what can't be used.
    @ivar make: of settings and services. Raises L{SourceProblem} if a library is missing, or a
        file that is needed. Asks nobody.
    """

    name: str
    settings: Callable[..., Any]
    make: Callable[[Any, SourceServices], IPasswordSource]
