# -*- test-case-name: tests.model.test_records -*-
"""
The values that cross the storage border (see L{twisted_mailstack.interfaces}).

Ids are strings of 1 to 64 characters out of C{A-Za-z0-9_-} (RFC 8474 §4): whoever has one has a
name for that object that never changes and never comes back.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import NO_FLAGS, Flags
from twisted_mailstack.model.sequence import NumberSet

#: The special uses that a client can give a mailbox (RFC 6154 §2, RFC 8457 §3).
ASSIGNABLE_USES = ("\\Archive", "\\Drafts", "\\Important", "\\Junk", "\\Sent", "\\Trash")
#: All of them. These two promise a mailbox that shows what is in others.
SPECIAL_USES = ("\\All", "\\Flagged", *ASSIGNABLE_USES)

#: The mailboxes that each account is made with, besides INBOX, and their special use.
DEFAULT_MAILBOXES = (
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Junk", "\\Junk"),
    ("Trash", "\\Trash"),
    ("Archive", "\\Archive"),
)


class Attribute(Enum):
    """
    What L{twisted_mailstack.interfaces.IMailbox.fetch} can be asked for; the comment is the type
    of the column.
    """

    UID = "uid"  # int
    FLAGS = "flags"  # Flags, interned
    MODSEQ = "modSeq"  # int
    INTERNAL_DATE = "internalDate"  # int, seconds since 1970 UTC
    ZONE = "zone"  # int, minutes east of UTC in which internalDate was given
    SAVE_DATE = "saveDate"  # int, seconds since 1970 UTC
    OCTETS = "octets"  # int, RFC822.SIZE
    MESSAGE_ID = "messageId"  # str, EMAILID of RFC 8474
    THREAD_ID = "threadId"  # str, THREADID of RFC 8474
    ENVELOPE = "envelope"  # bytes, rendered for FETCH
    BODY_STRUCTURE = "bodyStructure"  # bytes, rendered, with extension data
    BODY = "body"  # bytes, rendered, without extension data
    PREVIEW = "preview"  # str
    STRUCTURE = "structure"  # bytes: model.mime.packStructure, offsets without the prefix
    PREFIX_SIZE = "prefixSize"  # int, octets before the offset 0 of STRUCTURE
    HEADER = "header"  # bytes: the header with its blank line; None if not small (SMALL_MESSAGE)
    CONTENT = "content"  # bytes: the whole message; None if not small (SMALL_MESSAGE)
    SENT_DATE = "sentDate"  # int or None: the Date field, seconds since 1970 UTC
    SUBJECT = "subject"  # str, decoded
    BASE_SUBJECT = "baseSubject"  # str, RFC 5256 §2.1


#: A message of at most so many octets is given whole by C{Attribute.CONTENT}; a larger one is read
#: in pieces from L{twisted_mailstack.interfaces.IMessageContent}.
SMALL_MESSAGE = 256 * 1024


#: Octets of a key with which URLs are authorised; RFC 4467 §7 wants 16 at least.
URL_KEY_OCTETS = 32


class MailboxInfo(NamedTuple):
    """
    One line of an account's list of mailboxes.

    @ivar name: normalised (model.mailboxname).
    @ivar mailboxId: RFC 8474 MAILBOXID; stays through RENAME, is new after DELETE and CREATE.
    @ivar selectable: false for a name that is only there for its children (C{\\Noselect}).
    @ivar subscribed: whether the owner subscribed to the name.
    @ivar specialUse: of L{SPECIAL_USES}, several separated by spaces, or C{None}.
    """

    name: str
    mailboxId: str
    selectable: bool
    subscribed: bool
    specialUse: str | None = None


class MetadataChange(NamedTuple):
    """
    A change of metadata entries.

    @ivar modSeq: of the change.
    @ivar mailboxName: whose they are, empty for the account's own.
    @ivar entry: the name of the entry that was set or removed.
    """

    modSeq: int
    mailboxName: str
    entry: str


class MailboxStatus(NamedTuple):
    """
    The numbers of a mailbox at one instant (RFC 9051 §6.3.11).

    @ivar recent: messages that no session was told of as recent (RFC 3501 §2.3.2).
    @ivar octets: the sum of RFC822.SIZE (RFC 8438).
    @ivar keywords: every keyword the mailbox has seen.
    """

    uidValidity: int
    uidNext: int
    highestModSeq: int
    messages: int
    unseen: int
    deleted: int
    recent: int
    octets: int
    keywords: tuple[str, ...]


class Changes(NamedTuple):
    """
    What happened in a mailbox after a modSeq; the three columns run in parallel, by ascending UID.

    @ivar uids: of the entries that are new or changed and still there, C{array("I")}.
    @ivar flags: their flags.
    @ivar modSeqs: their modSeqs, C{array("Q")}.
    @ivar vanished: UIDs of entries that were expunged after it. May name UIDs that were gone before
        it or that the asker never saw; never one that is there.
    @ivar highestModSeq: where to go on: the next call's argument.
    @ivar uidNext: of the same instant.
    @ivar keywords: every keyword the mailbox has seen.
    """

    uids: array[int]
    flags: list[Flags]
    modSeqs: array[int]
    vanished: NumberSet
    highestModSeq: int
    uidNext: int
    keywords: tuple[str, ...]


class StoreResult(NamedTuple):
    """
    @ivar changed: C{(uid, flags, modSeq)} of each entry that has other flags now.
    @ivar unchanged: C{(uid, flags, modSeq)} of those that already had them.
    @ivar modified: UIDs left alone since their modSeq is above C{unchangedSince}.
    """

    changed: Sequence[tuple[int, Flags, int]]
    unchanged: Sequence[tuple[int, Flags, int]]
    modified: Sequence[int]


class CopyResult(NamedTuple):
    """
    RFC 4315 §3's COPYUID: the n-th source became the n-th destination, both ascending.
    """

    uidValidity: int
    sources: Sequence[int]
    destinations: Sequence[int]


class AppendResult(NamedTuple):
    """RFC 4315 §3's APPENDUID, in the order of the messages given."""

    uidValidity: int
    uids: Sequence[int]


