# -*- test-case-name: tests.test_errors -*-
"""
Errors that are the peer's business.

A L{MailError} says what happened in terms that every protocol can put into its own reply: an
enhanced status code (RFC 3463) for SMTP, a response code (RFC 5530, RFC 3501) for IMAP, one
(RFC 2449 §8, RFC 3206) for POP3, and a text that is fit for strangers. It is raised where the
thing happened and becomes a reply in one place per protocol.

Any other exception is a bug of ours: it is logged whole and answered with a generic temporary
failure.
"""

from __future__ import annotations

from typing import Any


class MailError(Exception):
    """
    Something that the peer is to be told.

    @cvar smtpCode: the SMTP reply code (RFC 5321 §4.2); 4yz is temporary, 5yz permanent.
    @cvar enhancedStatus: RFC 3463's status, like C{"5.1.1"}.
    @cvar imapCode: the IMAP response code without brackets, or C{None}.
    @cvar pop3Code: the POP3 response code without brackets, or C{None}.
    @cvar text: said to the peer when the instance was given no text of its own.
    """

    smtpCode: int = 550
    enhancedStatus: str = "5.0.0"
    imapCode: str | None = None
    pop3Code: str | None = None
    text: str = "Refused"

    def __init__(
        self,
        text: str | None = None,
        *,
        smtpCode: int | None = None,
        enhancedStatus: str | None = None,
        imapCode: str | None = None,
        pop3Code: str | None = None,
    ) -> None:
        if text is not None:
            self.text = text
        if smtpCode is not None:
            self.smtpCode = smtpCode
        if enhancedStatus is not None:
            self.enhancedStatus = enhancedStatus
        if imapCode is not None:
            self.imapCode = imapCode
        if pop3Code is not None:
            self.pop3Code = pop3Code
        super().__init__(self.text)

    @property
    def temporary(self) -> bool:
        """Whether trying again later may succeed."""
        return self.smtpCode < 500


class SyntaxProblem(MailError):
    """What the peer sent does not follow the grammar (IMAP BAD, SMTP 501, POP3 -ERR)."""

    smtpCode = 501
    enhancedStatus = "5.5.4"
    imapCode = None
    text = "Syntax error"


class LimitExceeded(MailError):
    """A line, literal, command or count is larger than allowed."""

    smtpCode = 500
    enhancedStatus = "5.5.2"
    imapCode = "LIMIT"
    text = "Too long"


class MessageTooLarge(MailError):
    """The message exceeds the size limit (RFC 1870 §6.3; IMAP TOOBIG, RFC 4469 §4)."""

    smtpCode = 552
    enhancedStatus = "5.3.4"
    imapCode = "TOOBIG"
    text = "Message exceeds the size limit"


class OverQuota(MailError):
    """The account has no room (RFC 5530 OVERQUOTA). Temporary for SMTP: the owner may make room."""

    smtpCode = 452
    enhancedStatus = "4.2.2"
    imapCode = "OVERQUOTA"
    text = "The account is over its quota"


class NoSuchDomain(MailError):
    """Nobody here serves that domain: relaying would be needed."""

    smtpCode = 550
    enhancedStatus = "5.7.1"
    text = "Relaying denied"


class NoSuchAccount(MailError):
    """The domain is ours, the address is unknown."""

    smtpCode = 550
    enhancedStatus = "5.1.1"
    imapCode = "NONEXISTENT"
    text = "No such user here"


class AlreadyExists(MailError):
    """The mailbox, account, domain or alias exists (RFC 5530 ALREADYEXISTS)."""

    imapCode = "ALREADYEXISTS"
    text = "It already exists"


class NoSuchMailbox(MailError):
    """
    There is no such mailbox (RFC 5530 NONEXISTENT).

    Where it is the destination of APPEND, COPY or MOVE and could be created, the protocol says
    TRYCREATE instead (RFC 9051 §6.3.12).
    """

    smtpCode = 550
    enhancedStatus = "5.2.1"
    imapCode = "NONEXISTENT"
    text = "No such mailbox"


class MailboxNotSelectable(MailError):
    r"""The name exists but holds no messages (\Noselect)."""

    text = "That mailbox cannot be selected"


class CannotDoThat(MailError):
    """The operation can never succeed on that object (RFC 5530 CANNOT), as DELETE INBOX."""

    imapCode = "CANNOT"
    text = "That cannot be done"


class InvalidMailboxName(CannotDoThat):
    """A mailbox may not have that name."""

    text = "Not a valid mailbox name"


class HasChildren(MailError):
    """A name that only holds children can't be deleted (RFC 5530 HASCHILDREN)."""

    imapCode = "HASCHILDREN"
    text = "That mailbox has children"


