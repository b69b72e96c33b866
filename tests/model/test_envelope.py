"""
Tests for L{twisted_mailstack.model.envelope}.
"""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.model.support import IMAPReader, readEnvelope
from twisted_mailstack.model.envelope import imapString, renderAddresses, renderEnvelope
from twisted_mailstack.model.header import MAX_ADDRESSES, Header

NOBODY: list[Any] = [None] * 10


def envelope(header: bytes) -> list[Any]:
    """
    @return: a header's ENVELOPE as a client reads it.
    """
    return readEnvelope(renderEnvelope(Header(header)))


class IMAPStringTests(SynchronousTestCase):
    """
    C{imapString} (RFC 9051 §4.3).
    """

    def test_forms(self) -> None:
        """Quoted where it can be, a literal where it can't, NIL for nothing at all."""
        for value, text in (
            (None, b"NIL"),
            (b"", b'""'),
            (b"NIL", b'"NIL"'),
            (b"a b", b'"a b"'),
            (rb'a"b\c', rb'"a\"b\\c"'),
            (b"\t\x7f", b'"\t\x7f"'),
            (b"a\xe9", b"{2}\r\na\xe9"),
            (b"a\r\nb", b"{4}\r\na\r\nb"),
            (b"a\rb", b"{3}\r\na\rb"),
            (b"a\nb", b"{3}\r\na\nb"),
            (b'"\xe9', b'{2}\r\n"\xe9'),
        ):
            self.assertEqual(imapString(value), text)

    def test_nul(self) -> None:
        """No string of IMAP can have a NUL (RFC 9051 §9, CHAR8): it is left out."""
        self.assertEqual(imapString(b"a\0b"), b"{2}\r\nab")

    @given(st.binary())
    def test_roundTrip(self, value: bytes) -> None:
        """Any other octets are read back as they were."""
        reader = IMAPReader(imapString(value))
        self.assertEqual(reader.string(), value.replace(b"\0", b""))
        reader.end()


