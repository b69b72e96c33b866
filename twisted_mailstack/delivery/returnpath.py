# -*- test-case-name: tests.delivery.test_returnpath -*-
"""
Takes the Return-Path fields that a message came with out of its header, while it streams by.

RFC 5321 §4.4: a delivered message SHOULD have exactly one, the one that final delivery puts in
front; that server MAY remove those that were there before. Who answers mail or makes notifications
looks at that field, so one that a stranger wrote has no place in a mailbox.
"""

from __future__ import annotations

from twisted_mailstack.wire.fields import FieldNames, HeaderFilter

_NAMES = FieldNames(b"return-path")


class ReturnPathRemover(HeaderFilter):
    """
    One message's.
    """

    def __init__(self) -> None:
        super().__init__(_NAMES)

    def keep(self, name: bytes) -> bool:
        """See L{HeaderFilter}."""
        return False
