# -*- test-case-name: tests.storage.test_maildrop -*-
"""
What the memory store keeps for POP3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from secrets import token_hex

from twisted_mailstack.model.records import MaildropSettings, MaildropSurvey

#: Of what unique-ids begin with.
TOKEN_OCTETS = 6


class MemoryMaildrop:
    """
    Of one account.

    @ivar settings: what POP3 shows and does.
    """

    def __init__(self) -> None:
        self.settings = MaildropSettings()
        # As in the SQL store, so that what another store's unique-ids begin with is another.
        self._prefix = token_hex(TOKEN_OCTETS) + "."
        self._given: dict[str, str] = {}
        self._retrieved: dict[str, int] = {}

    def uniqueIds(self, messageIds: Collection[str]) -> dict[str, str]:
        """
        @return: by MESSAGE_ID.
        """
        return {
            each: self._given.get(each) or self._prefix + each.partition("-")[2]
            for each in messageIds
        }

    def assign(self, values: Mapping[str, str]) -> list[str]:
        """
        @return: the MESSAGE_IDs of those that have them now.
        """
        taken = set(self._given.values())
        for messageId, value in values.items():
            if messageId not in self._given and value not in taken:
                if not value.startswith(self._prefix):
                    self._given[messageId] = value
                    taken.add(value)
        now = self.uniqueIds(values)
        return [each for each, value in values.items() if now[each] == value]

    def known(self, values: Collection[str]) -> set[str]:
        """
        @return: those of them that were ever given.
        """
        return set(self._given.values()).intersection(values)

    def noteRetrieved(self, messageIds: Collection[str], at: int) -> None:
        """
        See L{IMaildropAccount<twisted_mailstack.interfaces.IMaildropAccount>}.
        """
        for each in messageIds:
            self._retrieved.setdefault(each, at)

    def retrievedUntil(self, at: int) -> set[str]:
        """
        @return: of those that are there, and others that were.
        """
        return {each for each, since in self._retrieved.items() if since <= at}


def survey(settings: Iterable[MaildropSettings]) -> MaildropSurvey:
    """
    @return: what accounts with these have of their own.
    """
    delays, days = set(), set()
    for each in settings:
        delays.add(each.loginDelay)
        days.add(each.expireDays)
    return MaildropSurvey(_ends(delays), _ends(days))


def _ends(values: set[int | None]) -> tuple[int, int] | None:
    given = [each for each in values if each is not None]
    return (min(given), max(given)) if given else None
