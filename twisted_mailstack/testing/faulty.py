# -*- test-case-name: tests.storage.test_faulty -*-
"""
A store that fails at its n-th call: no command may hang, lie or lose a message because of it.

A test runs its scenario once to learn how many calls it makes, then again for each of them::

    store = FaultyStore(MemoryMailStore())
    ...                                    # accounts; sessions are given this store
    before = len(store.calls)
    scenario()
    for number in range(len(store.calls) - before):
        store.failAt(number + 1)           # or: store.failAt(number + 1, TemporaryFailure)
        scenario()                         # must answer as of a failure
        store.heal()
        ...                                # store.wrapped is as it was, or all is done

What comes out of the store (accounts, mailboxes, messages, directory, spool and so on) fails
with it; all their calls are counted together. A call that fails has not been made. Calls that can't
fail, since nobody could do anything about it, are passed on and not counted: C{abort}, C{discard},
C{watch}, C{newContent}, C{stop}, and what they return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import Interface, directlyProvides, providedBy

from twisted_mailstack.interfaces import (
    IAccessControl,
    IAccount,
    IContentWriter,
    IDirectory,
    IKeyedMemory,
    ILoginHistory,
    IMailbox,
    IMailStore,
    IMessageContent,
    ISpool,
    IStagedContent,
    IURLKeys,
)

#: What is wrapped, by the interface that counts in the names of calls.
_INTERFACES: tuple[type[Interface], ...] = (
    *(IMailStore, IAccount, IMailbox, IDirectory, ISpool, IKeyedMemory),
    *(IAccessControl, ILoginHistory),
    *(IContentWriter, IStagedContent, IMessageContent, IURLKeys),
)
_NEVER_FAIL = frozenset(("abort", "discard", "watch", "newContent", "stop"))
#: Counted, but they answer at once.
_SYNCHRONOUS = frozenset(("write", "lockQueue"))


class Fault(Exception):
    """
    What nobody expects of a store: any exception that is no C{MailError}.
    """


class _Faulty:
    """
    Stands for something of a store.
    """

    def __init__(self, wrapped: Any, store: FaultyStore, name: str) -> None:
        self.wrapped = wrapped
        self._store = store
        self._name = name
        directlyProvides(self, providedBy(wrapped))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.wrapped, name)
        if name.startswith("_") or not callable(value):
            return self._wrap(value)
        if name in _NEVER_FAIL:
            return lambda *arguments, **more: self._wrap(value(*arguments, **more))

        def call(*arguments: Any, **more: Any) -> Any:
            error = self._store.countCall(f"{self._name}.{name}")
            given = [_unwrap(argument) for argument in arguments]
            named = {key: _unwrap(argument) for key, argument in more.items()}
            if name in _SYNCHRONOUS:
                if error is not None:
                    raise error
                return value(*given, **named)
            return self._call(value, given, named, error)

        return call

    async def _call(
        self,
        value: Callable[..., Any],
        arguments: list[Any],
        named: dict[str, Any],
        error: BaseException | None,
    ) -> Any:
        if error is not None:
            raise error
        return self._wrap(await value(*arguments, **named))

    def _wrap(self, value: Any) -> Any:
        provided = providedBy(value)
        for interface in _INTERFACES:
            if provided.isOrExtends(interface):
                return _Faulty(value, self._store, interface.__name__)
        return value


def _unwrap(value: Any) -> Any:
    if isinstance(value, _Faulty):
        return value.wrapped
    # Not tuples with names: those are records.
    if type(value) in (list, tuple):
        return type(value)(_unwrap(each) for each in value)
    return value


class FaultyStore(_Faulty):
    """
    An C{IMailStore} around another, and what else that one provides.

    @ivar wrapped: the other one, which doesn't fail.
    @ivar calls: the names of the calls that were made, as C{"IMailbox.append"}, those that failed
        included.
    """

    def __init__(self, wrapped: IMailStore) -> None:
        self.calls: list[str] = []
        self._at = 0
        self._error: Callable[[], BaseException] = Fault
        super().__init__(wrapped, self, IMailStore.__name__)

    def failAt(self, number: int, error: Callable[[], BaseException] = Fault) -> None:
        """
        Let a call fail, once.

        @param number: 1 for the next one.
        @param error: makes the exception.
        """
        self._at = len(self.calls) + number
        self._error = error

    def heal(self) -> None:
        """
        Let no call fail any more.
        """
        self._at = 0

    def countCall(self, name: str) -> BaseException | None:
        """
        A call is made.

        @return: what it is to fail with.
        """
        self.calls.append(name)
        return self._error() if len(self.calls) == self._at else None