#: What an annotation of a message is known by (RFC 5257 §3.2, §3.3): the name of its entry, and
#: whether it is private.
AnnotationKey = tuple[str, bool]


class Annotation(NamedTuple):
    """
    The value that an entry has for a message (RFC 5257 §3.2).

    @ivar entry: its name, ASCII.
    @ivar private: whether it is only there for who stored it; else everybody sees it.
    """

    uid: int
    entry: str
    private: bool
    value: bytes


class AnnotationChange(NamedTuple):
    """
    A change of a message's annotation.

    @ivar modSeq: of the change.
    @ivar entry: the name of what was set or removed.
    """

    modSeq: int
    uid: int
    entry: str


class AnnotationScope(NamedTuple):
    """
    Which annotations go along with messages that are copied.

    @ivar reader: the accountId of who copies; C{None} for the source's owner.
    @ivar private: his private ones go along; those of others never do.
    @ivar shared: those that everybody sees do.
    """

    reader: str | None = None
    private: bool = True
    shared: bool = True


class Quota(NamedTuple):
    """
    Use and limit of an account (RFC 9208 §5: STORAGE counts in 1024 octets, here in octets).

    @ivar octetLimit: C{None} for no limit; likewise C{messageLimit}.
    """

    octets: int
    octetLimit: int | None
    messages: int
    messageLimit: int | None


#: Days that nobody lives to see the end of (L{MaildropSettings.expireDays}).
NEVER = 2**31 - 1


class MaildropSettings(NamedTuple):
    """
    What POP3 shows of an account, and what it does there.

    @ivar unseenOnly: only messages that aren't C{\\Seen}.
    @ivar mailboxes: names of mailboxes whose messages are shown behind those of INBOX.
    @ivar toTrash: what a client deletes is moved to the mailbox with the special use C{\\Trash};
        else it is expunged.
    @ivar loginDelay: seconds between two logins (RFC 2449 §6.5); C{None}: as the server has it.
    @ivar expireDays: days after which what a client has fetched is removed (RFC 2449 §6.7); C{0}:
        when it has been fetched; L{NEVER}; C{None}: as the server has it.
    """

    unseenOnly: bool = False
    mailboxes: tuple[str, ...] = ()
    toTrash: bool = False
    loginDelay: int | None = None
    expireDays: int | None = None