class MessageExpunged(MailError):
    """The message is gone (RFC 5530 EXPUNGEISSUED)."""

    imapCode = "EXPUNGEISSUED"
    text = "Some of the messages were expunged"


class MaildropLocked(MailError):
    """Another POP3 session holds the maildrop (RFC 2449 §8.1.2 IN-USE; RFC 5530 INUSE)."""

    smtpCode = 450
    enhancedStatus = "4.2.0"
    imapCode = "INUSE"
    pop3Code = "IN-USE"
    text = "The maildrop is in use"


class LoginTooSoon(MailError):
    """The account has to wait between two logins (RFC 2449 §8.1.1 LOGIN-DELAY)."""

    smtpCode = 450
    enhancedStatus = "4.7.0"
    imapCode = "LIMIT"
    pop3Code = "LOGIN-DELAY"
    text = "Too soon after the last login, wait a while"


class AuthenticationFailed(MailError):
    """Unknown name or wrong password; never says which."""

    smtpCode = 535
    enhancedStatus = "5.7.8"
    imapCode = "AUTHENTICATIONFAILED"
    pop3Code = "AUTH"
    text = "Authentication failed"


class ProofRefused(AuthenticationFailed):
    """
    As that, found out by the mechanism itself.

    @ivar username: who the client wanted to be, as it said it; for delays, limits and the log.
    """

    def __init__(self, username: bytes = b"?") -> None:
        super().__init__()
        self.username = username


class AuthorizationFailed(AuthenticationFailed):
    """Who it is was shown, but may not act as somebody else (RFC 5530 §3)."""

    imapCode = "AUTHORIZATIONFAILED"
    text = "Not allowed to act as that account"


class AuthenticationRequired(MailError):
    """The command needs an authenticated session (RFC 4954 §6)."""

    smtpCode = 530
    enhancedStatus = "5.7.0"
    text = "Authentication required"


class EncryptionRequired(MailError):
    """Not before TLS (RFC 4954 §6: 538 and RFC 5530 PRIVACYREQUIRED)."""

    smtpCode = 538
    enhancedStatus = "5.7.11"
    imapCode = "PRIVACYREQUIRED"
    text = "Encryption required: use STARTTLS first"


class AccessDenied(MailError):
    """Authenticated, but not allowed to do that (RFC 5530 NOPERM)."""

    enhancedStatus = "5.7.1"
    imapCode = "NOPERM"
    text = "Permission denied"


class UnsupportedCharset(MailError):
    """SEARCH in a charset that isn't known (RFC 9051 BADCHARSET)."""

    imapCode = "BADCHARSET (US-ASCII UTF-8)"
    text = "That charset is not supported"


class TemporaryFailure(MailError):
    """Something of ours failed; trying again may help."""

    smtpCode = 451
    enhancedStatus = "4.3.0"
    imapCode = "UNAVAILABLE"
    pop3Code = "SYS/TEMP"
    text = "Temporary failure, try again later"


class DestinationUnavailable(TemporaryFailure):
    """No host of a destination could be reached (RFC 3463: 4.4.1); its mail waits."""

    enhancedStatus = "4.4.1"
    text = "The destination cannot be reached"


class HostBusy(DestinationUnavailable):
    """
    There are as many connections to a host of the destination as there may be.

    @ivar free: a Deferred that fires when there may be one more; cancelled by who doesn't care.
    """

    text = "There are as many connections to the host as there may be"

    def __init__(self, text: str | None = None, free: Any = None) -> None:
        super().__init__(text)
        self.free = free


class LookupFailed(TemporaryFailure):
    """The domain name system gave no answer, neither yes nor no (RFC 3463: 4.4.3)."""

    enhancedStatus = "4.4.3"
    text = "A DNS lookup failed"


class StoreDamaged(TemporaryFailure):
    """
    Stored data does not check out (RFC 5530 CORRUPTION). Details go to the log and to C{mailstack
    check}.
    """

    imapCode = "CORRUPTION"
    pop3Code = "SYS/PERM"
    text = "The stored data is damaged"


class ConnectionClosed(Exception):
    """The peer is gone while a session waited for it. Ends the session; nobody is answered."""


class SessionEnded(Exception):
    """
    A session waits for its peer and is told to end. It says the protocol's goodbye and returns.

    @ivar reason: L{TIMEOUT} or L{SHUTDOWN}.
    """

    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class PlaintextInjected(Exception):
    """
    Octets came behind STARTTLS before TLS began (CVE-2011-0411's attack): the connection is
    dropped without running them.
    """
