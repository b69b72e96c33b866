"""
Replies are well-formed whatever their text.
"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import MailError, NoSuchAccount, OverQuota
from twisted_mailstack.smtp.reply import errorReply, reply

#   Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
#   textstring = 1*(%d09 / %d32-126)         (RFC 5321 §4.2)
WELL_FORMED = re.compile(
    rb"(?:([2-5][0-5][0-9])-[\x20-\x7e]*\r\n(?=\1[- ]))*[2-5][0-5][0-9] [\x20-\x7e]*\r\n"
)


class ReplyTests(SynchronousTestCase):
    """
    L{reply}.
    """

    def test_oneLine(self) -> None:
        """Code, space, text, CRLF; the enhanced status at the head of the text (RFC 2034 §4)."""
        self.assertEqual(reply(220, "mx.example.test ESMTP"), b"220 mx.example.test ESMTP\r\n")
        self.assertEqual(reply(250, "OK", "2.0.0"), b"250 2.0.0 OK\r\n")

    def test_lines(self) -> None:
        """
        Each line but the last has a hyphen behind the code (RFC 5321 §4.2.1), each has the enhanced
        status (RFC 2034 §4).
        """
        self.assertEqual(reply(250, "a\nb\nc"), b"250-a\r\n250-b\r\n250 c\r\n")
        self.assertEqual(
            reply(551, "Forwarding disabled\nSelect another host", "5.7.1"),
            b"551-5.7.1 Forwarding disabled\r\n551 5.7.1 Select another host\r\n",
        )
        self.assertEqual(reply(250, "a\n\nb"), b"250-a\r\n250-\r\n250 b\r\n")

    def test_empty(self) -> None:
        """Without text the space is sent all the same (RFC 5321 §4.2)."""
        self.assertEqual(reply(334, ""), b"334 \r\n")

    def test_noNewLines(self) -> None:
        """No text can end a line or begin another reply."""
        self.assertEqual(reply(550, "a\r250 b"), b"550 a 250 b\r\n")
        self.assertEqual(reply(550, "a\r\n250 b"), b"550-a \r\n550 250 b\r\n")
        self.assertEqual(reply(550, "a\0\x1b\x7f\u0085\u2028b"), b"550 a b\r\n")

    def test_ASCII(self) -> None:
        """Only ASCII goes out (RFC 6531 §3.7.4.2: MUST NOT), unless the client asked for more."""
        self.assertEqual(reply(250, "<θ@b.test>"), rb"250 <\u03b8@b.test>" + b"\r\n")
        self.assertEqual(reply(250, "<θ@b.test>", utf8=True), "250 <θ@b.test>\r\n".encode())

    def test_longText(self) -> None:
        """
        A line has 512 octets at most (RFC 5321 §4.5.3.1.5): more is told in several, cut at spaces,
        with nothing lost.
        """
        words = " ".join(f"word{number}" for number in range(300))
        lines = reply(550, words, "5.7.1").split(b"\r\n")[:-1]
        self.assertTrue(all(len(line) + 2 <= 512 for line in lines))
        self.assertTrue(all(line.startswith(b"550-5.7.1 word") for line in lines[:-1]))
        self.assertTrue(lines[-1].startswith(b"550 5.7.1 word"))
        self.assertEqual(b"".join(line[10:] for line in lines), words.encode())

    def test_exactlyFull(self) -> None:
        """A line that just fits isn't cut; one octet more is."""
        for extra, count in ((0, 1), (1, 2)):
            octets = reply(250, "x" * (512 - len("250 2.0.0 \r\n") + extra), "2.0.0")
            self.assertEqual(octets.count(b"\r\n"), count)
            self.assertLessEqual(max(map(len, octets.splitlines(True))), 512)

    def test_longUTF8(self) -> None:
        """A long text in UTF-8 is never cut within a character."""
        for shift in range(4):
            octets = reply(250, "x" * shift + "€" * 500, utf8=True)
            lines = octets.decode("utf-8").split("\r\n")[:-1]
            self.assertEqual("".join(line[4:] for line in lines), "x" * shift + "€" * 500)

    @given(st.text(max_size=1200), st.sampled_from([None, "5.7.1"]), st.booleans())
    def test_anything(self, text: str, status: str | None, utf8: bool) -> None:
        """Any text gives one well-formed reply, in UTF-8 too each line is text by itself."""
        octets = reply(550, text, status, utf8)
        self.assertTrue(octets.endswith(b"\r\n"))
        lines = octets[:-2].split(b"\r\n")
        self.assertTrue(all(line.startswith(b"550-") for line in lines[:-1]))
        self.assertTrue(lines[-1].startswith(b"550 "))
        self.assertTrue(all(len(line) + 2 <= 512 for line in lines))
        for line in lines:
            self.assertTrue(line.decode("utf-8" if utf8 else "ascii").isprintable() or utf8)
            self.assertIsNone(re.search(rb"[\x00-\x1f\x7f]", line))
            self.assertTrue(status is None or line[4:].startswith(b"5.7.1 "))
        if not utf8:
            self.assertIsNotNone(WELL_FORMED.fullmatch(octets))


class ErrorReplyTests(SynchronousTestCase):
    """
    L{errorReply}.
    """

    def test_error(self) -> None:
        """An error's code, enhanced status and text."""
        self.assertEqual(errorReply(NoSuchAccount()), b"550 5.1.1 No such user here\r\n")
        self.assertEqual(errorReply(OverQuota()), b"452 4.2.2 The account is over its quota\r\n")

    def test_classesAgree(self) -> None:
        """
        The enhanced status is of the reply code's class (RFC 2034 §4: "must agree"), whatever
        whoever made the error forgot to say.
        """
        self.assertEqual(errorReply(MailError("Later", smtpCode=450)), b"450 4.0.0 Later\r\n")
        self.assertEqual(
            errorReply(MailError("Never", smtpCode=550, enhancedStatus="4.7.1")),
            b"550 5.7.1 Never\r\n",
        )

    def test_notEnhanced(self) -> None:
        """To EHLO and HELO there is no enhanced status (RFC 2034 §3)."""
        self.assertEqual(errorReply(NoSuchAccount(), False), b"550 No such user here\r\n")
