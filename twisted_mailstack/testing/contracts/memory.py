# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{IKeyedMemory} promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted_mailstack.interfaces import IKeyedMemory, IRememberingStore
from twisted_mailstack.testing.contracts.base import StorageContract, start

#: The largest number of an entry.
LARGEST = 2**53 - 1


class KeyedMemoryContract(StorageContract):
    """
    Numbers under keys, each for a time.
    """

    def setUp(self) -> None:
        """What is asked."""
        super().setUp()
        store: Any = self.store
        self.memory: IKeyedMemory = store.memory
        self.today = int(self.seconds)

    def recall(self, *keys: str) -> Mapping[str, int]:
        """
        @return: what is remembered of these keys.
        """
        return dict(self.wait(self.memory.recall(keys)))

    def test_provides(self) -> None:
        """The store and its memory are what the interfaces say."""
        self.assertProvides(IRememberingStore, self.store)
        self.assertProvides(IKeyedMemory, self.memory)

    def test_remember(self) -> None:
        """What is remembered is there, in the place of what was; nothing else is."""
        later = self.today + 10
        self.wait(self.memory.remember([("t:a", 1, later), ("t:b", -2, later)]))
        self.wait(self.memory.remember([("t:b", LARGEST, later), ("t:é ∞", 0, later)]))
        self.wait(self.memory.remember([]))
        self.assertEqual(
            self.recall("t:a", "t:b", "t:é ∞", "t:A", "t:", "u:a"),
            {"t:a": 1, "t:b": LARGEST, "t:é ∞": 0},
        )
        self.assertEqual(self.recall(), {})

    def test_forgotten(self) -> None:
        """Each entry is forgotten at its time, not before."""
        self.wait(self.memory.remember([("t:a", 1, self.today + 10), ("t:b", 2, self.today + 20)]))
        self.wait(self.memory.remember([("t:past", 3, self.today), ("t:long ago", 4, 0)]))
        self.assertEqual(self.recall("t:a", "t:b", "t:past", "t:long ago"), {"t:a": 1, "t:b": 2})
        self.seconds += 9.9
        self.assertEqual(self.recall("t:a", "t:b"), {"t:a": 1, "t:b": 2})
        self.seconds += 0.2
        self.assertEqual(self.recall("t:a", "t:b"), {"t:b": 2})
        # The time is replaced, too.
        self.wait(self.memory.remember([("t:b", 2, self.today + 11)]))
        self.seconds += 1
        self.assertEqual(self.recall("t:a", "t:b"), {})

    def test_introduce(self) -> None:
        """Only what isn't there is entered; what is there keeps its number and its time."""
        first = self.wait(
            self.memory.introduce([("t:a", 1, self.today + 10), ("t:b", 2, self.today + 10)])
        )
        self.assertEqual(dict(first), {"t:a": 1, "t:b": 2})
        second = self.wait(
            self.memory.introduce([("t:b", 7, self.today + 99), ("t:c", 8, self.today + 99)])
        )
        self.assertEqual(dict(second), {"t:b": 2, "t:c": 8})
        self.seconds += 10
        self.assertEqual(self.recall("t:a", "t:b", "t:c"), {"t:c": 8})
        again = self.wait(self.memory.introduce([("t:b", 9, self.today + 99)]))
        self.assertEqual(dict(again), {"t:b": 9})

    def test_add(self) -> None:
        """Numbers are added to, from 0 on; the later time holds."""
        for expected, number, expires in ((3, 3, 10), (4, 1, 20), (2, -2, 5)):
            found = self.wait(self.memory.add([("t:a", number, self.today + expires)]))
            self.assertEqual(dict(found), {"t:a": expected})
        self.seconds += 15
        self.assertEqual(self.recall("t:a"), {"t:a": 2})
        self.seconds += 5
        self.assertEqual(self.recall("t:a"), {})
        both = [("t:a", 5, self.today + 99), ("t:b", 6, self.today + 99)]
        self.assertEqual(dict(self.wait(self.memory.add(both))), {"t:a": 5, "t:b": 6})

    def test_twiceInOneCall(self) -> None:
        """A key may be named twice; one comes after the other."""
        later = self.today + 10
        twice = [("t:a", 1, later), ("t:a", 2, later)]
        self.assertEqual(dict(self.wait(self.memory.add(twice))), {"t:a": 3})
        self.wait(self.memory.remember(twice))
        self.assertEqual(self.recall("t:a"), {"t:a": 2})

    def test_atTheSameTime(self) -> None:
        """Of calls under way at the same time each counts, and only one introduces a key."""
        later = self.today + 10
        adding = [start(self.memory.add([("t:sum", 1, later)])) for _ in range(20)]
        self.assertEqual(sorted(self.wait(each)["t:sum"] for each in adding), list(range(1, 21)))
        asking = [
            start(self.memory.introduce([("t:first", number, later)])) for number in range(20)
        ]
        self.assertEqual(len({self.wait(each)["t:first"] for each in asking}), 1)

    def test_many(self) -> None:
        """However much is forgotten at a time, what isn't is found, and what is, isn't."""
        for number in range(300):
            self.wait(self.memory.remember([(f"t:{number}", number, self.today + 1 + number % 2)]))
        self.seconds += 1
        # The last of those that are forgotten.
        found = self.wait(self.memory.introduce([("t:98", 7, self.today + 9)]))
        self.assertEqual(dict(found), {"t:98": 7})
        found = self.wait(self.memory.add([("t:96", 5, self.today + 9)]))
        self.assertEqual(dict(found), {"t:96": 5})
        keys = [f"t:{number}" for number in range(300)]
        self.assertEqual(
            self.recall(*keys),
            {
                **{f"t:{number}": number for number in range(300) if number % 2},
                "t:98": 7,
                "t:96": 5,
            },
        )
