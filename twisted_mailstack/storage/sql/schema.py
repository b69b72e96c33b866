# -*- test-case-name: tests.storage.test_sqlschema -*-
"""
The tables, and how an older database becomes a current one.

Every key begins with the account, so that accounts can be spread over machines. C{PRAGMA
user_version} is the schema's version: the number of L{MIGRATIONS} that were applied. A migration
that was released is never changed.
"""

from __future__ import annotations

import sqlite3

from twisted_mailstack.errors import StoreDamaged

#: Octets of a message in one row of C{chunk}: a range is read without walking what is before it.
CHUNK = 256 * 1024
#: A piece's key is content * 65536 + number, so a message has at most 16 GiB.
PIECES = 1 << 16

_FIRST = """
CREATE TABLE domain (
    name TEXT PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE account (
    account INTEGER PRIMARY KEY AUTOINCREMENT,
    domain TEXT NOT NULL,
    folded TEXT NOT NULL,
    local_part TEXT NOT NULL,
    password TEXT,
    enabled INTEGER NOT NULL DEFAULT 1,
    mod_seq INTEGER NOT NULL DEFAULT 1,
    next_id INTEGER NOT NULL DEFAULT 1,
    uid_validity INTEGER NOT NULL,
    octets INTEGER NOT NULL DEFAULT 0,
    messages INTEGER NOT NULL DEFAULT 0,
    octet_limit INTEGER,
    message_limit INTEGER,
    UNIQUE (domain, folded)
);

CREATE TABLE former_account (
    domain TEXT NOT NULL,
    folded TEXT NOT NULL,
    uid_validity INTEGER NOT NULL,
    PRIMARY KEY (domain, folded)
) WITHOUT ROWID;

CREATE TABLE alias (
    domain TEXT NOT NULL,
    folded TEXT NOT NULL,
    local_part TEXT NOT NULL,
    targets TEXT NOT NULL,
    PRIMARY KEY (domain, folded)
) WITHOUT ROWID;

CREATE TABLE mailbox (
    account INTEGER NOT NULL,
    mailbox INTEGER NOT NULL,
    name TEXT NOT NULL,
    selectable INTEGER NOT NULL,
    special_use TEXT,
    uid_validity INTEGER NOT NULL,
    uid_next INTEGER NOT NULL DEFAULT 1,
    mod_seq INTEGER NOT NULL DEFAULT 1,
    recent_uid INTEGER NOT NULL DEFAULT 1,
    messages INTEGER NOT NULL DEFAULT 0,
    unseen INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    recent INTEGER NOT NULL DEFAULT 0,
    octets INTEGER NOT NULL DEFAULT 0,
    keywords TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (account, mailbox)
) WITHOUT ROWID;
CREATE UNIQUE INDEX mailbox_name ON mailbox (account, name);

CREATE TABLE former_name (
    account INTEGER NOT NULL,
    name TEXT NOT NULL,
    uid_validity INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;

CREATE TABLE subscription (
    account INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;

CREATE TABLE entry (
    account INTEGER NOT NULL,
    mailbox INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    message INTEGER NOT NULL,
    flags TEXT NOT NULL,
    mod_seq INTEGER NOT NULL,
    internal_date INTEGER NOT NULL,
    zone INTEGER NOT NULL,
    save_date INTEGER NOT NULL,
    PRIMARY KEY (account, mailbox, uid)
) WITHOUT ROWID;
CREATE INDEX entry_mod_seq ON entry (account, mailbox, mod_seq);

CREATE TABLE vanished (
    account INTEGER NOT NULL,
    mailbox INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    mod_seq INTEGER NOT NULL,
    PRIMARY KEY (account, mailbox, first)
) WITHOUT ROWID;
CREATE INDEX vanished_mod_seq ON vanished (account, mailbox, mod_seq);

CREATE TABLE message (
    account INTEGER NOT NULL,
    message INTEGER NOT NULL,
    content INTEGER NOT NULL,
    prefix BLOB NOT NULL,
    prefix_checksum INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    thread INTEGER NOT NULL,
    copies INTEGER NOT NULL,
    PRIMARY KEY (account, message)
) WITHOUT ROWID;

CREATE TABLE reference (
    account INTEGER NOT NULL,
    identity INTEGER NOT NULL,
    thread INTEGER NOT NULL,
    PRIMARY KEY (account, identity)
) WITHOUT ROWID;

CREATE TABLE content (
    content INTEGER PRIMARY KEY AUTOINCREMENT,
    copies INTEGER NOT NULL,
    owner TEXT,
    octets INTEGER,
    header_octets INTEGER,
    checksum INTEGER,
    summary_checksum INTEGER,
    envelope BLOB,
    body_structure BLOB,
    body BLOB,
    structure BLOB,
    preview TEXT,
    subject TEXT,
    base_subject TEXT,
    sent_date INTEGER
);
CREATE INDEX content_unplaced ON content (content) WHERE copies = 0 AND owner IS NULL;
CREATE INDEX content_owned ON content (owner) WHERE owner IS NOT NULL;

CREATE TABLE chunk (
    piece INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);
"""