class MaildropSurvey(NamedTuple):
    """
    What accounts have of their own.

    @ivar loginDelays: the least and the greatest C{loginDelay} of an account; C{None}: none has
        one.
    @ivar expireDays: likewise.
    """

    loginDelays: tuple[int, int] | None = None
    expireDays: tuple[int, int] | None = None


class DomainRecord(NamedTuple):
    """A domain whose mail we take."""

    name: str


class AccountRecord(NamedTuple):
    """
    @ivar accountId: never changes, never returns.
    @ivar address: the address that names it.
    @ivar enabled: a disabled account takes mail, nobody logs in.
    @ivar limited: whether it may have a quota. Who wants to know how much room there is needn't ask
        an account that has none.
    """

    accountId: str
    address: Address
    enabled: bool = True
    limited: bool = True


#: The protocols for which credentials and accounts can be said to be.
LOGIN_SERVICES = frozenset(("imap", "pop3", "smtp"))
#: The kinds of credentials: the main password, of which there is one, and those of applications.
PASSWORD, APP_PASSWORD = "password", "app"


class Credential(NamedTuple):
    """
    Something by which an account's owner shows who he is.

    @ivar credentialId: never changes, never returns: another password has another.
    @ivar kind: L{PASSWORD} or L{APP_PASSWORD}.
    @ivar name: what its owner calls it; empty for the main password.
    @ivar secrets: by scheme, in lower case, what it is verified against: C{argon2id} and others
        that make PHC strings, C{scram-sha-256} and its like
        (C{iterations,salt,storedKey,serverKey}, the last three in base64), the schemes of
        C{{SCHEME}} forms, what follows the braces;
        C{plain} only where the account chose that, for mechanisms that need it.
    @ivar services: of L{LOGIN_SERVICES}, those for which it holds; C{None}: for all.
    @ivar created: seconds since 1970; C{expires} and C{lastUsed} likewise, or C{None} for never.
    """

    credentialId: str
    accountId: str
    kind: str
    name: str
    secrets: Mapping[str, str]
    services: frozenset[str] | None = None
    created: int = 0
    expires: int | None = None
    lastUsed: int | None = None


class AccountPolicy(NamedTuple):
    """
    Who may log in to an account, besides that it is enabled (L{AccountRecord}).

    @ivar expires: seconds since 1970, from which on nobody may; C{None}: never.
    @ivar networks: from which one may, as C{192.0.2.0/24}; empty: from everywhere.
    @ivar services: of L{LOGIN_SERVICES}, those to which one may; C{None}: to all.
    @ivar master: its owner may log in to every account that is no master.
    @ivar totp: the secret of its one-time codes (RFC 6238) in base32, one of which the main
        password needs then; C{None}: it needs none.
    """

    expires: int | None = None
    networks: tuple[str, ...] = ()
    services: frozenset[str] | None = None
    master: bool = False
    totp: str | None = None


#: Logins that are kept of each account, and of all names that nobody has.
KEPT_LOGINS, KEPT_STRAY_LOGINS = 100, 1000


class LoginRecord(NamedTuple):
    """
    A login that somebody tried.

    @ivar when: seconds since 1970.
    @ivar accountId: to which account, C{None} if the name is nobody's.
    @ivar name: as the client said it.
    @ivar service: as of L{ConnectionInfo}; C{peer} likewise.
    @ivar success: whether it was one.
    @ivar credential: the name of the app password, empty for anything else.
    """

    when: int
    accountId: str | None
    name: str
    service: str
    peer: str
    mechanism: str
    success: bool
    credential: str = ""


class AliasRecord(NamedTuple):
    """
    @ivar address: whose mail is passed on; a local-part of C{*} is the domain's catch-all.
    @ivar targets: where to, addresses here or elsewhere; C{*} there stands for the local-part that
        the mail came for.
    """

    address: Address
    targets: tuple[Address, ...]


