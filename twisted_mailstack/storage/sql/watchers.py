"""
Who is to be called when a mailbox has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from twisted.logger import Logger

K = TypeVar("K")
C = TypeVar("C")


class Watchers:
    """
    Callbacks by mailbox and by account.
    """

    log = Logger()

    def __init__(self) -> None:
        self._mailboxes: dict[tuple[int, int | str], dict[object, Callable[[], None]]] = {}
        self._accounts: dict[int, dict[object, Callable[[Any], None]]] = {}

    def add(self, key: tuple[int, int], changed: Callable[[], None]) -> Callable[[], None]:
        """
        @return: call it to stop.
        """
        return _register(self._mailboxes, key, changed)

    def addAccount(self, account: int, changed: Callable[[Any], None]) -> Callable[[], None]:
        """
        @return: call it to stop.
        """
        return _register(self._accounts, account, changed)

    def tell(self, changed: Iterable[tuple[int, int | str]]) -> None:
        """
        These C{(account, mailbox)} changed.
        """
        for key in changed:
            for callback in list(self._mailboxes.get(key, {}).values()):
                self._call(callback)
            for each in list(self._accounts.get(key[0], {}).values()):
                self._call(each, key[1])

    def tellAll(self) -> None:
        """
        Anything may have changed.
        """
        self.tell(list(self._mailboxes))
        for callbacks in list(self._accounts.values()):
            for each in list(callbacks.values()):
                self._call(each, 0)

    def _call(self, callback: Callable[..., None], *arguments: int | str) -> None:
        try:
            callback(*arguments)
        except Exception:
            self.log.failure("a watcher failed")


def _register(table: dict[K, dict[object, C]], key: K, callback: C) -> Callable[[], None]:
    token = object()
    table.setdefault(key, {})[token] = callback

    def stop() -> None:
        callbacks = table.get(key)
        if callbacks is not None and callbacks.pop(token, None) is not None and not callbacks:
            del table[key]

    return stop
