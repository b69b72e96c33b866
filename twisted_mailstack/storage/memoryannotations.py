# -*- test-case-name: tests.storage.test_messageannotations -*-
"""
Annotations of a message in memory. See L{IAnnotatedMailbox}.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from twisted_mailstack.errors import CannotDoThat
from twisted_mailstack.model.records import AnnotationKey

#: The name of an entry, and whose it is: an accountId, empty for everybody.
Key = tuple[str, str]


def _keys(values: Mapping[AnnotationKey, bytes | None], reader: str) -> dict[Key, bytes | None]:
    return {(entry, reader if private else ""): value for (entry, private), value in values.items()}


@dataclass
class Annotations:
    """
    Those of one message.

    @ivar values: with the modSeqs of their last changes; C{None} for one that was removed.
    """

    values: dict[Key, tuple[bytes | None, int]] = field(default_factory=dict)

    def visible(self, reader: str) -> dict[Key, bytes]:
        """
        @return: what somebody sees, by name, the shared one first.
        """
        return {
            key: value
            for key, (value, _) in sorted(self.values.items(), key=lambda each: each[0])
            if value is not None and key[1] in ("", reader)
        }

    def octets(self, of: Collection[Key] | None = None) -> int:
        """
        @param of: which ones; C{None} for all, whosever they are.
        """
        return sum(
            len(value or b"") for key, (value, _) in self.values.items() if of is None or key in of
        )

    def youngest(self, values: Mapping[AnnotationKey, bytes | None], reader: str) -> int:
        """
        @return: the highest modSeq of those that are about to be set.
        """
        return max((self.values.get(key, (None, 0))[1] for key in _keys(values, reader)), default=0)

    def compare(
        self, values: Mapping[AnnotationKey, bytes | None], reader: str, limit: int
    ) -> dict[Key, bytes | None]:
        """
        @return: what would be another.
        @raise CannotDoThat: if there would be too many.
        """
        before = self.visible(reader)
        changes = {
            key: value for key, value in _keys(values, reader).items() if value != before.get(key)
        }
        after = {key for key, value in {**before, **changes}.items() if value is not None}
        if len(after) > limit and not after <= before.keys():
            raise CannotDoThat("Too many annotations", imapCode="ANNOTATE TOOMANY")
        return changes

    def set(self, changes: Mapping[Key, bytes | None], modSeq: int) -> None:
        """
        Do it.
        """
        self.values.update({key: (value, modSeq) for key, value in changes.items()})

    def add(self, values: Mapping[AnnotationKey, bytes], reader: str, modSeq: int) -> None:
        """
        A new message has these.
        """
        self.set(_keys(values, reader), modSeq)

    def copy(self, reader: str | None, private: bool, shared: bool, modSeq: int) -> Annotations:
        """
        @param reader: whose private ones go along; C{None} for everybody's.
        """
        return Annotations(
            {
                (entry, whose): (value, modSeq)
                for (entry, whose), (value, _) in self.values.items()
                if value is not None
                and (shared if not whose else private and reader in (None, whose))
            }
        )