class EnvelopeTests(SynchronousTestCase):
    """
    C{renderEnvelope} (RFC 9051 §7.5.2).
    """

    def test_example(self) -> None:
        """The example of RFC 3501 §8, octet for octet."""
        header = (
            b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n"
            b"From: Terry Gray <gray@cac.washington.edu>\r\n"
            b"Subject: IMAP4rev1 WG mtg summary and minutes\r\n"
            b"To: imap@cac.washington.edu\r\n"
            b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
            b"Message-Id: <B27397-0100000@cac.washington.edu>\r\n"
            b"MIME-Version: 1.0\r\n"
            b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n"
        )
        gray = b'(("Terry Gray" NIL "gray" "cac.washington.edu"))'
        self.assertEqual(
            renderEnvelope(Header(header)),
            b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" '
            b'"IMAP4rev1 WG mtg summary and minutes" ' + b" ".join([gray] * 3) + b" "
            b'((NIL NIL "imap" "cac.washington.edu")) '
            b'((NIL NIL "minutes" "CNRI.Reston.VA.US")'
            b'("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
            b'"<B27397-0100000@cac.washington.edu>")',
        )

    def test_absentAndEmpty(self) -> None:
        """A string is NIL if its field is absent, and empty if that is; a list is NIL for both."""
        self.assertEqual(envelope(b""), NOBODY)
        self.assertEqual(
            envelope(
                b"Date:\r\nSubject: \r\nFrom:\r\nSender: \r\nReply-To: ,\r\nTo:\r\nCc:\r\n"
                b"Bcc: (nobody)\r\nIn-Reply-To:\r\nMessage-ID:\r\n"
            ),
            [b"", b"", None, None, None, None, None, None, b"", b""],
        )

    def test_defaults(self) -> None:
        """Sender and Reply-To default to From, each by itself, if absent or empty."""
        a, b = [(None, None, b"a", b"x")], [(None, None, b"b", b"x")]
        self.assertEqual(envelope(b"From: a@x\r\n")[2:5], [a, a, a])
        self.assertEqual(envelope(b"From: a@x\r\nSender: b@x\r\n")[2:5], [a, b, a])
        self.assertEqual(envelope(b"Reply-To: b@x\r\nFrom: a@x\r\nSender:\r\n")[2:5], [a, a, b])
        self.assertEqual(envelope(b"Sender: b@x\r\n")[2:5], [None, b, None])

    def test_allFields(self) -> None:
        """Each field in its place."""
        fields = [b"Date", b"Subject", b"From", b"Sender", b"Reply-To", b"To", b"Cc", b"Bcc"]
        fields += [b"In-Reply-To", b"Message-ID"]
        header = b"".join(
            b"%b: %b\r\n" % (name, b"%b@x" % name.lower()) for name in reversed(fields)
        )
        found = envelope(header)
        for number, name in enumerate(fields):
            value = name.lower()
            if 2 <= number < 8:
                self.assertEqual(found[number], [(None, None, value, b"x")])
            else:
                self.assertEqual(found[number], value + b"@x")

    def test_groups(self) -> None:
        """Groups have their special form, other addresses never look like it."""
        self.assertEqual(
            envelope(b"To: G: a@x;, Joe, <>\r\n")[5],
            [
                (None, None, b"G", None),
                (None, None, b"a", b"x"),
                (None, None, None, None),
                (None, None, b"Joe", b""),
                (None, None, b"", b""),
            ],
        )

    def test_asWritten(self) -> None:
        """Folds are undone; encoded words and octets outside ASCII stay as they are."""
        found = envelope(
            b"Subject: =?utf-8?q?a?=\r\n =?utf-8?q?b?=\r\nFrom: =?utf-8?q?x?= <a@x>\r\n"
            b"Message-ID: \xe9\r\n"
        )
        self.assertEqual(found[1], b"=?utf-8?q?a?= =?utf-8?q?b?=")
        self.assertEqual(found[2], [(b"=?utf-8?q?x?=", None, b"a", b"x")])
        self.assertEqual(found[9], b"\xe9")

    def test_repeated(self) -> None:
        """
        Repeated fields break the rules: of strings the first counts, of addresses all, and what is
        broken in one spoils no other (RFC 7103 §7.5.1).
        """
        found = envelope(
            b'To: "a <a@x>\r\nTo: b@x\r\nTo: (c\r\nTo: d@x\r\nSubject: one\r\nSubject: two\r\n'
        )
        self.assertEqual([each[2:] for each in found[5]][:2], [(b"a", b"x"), (b"b", b"x")])
        self.assertEqual(found[5][-1][2:], (b"d", b"x"))
        self.assertEqual(found[1], b"one")

    def test_bounded(self) -> None:
        """Of addresses without number a bounded number is shown."""
        header = b"To: a@x\r\n" * 3 * MAX_ADDRESSES + b"Cc: " + b"a@x," * 3 * MAX_ADDRESSES
        found = envelope(header)
        self.assertLessEqual(len(found[5]), 2 * MAX_ADDRESSES)
        self.assertLessEqual(len(found[6]), 2 * MAX_ADDRESSES)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"From", b"To", b"Sender", b"Subject", b"Date", b"message-id"]),
                st.binary(max_size=20)
                | st.sampled_from([b'"', b"<a@b", b"a:b;", b"\r\n x", b"(("]),
            ),
            max_size=8,
        )
    )
    def test_anyOctets(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Whatever the fields have in them, an ENVELOPE is good IMAP."""
        envelope(b"".join(b"%b: %b\r\n" % field for field in fields))

    def test_noAddresses(self) -> None:
        """An empty list is NIL: the grammar has no empty one."""
        self.assertEqual(renderAddresses([]), b"NIL")
        self.assertIsNone(re.search(rb"\(\)", renderEnvelope(Header(b"To: ,\r\n"))))