class Placement(NamedTuple):
    """
    One local recipient's copy of a message that is delivered.

    @ivar accountId: whose.
    @ivar mailbox: the mailbox's name; INBOX is taken where it is missing.
    @ivar prefix: header lines put in front of the shared content, each ended by CRLF.
    """

    accountId: str
    mailbox: str
    prefix: bytes = b""
    flags: Flags = NO_FLAGS


class Damage(NamedTuple):
    """
    Something that an integrity check found.

    @ivar where: what is damaged, in an operator's words: account, mailbox, uid.
    @ivar what: how, and what to do about it.
    """

    where: str
    what: str


class StoredSecret(NamedTuple):
    """
    What somebody can be verified by.

    @ivar credentialId: of the L{Credential} that it is of; empty if it is nobody's.
    @ivar text: as in C{Credential.secrets}.
    """

    credentialId: str
    text: str


class Channel:
    """
    What SASL mechanisms can ask of a TLS connection. Few do, so it is found out when it is asked.
    """

    def binding(self, kind: str) -> bytes | None:
        """
        @param kind: a channel binding type: C{tls-exporter} (RFC 9266), C{tls-server-end-point}
            (RFC 5929 §4).
        @return: what both ends of this connection know and nobody between them can bring about;
            C{None} where the connection has none of that type.
        """
        return None

    def peerCertificate(self) -> bytes | None:
        """
        @return: the peer's certificate, DER, if it has shown one and that was verified.
        """
        return None


class ConnectionInfo(NamedTuple):
    """
    What policies and logs know of a connection.

    @ivar peer: the client's IP address as text; C{"local"} for a Unix socket.
    @ivar peerPort: its port, 0 if it has none.
    @ivar service: which of ours it reached: C{smtp}, C{submission}, C{imaps}, ...
    @ivar secure: under TLS.
    @ivar tlsVersion: like C{TLSv1.3}, or C{None}; C{cipher} likewise.
    @ivar name: the client's host name as far as somebody trusted has looked it up, empty if it has
        none; C{None} if nobody has looked.
    @ivar reached: which address of ours the client reached, if a trusted proxy said so; C{""} else.
        C{reachedPort} likewise, 0 if nobody said so.
    @ivar channel: what mechanisms ask of TLS, C{None} where there is nothing to ask.
    """

    peer: str
    peerPort: int
    service: str
    secure: bool = False
    tlsVersion: str | None = None
    cipher: str | None = None
    name: str | None = None
    reached: str = ""
    reachedPort: int = 0
    channel: Channel | None = None


class Envelope(NamedTuple):
    """
    A transaction's envelope as far as it is known (RFC 5321 §2.3.1).

    @ivar reversePath: C{None} is the null reverse-path.
    @ivar helo: what the client called itself, as it wrote it.
    @ivar authenticated: the account's address if the session is authenticated.
    @ivar parameters: MAIL's parameters, upper-case keywords. Once the message was read, BODY says
        what it is, and the header field C{TLS-Required: No} (RFC 8689 §3) is among them, as
        TLS-REQUIRED.
    @ivar queueId: names the transaction in the log, in the 250 reply and in Received.
    @ivar perRecipient: each recipient gets a reply of its own in the end (LMTP, RFC 2033 §4.2).
    @ivar forwarded: where the message comes from, by what a trusted filter in front of us said
        (XFORWARD): C{NAME}, C{ADDR}, C{PORT}, C{PROTO}, C{HELO}, C{IDENT}, C{SOURCE}, for logs.
    """

    connection: ConnectionInfo
    helo: str
    reversePath: Address | None
    authenticated: Address | None
    parameters: Mapping[str, str | None]
    queueId: str
    perRecipient: bool = False
    forwarded: Mapping[str, str] = MappingProxyType({})


class Recipient(NamedTuple):
    """
    A forward-path with RCPT's parameters.

    @ivar address: without a domain it is the postmaster of this server (RFC 5321 §4.5.1).
    @ivar parameters: upper-case keywords.
    """

    address: Address
    parameters: Mapping[str, str | None]
