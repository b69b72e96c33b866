"""
A store that fails when it is told to, for tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import directlyProvides, providedBy

from twisted_mailstack.interfaces import IAccount, IMailbox, IMessageContent

#: Methods that return at once, and aren't counted.
_IMMEDIATE = ("watch", "newContent")


class Faults:
    """
    Counts the calls to a store's accounts, mailboxes and contents, and makes one of them raise.

    @ivar calls: how many there were; C{names} which.
    @ivar failAt: which fails, the first one is 1; C{None} for none.
    """

    def __init__(self, error: Callable[[], Exception]) -> None:
        self.error = error
        self.calls = 0
        self.names: list[str] = []
        self.failAt: int | None = None

    def called(self, name: str) -> None:
        """
        @raise Exception: if it is this one's turn.
        """
        self.calls += 1
        self.names.append(name)
        if self.calls == self.failAt:
            raise self.error()


class Faulty:
    """
    Stands in front of a store, an account, a mailbox or a content, and of all that they give.
    """

    def __init__(self, real: Any, faults: Faults) -> None:
        self.real = real
        self.faults = faults
        directlyProvides(self, providedBy(real))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.real, name)
        if name in _IMMEDIATE or not callable(value):
            return value

        async def call(*arguments: Any, **named: Any) -> Any:
            if name != "openAccount":
                self.faults.called(name)
            inner = [each.real if isinstance(each, Faulty) else each for each in arguments]
            result = await value(*inner, **named)
            wrapped = any(
                interface.providedBy(result) for interface in (IAccount, IMailbox, IMessageContent)
            )
            return type(self)(result, self.faults) if wrapped else result

        return call
