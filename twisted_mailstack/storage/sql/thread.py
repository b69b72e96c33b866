"""
Which thread a message belongs to (RFC 8474 §5.2), found when it arrives.

Messages that refer to one another by Message-ID, References or In-Reply-To are one thread. Ids are
kept as 63-bit hashes; what was referred to before it arrived is found when it does.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import cast

from twisted_mailstack.storage.sql.writer import Transaction

#: References that are looked at, the last ones: they are the nearest.
MAX_REFERENCES = 20


def threadOf(transaction: Transaction, account: int, identities: Iterable[bytes], new: int) -> int:
    """
    @param identities: the message's references, the nearest last, then its own id; empty ones are
        passed over.
    @param new: the thread's id if it begins with this message.
    @return: the thread's id.
    """
    keys = [_key(identity) for identity in identities if identity][-MAX_REFERENCES:]
    if not keys:
        return new
    if len(keys) == 1 and _note(transaction, account, keys[0], new):
        # As nearly all messages are that refer to no other.
        return new
    found = transaction.execute(
        f"SELECT identity, thread FROM reference WHERE account = ?"
        f" AND identity IN ({','.join('?' * len(keys))})",
        (account, *keys),
    ).fetchall()
    known = dict(found)
    thread = new
    for key in reversed(keys):
        if key in known:
            thread = cast(int, known[key])
            break
    for key in keys:
        if key not in known:
            _note(transaction, account, key, thread)
    return thread


def _note(transaction: Transaction, account: int, key: int, thread: int) -> bool:
    """
    @return: whether it was new.
    """
    return bool(
        transaction.execute(
            "INSERT OR IGNORE INTO reference VALUES (?, ?, ?)", (account, key, thread)
        ).rowcount
    )


def _key(identity: bytes) -> int:
    return int.from_bytes(blake2b(identity, digest_size=8).digest(), "big") >> 1
