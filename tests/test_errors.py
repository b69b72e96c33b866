"""
What the peer can be told: the codes of every error fit one another and the RFCs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack import errors
from twisted_mailstack.errors import MailError, OverQuota, SessionEnded, StoreDamaged
from twisted_mailstack.smtp.reply import errorReply

#: RFC 5530 §3, RFC 9051 §7.1 (HASCHILDREN, BADCHARSET), RFC 4469 §4 (TOOBIG).
IMAP_CODES = {
    *("ALREADYEXISTS", "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "BADCHARSET", "CANNOT"),
    *(
        "CORRUPTION",
        "EXPUNGEISSUED",
        "HASCHILDREN",
        "INUSE",
        "LIMIT",
        "NONEXISTENT",
        "NOPERM",
        "OVERQUOTA",
    ),
    *("PRIVACYREQUIRED", "TOOBIG", "UNAVAILABLE"),
}
#: RFC 2449 §8, RFC 3206.
POP3_CODES = {"AUTH", "IN-USE", "LOGIN-DELAY", "SYS/TEMP", "SYS/PERM"}


def kinds() -> Iterator[type[MailError]]:
    """
    @return: every kind of error that is the peer's business.
    """
    waiting = [MailError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__ == errors.__name__:
            yield kind
        waiting += kind.__subclasses__()


class KindTests(SynchronousTestCase):
    """
    Every kind of error.
    """

    def test_enhancedStatus(self) -> None:
        """The enhanced status has a valid form, and the class of the reply code (RFC 2034 §4)."""
        for kind in kinds():
            self.assertRegex(kind.enhancedStatus, r"\A[245]\.\d{1,3}\.\d{1,3}\Z", kind)
            self.assertEqual(kind.enhancedStatus[0], str(kind.smtpCode)[0], kind)

    def test_refuses(self) -> None:
        """An error is never a success: its reply code is 4yz or 5yz (RFC 5321 §4.2.1)."""
        for kind in kinds():
            self.assertIn(kind.smtpCode // 100, (4, 5), kind)
            self.assertEqual(kind().temporary, kind.smtpCode < 500, kind)

    def test_imapCode(self) -> None:
        """The response code is one that clients may know."""
        for kind in kinds():
            if kind.imapCode is not None:
                self.assertIn(kind.imapCode.partition(" ")[0], IMAP_CODES, kind)

    def test_pop3Code(self) -> None:
        """The response code is one that clients may know."""
        for kind in kinds():
            if kind.pop3Code is not None:
                self.assertIn(kind.pop3Code, POP3_CODES, kind)

    def test_text(self) -> None:
        """The text is one line of printable ASCII, and tells nothing of the machine."""
        for kind in kinds():
            self.assertRegex(kind.text, r"\A[ -~]{3,80}\Z", kind)
            self.assertIsNone(re.search(r"/|sqlite|python|Errno", kind.text, re.IGNORECASE), kind)

    def test_fullMailbox(self) -> None:
        """
        A full mailbox is temporary for SMTP, so that nothing is lost while its owner makes room
        (RFC 3463 §3.3: X.2.2 is no permanent condition).
        """
        self.assertTrue(OverQuota().temporary)

    def test_ownFailure(self) -> None:
        """What is wrong with us is temporary for the peer: mail is tried again, not sent back."""
        for kind in (errors.TemporaryFailure, StoreDamaged):
            self.assertTrue(kind().temporary)


class MailErrorTests(SynchronousTestCase):
    """
    A single error.
    """

    def test_given(self) -> None:
        """An instance may say and mean something of its own; the kind stays as it is."""
        error = MailError(
            "Not that", smtpCode=452, enhancedStatus="4.5.3", imapCode="LIMIT", pop3Code="SYS/TEMP"
        )
        self.assertEqual(str(error), "Not that")
        self.assertEqual((error.imapCode, error.pop3Code), ("LIMIT", "SYS/TEMP"))
        self.assertTrue(error.temporary)
        self.assertEqual(errorReply(error), b"452 4.5.3 Not that\r\n")
        self.assertEqual(errorReply(MailError()), b"550 5.0.0 Refused\r\n")

    def test_default(self) -> None:
        """An instance without a text says its kind's."""
        self.assertEqual(str(OverQuota()), OverQuota.text)

    def test_oneLine(self) -> None:
        """Whatever is in a text, it can't become a reply of its own."""
        self.assertEqual(
            errorReply(MailError("no\r\n250 yes")).count(b"\n"),
            errorReply(MailError("no\r\n250 yes")).count(b"550"),
        )


class SessionTests(SynchronousTestCase):
    """
    What ends a session, and is nobody's answer.
    """

    def test_notAnswered(self) -> None:
        """These are no L{MailError}s, so nothing that answers errors takes them for one."""
        for kind in (errors.ConnectionClosed, SessionEnded, errors.PlaintextInjected):
            self.assertFalse(issubclass(kind, MailError))

    def test_reason(self) -> None:
        """Why it ends is known."""
        self.assertEqual(SessionEnded(SessionEnded.TIMEOUT).reason, "timeout")