_SPOOL = """
CREATE TABLE queued (
    message INTEGER PRIMARY KEY AUTOINCREMENT,
    queue_id TEXT NOT NULL,
    content INTEGER NOT NULL,
    prefix BLOB NOT NULL,
    octets INTEGER NOT NULL,
    sender TEXT NOT NULL,
    sender_folded TEXT NOT NULL,
    sender_domain TEXT,
    parameters TEXT NOT NULL,
    arrived INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    held INTEGER NOT NULL,
    origin TEXT NOT NULL,
    waiting INTEGER NOT NULL
);
CREATE INDEX queued_id ON queued (queue_id);

CREATE TABLE queued_recipient (
    message INTEGER NOT NULL,
    number INTEGER NOT NULL,
    local_part TEXT NOT NULL,
    folded TEXT NOT NULL,
    domain TEXT NOT NULL,
    parameters TEXT NOT NULL,
    destination TEXT NOT NULL,
    priority INTEGER NOT NULL,
    held INTEGER NOT NULL,
    next_attempt INTEGER NOT NULL,
    check_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    last_reply TEXT NOT NULL,
    delay_notified INTEGER NOT NULL,
    PRIMARY KEY (message, number)
) WITHOUT ROWID;
CREATE INDEX queued_due ON queued_recipient (held, destination, priority, next_attempt);
CREATE INDEX queued_check ON queued_recipient (held, check_at);

CREATE TABLE destination (
    name TEXT PRIMARY KEY,
    retry_at INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    last_reply TEXT NOT NULL
) WITHOUT ROWID;
"""

_MEMORY = """
CREATE TABLE remembered (
    key TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX remembered_expires ON remembered (expires);
"""

_VIA = """
ALTER TABLE queued_recipient ADD COLUMN via TEXT NOT NULL DEFAULT '';
"""

_SORTING = """
CREATE TABLE sorting (
    content INTEGER PRIMARY KEY,
    sent_date INTEGER,
    subject TEXT NOT NULL,
    is_reply INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    copy TEXT NOT NULL,
    display_from TEXT NOT NULL,
    display_to TEXT NOT NULL,
    identity INTEGER NOT NULL,
    refs BLOB NOT NULL
);
"""

_ACCESS = """
CREATE TABLE access (
    account INTEGER NOT NULL,
    mailbox INTEGER NOT NULL,
    identifier TEXT NOT NULL,
    rights TEXT NOT NULL,
    PRIMARY KEY (account, mailbox, identifier)
) WITHOUT ROWID;
CREATE INDEX access_identifier ON access (identifier);

CREATE TABLE published (
    account INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

ALTER TABLE account ADD COLUMN mailbox_limit INTEGER;
"""

_METADATA = """
CREATE TABLE metadata (
    account INTEGER NOT NULL,
    mailbox INTEGER NOT NULL,
    reader INTEGER NOT NULL,
    entry TEXT NOT NULL,
    value BLOB,
    mod_seq INTEGER NOT NULL,
    PRIMARY KEY (account, mailbox, reader, entry)
) WITHOUT ROWID;
CREATE INDEX metadata_mod_seq ON metadata (account, mod_seq);
"""

_URL_KEYS = """
CREATE TABLE url_key (
    account INTEGER NOT NULL,
    mailbox INTEGER NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (account, mailbox)
) WITHOUT ROWID;
"""

_ANNOTATIONS = """
CREATE TABLE annotation (
    account INTEGER NOT NULL,
    mailbox INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    entry TEXT NOT NULL,
    reader INTEGER NOT NULL,
    value BLOB,
    mod_seq INTEGER NOT NULL,
    PRIMARY KEY (account, mailbox, uid, entry, reader)
) WITHOUT ROWID;
CREATE INDEX annotation_mod_seq ON annotation (account, mailbox, mod_seq);
CREATE INDEX annotation_reader ON annotation (reader) WHERE reader <> account AND reader <> 0;

ALTER TABLE mailbox ADD COLUMN annotated INTEGER NOT NULL DEFAULT 0;
"""

