# -*- test-case-name: tests.storage.test_maildrop -*-
"""
What the SQL store keeps for POP3: settings, and the unique-ids of messages.

A message's unique-id is the account's token, which is random, and the message's number, which never
comes back; unless it was given one that it had elsewhere. Given ones stay when their messages are
gone, so that nobody else gets them, and an import knows what it had.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from secrets import token_hex
from typing import TYPE_CHECKING, Any, cast

from twisted_mailstack.errors import NoSuchMailbox
from twisted_mailstack.model.records import AnnotationScope, MaildropSettings, MaildropSurvey
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage.sql.writer import Transaction

if TYPE_CHECKING:
    from twisted_mailstack.storage.sql.mailbox import SQLMailbox

_MESSAGE_ID = re.compile(r"E([1-9][0-9]{0,17})-([1-9][0-9]{0,17})\Z")
#: Rows from which on all of an account's are read at once.
MANY = 200
#: Octets of an account's token. Whether somebody else's unique-ids, which an import brings, begin
#: with it is left to chance.
TOKEN_OCTETS = 6


def settings(connection: Any, account: int) -> MaildropSettings:
    """
    @return: an account's settings.
    """
    row = connection.execute(
        "SELECT unseen_only, mailboxes, to_trash, login_delay, expire_days FROM maildrop"
        " WHERE account = ?",
        (account,),
    ).fetchone()
    if row is None:
        return MaildropSettings()
    return MaildropSettings(bool(row[0]), tuple(json.loads(row[1])), bool(row[2]), row[3], row[4])


def setSettings(transaction: Transaction, account: int, given: MaildropSettings) -> None:
    """
    Set them.
    """
    makeToken(transaction, account)
    transaction.execute(
        "UPDATE maildrop SET unseen_only = ?, mailboxes = ?, to_trash = ?, login_delay = ?,"
        " expire_days = ? WHERE account = ?",
        (
            int(given.unseenOnly),
            json.dumps(given.mailboxes),
            int(given.toTrash),
            given.loginDelay,
            given.expireDays,
            account,
        ),
    )


def survey(connection: Any) -> MaildropSurvey:
    """
    See L{IMaildropSurvey<twisted_mailstack.interfaces.IMaildropSurvey>}.
    """
    found = []
    for column in ("login_delay", "expire_days"):
        # Two questions, each of which is one look at the index.
        least, greatest = (
            connection.execute(
                f"SELECT {which}({column}) FROM maildrop WHERE {column} IS NOT NULL"
            ).fetchone()[0]
            for which in ("min", "max")
        )
        found.append(None if least is None else (least, greatest))
    return MaildropSurvey(*found)


def token(connection: Any, account: int) -> str | None:
    """
    @return: with what the unique-ids of an account begin; C{None} if that isn't settled yet.
    """
    row = connection.execute("SELECT token FROM maildrop WHERE account = ?", (account,)).fetchone()
    return None if row is None else cast(str, row[0])


def makeToken(transaction: Transaction, account: int) -> str:
    """
    @return: an account's token, made if there is none.
    """
    transaction.execute(
        "INSERT OR IGNORE INTO maildrop (account, token) VALUES (?, ?)",
        (account, token_hex(TOKEN_OCTETS)),
    )
    # Somebody else's, who was faster.
    return cast(str, token(transaction, account))


def uniqueIds(
    connection: Any, account: int, prefix: str, messageIds: Collection[str]
) -> dict[str, str]:
    """
    @param prefix: the account's token.
    @return: by MESSAGE_ID.
    """
    numbers = {each: _number(account, each) for each in messageIds}
    statement = "SELECT message, value FROM unique_id WHERE account = ?"
    given: dict[int, str] = {}
    if len(numbers) > MANY:
        given = dict(connection.execute(statement, (account,)).fetchall())
    else:
        for number in numbers.values():
            given.update(
                connection.execute(statement + " AND message = ?", (account, number)).fetchall()
            )
    return {each: given.get(number) or f"{prefix}.{number}" for each, number in numbers.items()}


def assign(transaction: Transaction, account: int, values: Mapping[str, str]) -> list[str]:
    """
    @return: the MESSAGE_IDs of those that have them now.
    """
    own = makeToken(transaction, account) + "."
    given = []
    for messageId, value in values.items():
        number = _number(account, messageId)
        if not transaction.execute(
            "SELECT 1 FROM message WHERE account = ? AND message = ?", (account, number)
        ).fetchone():
            continue
        if value.startswith(own):
            # One of ours, which is another's unless it is this message's anyway.
            if value == f"{own}{number}":
                given.append(messageId)
            continue
        transaction.execute(
            "INSERT OR IGNORE INTO unique_id VALUES (?, ?, ?)", (account, number, value)
        )
        row = transaction.execute(
            "SELECT value FROM unique_id WHERE account = ? AND message = ?", (account, number)
        ).fetchone()
        if row is not None and row[0] == value:
            given.append(messageId)
    return given


def known(connection: Any, account: int, values: Collection[str]) -> set[str]:
    """
    @return: those of them that were ever given.
    """
    if len(values) > MANY:
        rows = connection.execute("SELECT value FROM unique_id WHERE account = ?", (account,))
        return {row[0] for row in rows.fetchall()}.intersection(values)
    return {
        value
        for value in values
        if connection.execute(
            "SELECT 1 FROM unique_id WHERE account = ? AND value = ?", (account, value)
        ).fetchone()
    }


def removeMessages(
    transaction: Transaction,
    messages: Sequence[tuple[SQLMailbox, NumberSet]],
    destination: SQLMailbox | None,
    now: int,
) -> int:
    """
    @return: how many are gone.
    """
    removed = 0
    if destination is not None:
        # Found out before anything is written, so that the rest can be passed over.
        destination.requireMailbox(transaction)
    for mailbox, uids in messages:
        try:
            if destination is None or mailbox.mailboxId == destination.mailboxId:
                removed += len(mailbox.expungeWithin(transaction, uids))
            else:
                mailbox.requireMailbox(transaction)
                everything = AnnotationScope()
                moved = mailbox.copyWithin(
                    transaction, uids, destination, True, now, None, everything
                )
                removed += len(moved.sources)
        except NoSuchMailbox:
            continue
    return removed


def noteRetrieved(
    transaction: Transaction, account: int, messageIds: Collection[str], at: int
) -> None:
    """
    See L{IMaildropAccount<twisted_mailstack.interfaces.IMaildropAccount>}.
    """
    transaction.executemany(
        "UPDATE message SET retrieved = ? WHERE account = ? AND message = ? AND retrieved IS NULL",
        [(at, account, _number(account, each)) for each in messageIds],
    )


def retrievedUntil(connection: Any, account: int, at: int) -> list[str]:
    """
    See L{IMaildropAccount<twisted_mailstack.interfaces.IMaildropAccount>}.
    """
    rows = connection.execute(
        "SELECT message FROM message WHERE account = ? AND retrieved <= ?", (account, at)
    )
    return [f"E{account}-{number}" for (number,) in rows.fetchall()]


def _number(account: int, messageId: str) -> int:
    match = _MESSAGE_ID.match(messageId)
    return int(match[2]) if match and int(match[1]) == account else -1
