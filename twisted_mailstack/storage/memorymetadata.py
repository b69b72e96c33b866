# -*- test-case-name: tests.storage.test_annotations -*-
"""
Metadata entries of an account in memory. See L{IMetadataAccount}.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from twisted_mailstack.errors import CannotDoThat
from twisted_mailstack.model.records import MetadataChange

PRIVATE = "/private/"

#: Whose an entry is: the mailboxId (empty for the account), the reader (empty for all), its name.
Key = tuple[str, str, str]


@dataclass
class Entry:
    """
    @ivar value: C{None} for one that was removed.
    """

    value: bytes | None
    modSeq: int


class MemoryMetadata:
    """
    All metadata entries of one account.
    """

    def __init__(self, owner: str, idOf: Callable[[str], str], nextModSeq: Callable[[], int]):
        """
        @param owner: the accountId.
        @param idOf: gives the mailboxId for a name, or raises.
        @param nextModSeq: takes the next modSeq.
        """
        self._owner = owner
        self._idOf = idOf
        self._nextModSeq = nextModSeq
        self._entries: dict[Key, Entry] = {}

    def _key(self, mailboxId: str, name: str, reader: str | None) -> Key:
        return mailboxId, (reader or self._owner) if name.startswith(PRIVATE) else "", name

    def _there(self, mailboxName: str, reader: str | None) -> dict[str, bytes]:
        mailboxId = self._idOf(mailboxName) if mailboxName else ""
        return {
            name: entry.value
            for (mailbox, whose, name), entry in self._entries.items()
            if mailbox == mailboxId
            and whose in ("", reader or self._owner)
            and entry.value is not None
        }

    def sizes(self, mailboxName: str, reader: str | None) -> Mapping[str, int]:
        """See L{IMetadataAccount.metadataSizes}."""
        return {name: len(value) for name, value in self._there(mailboxName, reader).items()}

    def get(
        self, mailboxName: str, names: Collection[str], reader: str | None
    ) -> Mapping[str, bytes]:
        """See L{IMetadataAccount}."""
        there = self._there(mailboxName, reader)
        return {name: value for name, value in there.items() if name in set(names)}

    def set(
        self, mailboxName: str, values: Mapping[str, bytes | None], limit: int, reader: str | None
    ) -> int:
        """See L{IMetadataAccount}."""
        there = self._there(mailboxName, reader)
        after = there.keys() | {name for name, value in values.items() if value is not None}
        after -= {name for name, value in values.items() if value is None}
        if len(after) > limit and not after <= there.keys():
            raise CannotDoThat("Too many metadata entries", imapCode="METADATA TOOMANY")
        mailboxId = self._idOf(mailboxName) if mailboxName else ""
        modSeq = self._nextModSeq()
        for name, value in values.items():
            if value is not None or name in there:
                self._entries[self._key(mailboxId, name, reader)] = Entry(value, modSeq)
        return modSeq

    def changesSince(
        self, modSeq: int, reader: str | None, nameOf: Callable[[str], str]
    ) -> Sequence[MetadataChange]:
        """See L{IMetadataAccount}."""
        return sorted(
            MetadataChange(entry.modSeq, nameOf(mailbox) if mailbox else "", name)
            for (mailbox, whose, name), entry in self._entries.items()
            if entry.modSeq > modSeq and whose in ("", reader or self._owner)
        )

    def forget(self, mailboxId: str) -> None:
        """
        A mailbox is gone.
        """
        for key in [key for key in self._entries if key[0] == mailboxId]:
            del self._entries[key]

    def copy(self, source: str, target: str, modSeq: int) -> None:
        """
        A mailbox gets what another has.
        """
        for (mailbox, whose, name), entry in list(self._entries.items()):
            if mailbox == source and entry.value is not None:
                self._entries[target, whose, name] = Entry(entry.value, modSeq)
