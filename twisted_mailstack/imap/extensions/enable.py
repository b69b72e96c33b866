# -*- test-case-name: tests.imap.test_enable -*-
"""ENABLE (RFC 5161): extensions that change what the server says unasked."""

from __future__ import annotations

from twisted_mailstack.imap.extension import Command, Extension, State
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession


async def enable(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 5161 §3.1. What can't be enabled is ignored."""
    cursor.space()
    names = [cursor.atom().upper()]
    while cursor.skip(b" "):
        names.append(cursor.atom().upper())
    cursor.end()
    known: set[bytes] = set()
    for extension in session.registry.extensions:
        capability = extension.capability
        # What isn't offered now, as the account's storage can't do it, isn't there.
        if isinstance(capability, bytes) or capability(session):
            known.update(extension.enables)
    # What a command enabled that implies it is named as well, once.
    new = [name for name in dict.fromkeys(names) if name in known - session.named]
    session.named.update(new)
    for name in new:
        session.enable(name)
    # As CAPABILITY spells them: there are clients that compare.
    spelled = {name.upper(): name for name in session.capabilities().split(b" ")}
    shown = [b" " + spelled.get(name, name) for name in new]
    session.stream.write(b"* ENABLED%b\r\n" % b"".join(shown))


# Only before a mailbox is selected (RFC 5161 §3.1).
EXTENSION = Extension(
    b"ENABLE", 5161, (Command(b"ENABLE", frozenset((State.AUTHENTICATED,)), enable),)
)
