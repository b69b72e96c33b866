# -*- test-case-name: tests.imap.test_createspecialuse -*-
"""CREATE-SPECIAL-USE (RFC 6154 §3): a mailbox is made for a special use."""

from __future__ import annotations

from collections.abc import Mapping

from twisted_mailstack.errors import CannotDoThat
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.model.records import ASSIGNABLE_USES

_CANONICAL = {use.lower(): use for use in ASSIGNABLE_USES}


def assignable(words: list[str]) -> str | None:
    r"""
    @param words: special-use attributes, in any case.
    @return: as the storage wants them, C{None} for none.
    @raise CannotDoThat: with C{USEATTR}, for one that a client can't give a mailbox.
    """
    uses = []
    for word in words:
        use = _CANONICAL.get(word.lower())
        if use is None:
            # As \All and \Flagged: no mailbox of ours collects messages from the others.
            raise CannotDoThat(f"{word} is not supported", imapCode="USEATTR")
        uses.append(use)
    return " ".join(dict.fromkeys(uses)) or None


def parseUse(cursor: Cursor) -> Mapping[str, str | None]:
    """create-param =/ "USE" SP "(" [use-attr *(SP use-attr)] ")" """
    cursor.space()
    cursor.expect(b"(")
    words: list[str] = []
    while not cursor.skip(b")"):
        if words:
            cursor.space()
        cursor.expect(b"\\")
        words.append("\\" + cursor.atom().decode("ascii"))
    return {"specialUse": assignable(words)}


EXTENSION = Extension(b"CREATE-SPECIAL-USE", 6154, createParameters={b"USE": parseUse})
