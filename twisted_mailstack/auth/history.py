# -*- test-case-name: tests.auth.test_history -*-
"""
Recent logins, written to the store a little later, many at a time: nobody waits for them, and a
storm of logins isn't one of writes.
"""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import DeferredLock, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twisted_mailstack.interfaces import IDirectoryAdmin, ILoginHistory
from twisted_mailstack.model.records import LoginRecord

#: Seconds until what happened is written.
DELAY = 1.0
#: What may wait to be written; beyond that the oldest are forgotten.
MOST = 2000


class LoginRecorder:
    """
    Takes notes of logins.
    """

    log = Logger()

    def __init__(
        self, history: ILoginHistory, directory: IDirectoryAdmin, clock: IReactorTime
    ) -> None:
        """
        @param directory: where it is noted when a credential was used.
        """
        self._history = history
        self._directory = directory
        self._clock = clock
        self._waiting: list[LoginRecord] = []
        self._used: dict[str, int] = {}
        self._call: IDelayedCall | None = None
        self._lock = DeferredLock()

    def note(self, record: LoginRecord, credentialId: str | None = None) -> None:
        """
        @param credentialId: of the credential that was used.
        """
        self._waiting.append(record)
        del self._waiting[:-MOST]
        if credentialId is not None and record.success:
            self._used[credentialId] = record.when
        if self._call is None:
            self._call = self._clock.callLater(DELAY, self._begin)

    def _begin(self) -> None:
        ensureDeferred(self.close())

    async def close(self) -> None:
        """
        Write what waits now; if that can't be, it is logged, and forgotten.
        """
        try:
            await self.flush()
        except Exception:
            self.log.failure("logins could not be written down")

    async def flush(self) -> None:
        """
        Write what waits now.

        @raise MailError: if the store can't.
        """
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        # Behind what is being written: when this is done, all of it is.
        await self._lock.acquire()
        try:
            waiting, self._waiting = self._waiting, []
            used, self._used = self._used, {}
            if waiting:
                await self._history.record(waiting)
            # All are begun first, so that the store can make one change of them.
            touched = [
                ensureDeferred(_wait(self._directory.touchCredential(credentialId, when)))
                for credentialId, when in used.items()
            ]
            for each in touched:
                await each
        finally:
            self._lock.release()


async def _wait(awaitable: Awaitable[None]) -> None:
    await awaitable
