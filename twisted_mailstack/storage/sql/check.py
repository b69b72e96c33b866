# -*- test-case-name: tests.storage.test_sqlcheck -*-
"""
The integrity check: looks at all that is stored and names what is damaged, in an operator's words.

What is kept twice is compared: counters and what they count, references and what they refer to.
Octets, and what was found in them, have checksums.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from itertools import chain, islice
from typing import Any
from zlib import crc32

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.flags import DELETED, SEEN, canonicalFlag
from twisted_mailstack.model.header import Header
from twisted_mailstack.model.records import APP_PASSWORD, PASSWORD, Damage
from twisted_mailstack.model.rights import ALL_RIGHTS
from twisted_mailstack.model.sorting import sortValues
from twisted_mailstack.storage.sql.content import SUMMARY, summaryChecksum
from twisted_mailstack.storage.sql.schema import PIECES
from twisted_mailstack.storage.sql.sorting import packValues

#: The most findings that are listed.
MAX_FINDINGS = 1000

_RESTORE = "export what is left, then restore a backup"


def checkDatabase(
    connection: sqlite3.Connection, progress: Callable[[int, int], None] | None = None
) -> list[Damage]:
    """
    @param connection: for this check alone.
    @param progress: called with the contents looked at and how many there are.
    @return: what was found, at most L{MAX_FINDINGS}.
    """
    # Text that is damaged is read all the same, and then found to be so.
    connection.text_factory = lambda octets: octets.decode("utf-8", "replace")
    # One instant for all of it, so that what changes meanwhile looks like no damage.
    connection.execute("BEGIN")
    try:
        checks: tuple[Callable[[sqlite3.Connection], Iterator[Damage]], ...] = (
            *(_database, _mailboxes, _vanished, _entries, _flags, _messages, _accounts, _orphans),
            *(
                _access,
                _credentials,
                _annotations,
                _queue,
                _sorting,
                lambda connection: _contents(connection, progress),
            ),
        )
        found = chain.from_iterable(_guarded(check(connection)) for check in checks)
        return list(islice(found, MAX_FINDINGS))
    finally:
        connection.execute("ROLLBACK")


def _guarded(found: Iterator[Damage]) -> Iterator[Damage]:
    # What is found before the database can't be read any further counts, and the next check may
    # get by.
    try:
        yield from found
    except (sqlite3.Error, TypeError, ValueError) as error:
        yield Damage("the database file", f"can't be read: {error}; {_RESTORE}")


def _database(connection: sqlite3.Connection) -> Iterator[Damage]:
    for (line,) in connection.execute("PRAGMA integrity_check(100)"):
        if line != "ok":
            yield Damage("the database file", f"{' '.join(line.split())}; {_RESTORE}")


_ADDRESS = "a.local_part || '@' || a.domain"
_NAME = _ADDRESS + " || ', mailbox ' || b.name"


def _mailboxes(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        f"SELECT {_NAME}, b.uid_next, b.recent_uid, b.mod_seq, a.mod_seq,"
        " coalesce(max(e.uid), 0), coalesce(max(e.mod_seq), 0),"
        " b.messages, b.unseen, b.deleted, b.recent, b.octets,"
        " count(e.uid), coalesce(sum((' ' || e.flags || ' ') NOT LIKE ?), 0),"
        " coalesce(sum((' ' || e.flags || ' ') LIKE ?), 0),"
        " coalesce(sum(e.uid >= b.recent_uid), 0), coalesce(sum(m.octets), 0)"
        " FROM mailbox b JOIN account a ON a.account = b.account"
        " LEFT JOIN entry e ON e.account = b.account AND e.mailbox = b.mailbox"
        " LEFT JOIN message m ON m.account = e.account AND m.message = e.message"
        " GROUP BY b.account, b.mailbox",
        (f"% {SEEN} %", f"% {DELETED} %"),
    )
    for row in rows:
        where, uidNext, recentUid, modSeq, accountModSeq, uid, youngest = row[:7]
        for name, has, should in zip(
            ("messages", "unseen messages", "deleted messages", "recent messages", "octets"),
            row[7:12],
            row[12:17],
            strict=True,
        ):
            if has != should:
                yield Damage(where, f"counts {has} {name}, has {should}")
        if uid >= uidNext:
            yield Damage(where, f"has a UID {uid}, but the next is said to be {uidNext}")
        if recentUid > uidNext:
            yield Damage(where, f"recent from UID {recentUid} on, the next is {uidNext}")
        if youngest > modSeq:
            yield Damage(where, f"a message has modSeq {youngest}, the mailbox only {modSeq}")
        if modSeq > accountModSeq:
            yield Damage(where, f"has modSeq {modSeq}, its account only {accountModSeq}")


def _vanished(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        f"SELECT {_NAME}, v.first, v.last, v.mod_seq, b.uid_next, b.mod_seq,"
        " lead(v.first) OVER (PARTITION BY v.account, v.mailbox ORDER BY v.first),"
        " (SELECT min(e.uid) FROM entry e WHERE e.account = v.account AND e.mailbox = v.mailbox"
        "  AND e.uid BETWEEN v.first AND v.last)"
        " FROM vanished v JOIN account a ON a.account = v.account"
        " JOIN mailbox b ON b.account = v.account AND b.mailbox = v.mailbox"
    )
    for where, first, last, modSeq, uidNext, boxModSeq, following, uid in rows:
        if uid is not None:
            yield Damage(f"{where}, UID {uid}", "is there, and noted as expunged")
        if not first <= last < uidNext or (following is not None and following <= last):
            yield Damage(where, f"the note that UIDs {first} to {last} were expunged is wrong")
        if modSeq > boxModSeq:
            yield Damage(where, f"an expunge has modSeq {modSeq}, the mailbox only {boxModSeq}")


def _entries(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        f"SELECT e.account, e.mailbox, e.uid, b.name, {_ADDRESS}, m.message, b.selectable"
        " FROM entry e"
        " LEFT JOIN mailbox b ON b.account = e.account AND b.mailbox = e.mailbox"
        " LEFT JOIN account a ON a.account = e.account"
        " LEFT JOIN message m ON m.account = e.account AND m.message = e.message"
        " WHERE b.name IS NULL OR a.domain IS NULL OR m.message IS NULL OR NOT b.selectable"
    )
    for account, mailbox, uid, name, address, message, selectable in rows:
        where = f"{address or f'account A{account}'}, mailbox {name or mailbox}, UID {uid}"
        if message is None:
            yield Damage(where, "its message is missing")
        if address is None or name is None:
            yield Damage(where, "belongs to no mailbox")
        elif not selectable:
            yield Damage(where, "is in a mailbox that can't hold messages")


def _isStored(flag: str) -> bool:
    # A keyword keeps the spelling under which its mailbox first saw it.
    canonical = canonicalFlag(flag)
    return canonical is not None and (canonical == flag or not flag.startswith("\\"))


def _flags(connection: sqlite3.Connection) -> Iterator[Damage]:
    for (text,) in connection.execute("SELECT DISTINCT flags FROM entry").fetchall():
        flags = text.split(" ") if text else []
        if flags == sorted(set(filter(_isStored, flags))):
            continue
        for where, uid in connection.execute(
            f"SELECT {_NAME}, e.uid FROM entry e JOIN account a ON a.account = e.account"
            " JOIN mailbox b ON b.account = e.account AND b.mailbox = e.mailbox"
            " WHERE e.flags = ?",
            (text,),
        ):
            yield Damage(f"{where}, UID {uid}", f"its flags can't be read: {text!r}")


def _messages(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        "SELECT m.account, m.message, m.copies, count(e.uid), m.octets - length(m.prefix),"
        " c.octets, c.content, m.prefix, m.prefix_checksum FROM message m"
        " LEFT JOIN content c ON c.content = m.content"
        " LEFT JOIN (SELECT account, message, uid FROM entry) e"
        " ON e.account = m.account AND e.message = m.message"
        " GROUP BY m.account, m.message"
    )
    for account, message, copies, entries, octets, size, content, prefix, checksum in rows:
        wrong = []
        if copies != entries:
            wrong.append(f"counts {copies} copies, has {entries}")
        if content is None:
            wrong.append("its octets are missing")
        elif octets != size:
            wrong.append(f"says {octets} octets, has {size}")
        if not isinstance(prefix, bytes) or crc32(prefix) != checksum:
            wrong.append("its first header lines are not those that were stored")
        if wrong:
            where = _whoseMessage(connection, "m.account = ? AND m.message = ?", account, message)
            yield from (Damage(where, each) for each in wrong)


def _accounts(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        f"SELECT a.account, {_ADDRESS}, a.messages, a.octets, a.next_id, a.uid_validity,"
        " coalesce(sum(b.messages), 0), coalesce(sum(b.octets), 0),"
        " coalesce(sum(b.name = 'INBOX' AND b.selectable), 0),"
        " coalesce(max(b.mailbox), 0), coalesce(max(b.uid_validity), 0),"
        " count(DISTINCT CASE WHEN b.selectable THEN b.uid_validity END),"
        " coalesce(sum(b.selectable), 0)"
        " FROM account a LEFT JOIN mailbox b ON b.account = a.account GROUP BY a.account"
    )
    for row in rows:
        account, address, messages, octets, nextId, uidValidity, *found = row
        inMailboxes, octetsInMailboxes, inboxes, mailbox, highest, validities, selectable = found
        if (messages, octets) != (inMailboxes, octetsInMailboxes):
            yield Damage(
                address,
                f"counts {messages} messages and {octets} octets,"
                f" its mailboxes {inMailboxes} and {octetsInMailboxes}",
            )
        if not inboxes:
            yield Damage(address, "has no INBOX")
        (message,) = connection.execute(
            "SELECT coalesce(max(max(message, thread)), 0) FROM message WHERE account = ?",
            (account,),
        ).fetchone()
        if max(mailbox, message) >= nextId:
            yield Damage(
                address, f"the next id is said to be {nextId}, {max(mailbox, message)} is in use"
            )
        if highest > uidValidity or validities != selectable:
            yield Damage(address, "two of its mailboxes have, or will have, one UIDVALIDITY")


def _orphans(connection: sqlite3.Connection) -> Iterator[Damage]:
    for table, what in (
        ("mailbox", "mailboxes"),
        ("message", "messages"),
        ("vanished", "notes of expunged messages"),
        ("reference", "threads"),
        ("subscription", "subscriptions"),
        ("metadata", "metadata entries"),
        ("access", "rights of others"),
        ("published", "public names"),
        ("url_key", "keys of URLs"),
        ("credential", "credentials"),
        ("account_policy", "rules of who may log in"),
        ("(SELECT * FROM login WHERE account <> 0)", "logins"),
        ("annotation", "annotations"),
        ("maildrop", "POP3 settings"),
        ("unique_id", "unique-ids of POP3"),
    ):
        for account, number in connection.execute(
            f"SELECT account, count(*) FROM {table}"
            " WHERE account NOT IN (SELECT account FROM account) GROUP BY account"
        ):
            yield Damage(f"account A{account}", f"does not exist, but has {number} {what}")
    for address, number in connection.execute(
        f"SELECT {_ADDRESS}, count(*) FROM metadata m JOIN account a ON a.account = m.account"
        " WHERE m.mailbox <> 0 AND NOT EXISTS (SELECT 1 FROM mailbox b"
        "  WHERE b.account = m.account AND b.mailbox = m.mailbox) GROUP BY m.account"
    ):
        yield Damage(address, f"has {number} metadata entries of mailboxes that don't exist")
    for address, number in connection.execute(
        f"SELECT {_ADDRESS}, count(*) FROM url_key k JOIN account a ON a.account = k.account"
        " WHERE NOT EXISTS (SELECT 1 FROM mailbox b"
        "  WHERE b.account = k.account AND b.mailbox = k.mailbox) GROUP BY k.account"
    ):
        yield Damage(address, f"has {number} keys of mailboxes that don't exist")
    for address, modSeq, youngest in connection.execute(
        f"SELECT {_ADDRESS}, a.mod_seq, max(m.mod_seq) FROM metadata m"
        " JOIN account a ON a.account = m.account"
        " GROUP BY m.account HAVING max(m.mod_seq) > a.mod_seq"
    ):
        yield Damage(address, f"a metadata entry has modSeq {youngest}, the account only {modSeq}")
    for domain, address in connection.execute(
        f"SELECT domain, {_ADDRESS} FROM account a WHERE domain NOT IN (SELECT name FROM domain)"
        f" UNION ALL SELECT domain, {_ADDRESS} FROM alias a"
        " WHERE domain NOT IN (SELECT name FROM domain)"
    ):
        yield Damage(address, f"is in {domain}, which is no domain of ours")


def _access(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        f"SELECT x.mailbox, x.identifier, x.rights, b.selectable, coalesce({_NAME}, {_ADDRESS})"
        " FROM access x JOIN account a ON a.account = x.account"
        " LEFT JOIN mailbox b ON b.account = x.account AND b.mailbox = x.mailbox"
    )
    for mailbox, identifier, rights, selectable, where in rows:
        if not selectable:
            yield Damage(where, f"{identifier} has rights in a mailbox {mailbox} that isn't there")
        elif not rights or not set(rights) <= ALL_RIGHTS:
            yield Damage(where, f"the rights of {identifier} can't be read: {rights!r}")


def _credentials(connection: sqlite3.Connection) -> Iterator[Damage]:
    # Nobody logs in to an account of which one can't be read.
    rows = connection.execute(
        f"SELECT {_ADDRESS}, c.credential, c.kind, c.name, c.secrets, a.credentials"
        " FROM credential c JOIN account a ON a.account = c.account"
    )
    for address, number, kind, name, secrets, count in rows:
        what = "password" if kind == PASSWORD else f"app password {name}"
        if kind not in (PASSWORD, APP_PASSWORD) or not _areTexts(secrets):
            yield Damage(address, f"its {what} can't be read; mailstack user passwd sets another")
        if number > count:
            yield Damage(address, f"its {what} has an id that another one would get, too")
    for address, networks in connection.execute(
        f"SELECT {_ADDRESS}, p.networks FROM account_policy p"
        " JOIN account a ON a.account = p.account WHERE p.networks <> ''"
    ):
        for each in networks.split():
            try:
                ip_network(each)
            except ValueError:
                yield Damage(address, f"may log in from {each!r}, which is no network")


def _annotations(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        f"SELECT coalesce({_NAME}, {_ADDRESS}), n.uid, max(n.mod_seq), e.mod_seq,"
        " count(n.value) = sum(typeof(n.value) = 'blob'), coalesce(b.annotated, 0)"
        " FROM annotation n JOIN account a ON a.account = n.account"
        " LEFT JOIN mailbox b ON b.account = n.account AND b.mailbox = n.mailbox"
        " LEFT JOIN entry e ON e.account = n.account AND e.mailbox = n.mailbox AND e.uid = n.uid"
        " GROUP BY n.account, n.mailbox, n.uid"
    )
    for where, uid, youngest, modSeq, readable, annotated in rows:
        if modSeq is None:
            yield Damage(f"{where}, UID {uid}", "has annotations, but isn't there")
        elif youngest > modSeq:
            yield Damage(
                f"{where}, UID {uid}", f"an annotation has modSeq {youngest}, the message {modSeq}"
            )
        if not readable:
            yield Damage(f"{where}, UID {uid}", "an annotation can't be read")
        if modSeq is not None and not annotated:
            yield Damage(f"{where}, UID {uid}", "has annotations, its mailbox is said to have none")


def _queue(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        "SELECT q.queue_id, q.waiting, q.octets - length(q.prefix), c.octets, c.content,"
        " (SELECT count(*) FROM queued_recipient r WHERE r.message = q.message)"
        " FROM queued q LEFT JOIN content c ON c.content = q.content"
    )
    for queueId, waiting, octets, size, content, recipients in rows:
        where = f"queued message {queueId}"
        if waiting != recipients or not recipients:
            yield Damage(where, f"counts {waiting} waiting recipients, has {recipients}")
        if content is None:
            yield Damage(where, "its content is missing")
        elif octets != size:
            yield Damage(where, f"says {octets} octets, its content {size}")
    for queueId, sender, folded, domain, parameters, prefix in connection.execute(
        "SELECT queue_id, sender, sender_folded, sender_domain, parameters, prefix FROM queued"
    ):
        where = f"queued message {queueId}"
        if (domain is None and sender) or folded != foldLocalPart(sender):
            yield Damage(where, "its sender is not what it is found by")
        if not _areParameters(parameters) or not isinstance(prefix, bytes):
            yield Damage(where, "its parameters or first header lines can't be read")
    for queueId, message, localPart, folded, domain, parameters, via, differs in connection.execute(
        "SELECT q.queue_id, r.message, r.local_part, r.folded, r.domain, r.parameters, r.via,"
        " r.held <> q.held OR r.priority <> q.priority"
        " FROM queued_recipient r LEFT JOIN queued q ON q.message = r.message"
    ):
        address = f"{localPart}@{domain}"
        if queueId is None:
            yield Damage(f"queued recipient {address}", f"its message {message} is missing")
            continue
        where = f"queued message {queueId}, recipient {address}"
        if differs:
            yield Damage(where, "is not held, or not as urgent, as its message is")
        if folded != foldLocalPart(localPart):
            yield Damage(where, "is not what it is found by")
        if not _areParameters(parameters):
            yield Damage(where, "its parameters can't be read")
        if not _isAddress(via):
            yield Damage(where, "the address by which it was reached can't be read")


def _isAddress(text: object) -> bool:
    try:
        return not text or bool(isinstance(text, str) and Address.parse(text))
    except SyntaxProblem:
        return False


def _areTexts(text: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and all(isinstance(each, str) for each in found.values())


def _areParameters(text: str) -> bool:
    try:
        return not text or isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _sorting(connection: sqlite3.Connection) -> Iterator[Damage]:
    # A content that an older release stored has no row until somebody sorts it.
    rows = connection.execute(
        "SELECT s.*, c.copies, substr(k.data, 1, c.header_octets) FROM sorting s"
        f" LEFT JOIN content c ON c.content = s.content LEFT JOIN chunk k"
        f" ON k.piece = s.content * {PIECES}"
    )
    for content, *values, copies, header in rows:
        if copies is None:
            yield Damage(f"content {content}", "is sorted, but not there")
        elif copies and isinstance(header, bytes):
            # Octets that are missing, or are others, are found elsewhere.
            if tuple(values) != packValues(sortValues(Header(header))):
                where = _whoseContent(connection, content)
                yield Damage(where, "what sorts it is not what was found in it")


def _contents(
    connection: sqlite3.Connection, progress: Callable[[int, int], None] | None
) -> Iterator[Damage]:
    (whole,) = connection.execute("SELECT count(*) FROM content").fetchone()
    used = dict(
        connection.execute(
            "SELECT content, count(*) FROM"
            " (SELECT content FROM message UNION ALL SELECT content FROM queued) GROUP BY content"
        )
    )
    rows = connection.execute(
        f"SELECT content, copies, octets, checksum, summary_checksum, {SUMMARY} FROM content"
        " ORDER BY content"
    )
    for done, (content, copies, *row) in enumerate(rows):
        if progress is not None and done % 500 == 0:
            progress(done, whole)
        wrong = []
        if copies != used.get(content, 0):
            wrong.append(f"its octets count {copies} uses, have {used.get(content, 0)}")
        # Without copies it is being written, or about to be removed.
        if copies:
            wrong += _contentDamage(connection, content, row)
        if wrong:
            where = _whoseContent(connection, content)
            yield from (Damage(where, each) for each in wrong)
    orphans = connection.execute(
        f"SELECT DISTINCT piece / {PIECES} FROM chunk"
        f" WHERE piece / {PIECES} NOT IN (SELECT content FROM content)"
    ).fetchall()
    for (content,) in orphans:
        yield Damage(f"content {content}", "octets that belong to no message")
    if progress is not None:
        progress(whole, whole)


def _contentDamage(connection: sqlite3.Connection, content: int, row: list[Any]) -> Iterator[str]:
    octets, checksum, detailsChecksum, *details = row
    size = crc = 0
    try:
        for (data,) in connection.execute(
            "SELECT data FROM chunk WHERE piece BETWEEN ? AND ? ORDER BY piece",
            (content * PIECES, content * PIECES + PIECES - 1),
        ):
            size += len(data)
            crc = crc32(data, crc)
    except (sqlite3.Error, TypeError) as error:
        yield f"its octets can't be read: {error}"
    else:
        if size != octets:
            yield f"has {size} of {octets} octets"
        elif crc != checksum:
            yield "its octets are not those that were stored"
    if summaryChecksum(details) != detailsChecksum:
        yield "what is shown of it (envelope, structure) is not what was found in it"


def _whoseContent(connection: sqlite3.Connection, content: int) -> str:
    queued = connection.execute(
        "SELECT 'queued message ' || queue_id FROM queued WHERE content = ? LIMIT 20", (content,)
    ).fetchall()
    found = [row[0] for row in queued]
    accounts = connection.execute(
        "SELECT 1 FROM message WHERE content = ? LIMIT 1", (content,)
    ).fetchone()
    if accounts or not found:
        found.append(_whoseMessage(connection, "m.content = ?", content))
    return "; ".join(found)


def _whoseMessage(connection: sqlite3.Connection, condition: str, *values: int) -> str:
    """
    @return: where messages are, as a person would look for them.
    """
    rows = connection.execute(
        f"SELECT coalesce({_NAME} || ', UID ' || e.uid,"
        f" coalesce({_ADDRESS}, 'account A' || m.account) || ', a message in no mailbox')"
        " FROM message m LEFT JOIN account a ON a.account = m.account"
        " LEFT JOIN entry e ON e.account = m.account AND e.message = m.message"
        " LEFT JOIN mailbox b ON b.account = e.account AND b.mailbox = e.mailbox"
        f" WHERE {condition} LIMIT 20",
        values,
    ).fetchall()
    return "; ".join(row[0] for row in rows) or "a message that nobody has"