_CREDENTIALS = """
CREATE TABLE credential (
    account INTEGER NOT NULL,
    credential INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    secrets TEXT NOT NULL,
    services TEXT,
    created INTEGER NOT NULL,
    expires INTEGER,
    last_used INTEGER,
    PRIMARY KEY (account, credential)
) WITHOUT ROWID;
CREATE UNIQUE INDEX credential_name ON credential (account, kind, name);

CREATE TABLE account_policy (
    account INTEGER PRIMARY KEY,
    expires INTEGER,
    networks TEXT NOT NULL,
    services TEXT,
    master INTEGER NOT NULL,
    totp TEXT
);

ALTER TABLE account ADD COLUMN credentials INTEGER NOT NULL DEFAULT 0;
UPDATE account SET credentials = 1 WHERE password IS NOT NULL;
INSERT INTO credential
    SELECT account, 1, 'password', '', json_object('argon2id', password), NULL,
        CAST(strftime('%s', 'now') AS INTEGER), NULL, NULL
    FROM account WHERE password IS NOT NULL;
ALTER TABLE account DROP COLUMN password;
"""

# What was shown as unique-ids before is kept: the UIDs of INBOX with its UIDVALIDITY.
_MAILDROP = """
CREATE TABLE maildrop (
    account INTEGER PRIMARY KEY,
    token TEXT NOT NULL,
    unseen_only INTEGER NOT NULL DEFAULT 0,
    mailboxes TEXT NOT NULL DEFAULT '[]',
    to_trash INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE unique_id (
    account INTEGER NOT NULL,
    message INTEGER NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (account, message)
) WITHOUT ROWID;
CREATE UNIQUE INDEX unique_id_value ON unique_id (account, value);

INSERT OR IGNORE INTO unique_id
SELECT e.account, e.message, b.uid_validity || '.' || e.uid
FROM mailbox b JOIN entry e ON e.account = b.account AND e.mailbox = b.mailbox
WHERE b.name = 'INBOX';
"""

_LOGINS = """
CREATE TABLE login (
    account INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    name TEXT NOT NULL,
    service TEXT NOT NULL,
    peer TEXT NOT NULL,
    mechanism TEXT NOT NULL,
    success INTEGER NOT NULL,
    credential TEXT NOT NULL,
    PRIMARY KEY (account, number)
) WITHOUT ROWID;
"""

_METADATA_READER = """
CREATE INDEX metadata_reader ON metadata (reader) WHERE reader <> account AND reader <> 0;
"""

_ANNOTATION_LIMIT = """
ALTER TABLE account ADD COLUMN annotation_limit INTEGER;
"""

# When a POP3 client fetched a message, where that matters.
_RETRIEVED = """
ALTER TABLE maildrop ADD COLUMN login_delay INTEGER;
ALTER TABLE maildrop ADD COLUMN expire_days INTEGER;
CREATE INDEX maildrop_login_delay ON maildrop (login_delay) WHERE login_delay IS NOT NULL;
CREATE INDEX maildrop_expire_days ON maildrop (expire_days) WHERE expire_days IS NOT NULL;
ALTER TABLE message ADD COLUMN retrieved INTEGER;
CREATE INDEX message_retrieved ON message (account, retrieved) WHERE retrieved IS NOT NULL;
"""

#: The n-th makes version n out of version n - 1.
MIGRATIONS: tuple[str, ...] = (
    *(_FIRST, _SPOOL, _MEMORY, _SORTING, _VIA, _ACCESS, _METADATA),
    *(_URL_KEYS, _ANNOTATIONS, _CREDENTIALS, _MAILDROP, _LOGINS),
    *(_METADATA_READER, _ANNOTATION_LIMIT, _RETRIEVED),
)


def upgrade(connection: sqlite3.Connection, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """
    Bring a database to the current version, in one transaction. Writes nothing if it has it.

    @raise StoreDamaged: if it was made by a newer release.
    """
    if _version(connection, migrations) == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Again: another process may have been faster.
        for script in migrations[_version(connection, migrations) :]:
            # executescript would commit first.
            for statement in script.split(";"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, migrations: tuple[str, ...]) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(migrations):
        raise StoreDamaged(
            f"the database has schema version {version}, this release knows {len(migrations)}:"
            " it was used with a newer release"
        )
    return version
