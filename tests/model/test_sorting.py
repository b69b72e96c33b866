"""
What messages are sorted and threaded by (RFC 5256, RFC 5957, RFC 5051).
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.model.header import Header
from twisted_mailstack.model.message import summarise
from twisted_mailstack.model.sorting import (
    KEY_CHARACTERS,
    MAX_REFERENCES,
    SortValues,
    collate,
    identityKey,
    sortValues,
    splitSubject,
)


def values(*lines: str) -> SortValues:
    """
    @return: those of a message with these header lines.
    """
    return sortValues(Header("\r\n".join([*lines, "", ""]).encode("utf-8")))


class SubjectTests(SynchronousTestCase):
    """
    The base subject (RFC 5256 §2.1).
    """

    def assertBase(self, subject: str, base: str, isReply: bool) -> None:
        """
        Hold a subject to what is left of it.
        """
        self.assertEqual(splitSubject(subject), (base, isReply), subject)

    def test_leaders(self) -> None:
        """(3) re, fw and fwd go, with blobs before and within them, in any case."""
        for subject in (
            *("Re: x", "RE: x", "re:x", "fw: x", "Fwd: x", "re : x", "Re[2]: x", "re [abc] : x"),
            *("[list] re: x", "[a][b] fwd [c]: x", "re: fw: re: x", "  re:   x", "\tRe:\r\n x"),
        ):
            self.assertBase(subject, "x", True)

    def test_blobs(self) -> None:
        """(4) A blob before the text goes; one that is all there is stays. It is no reply."""
        self.assertBase("[list] x", "x", False)
        self.assertBase("[a] [b]", "[b]", False)
        self.assertBase("[a]", "[a]", False)
        self.assertBase("[a[b] x", "[a[b] x", False)
        self.assertBase("re: [a]", "[a]", True)

    def test_trailers(self) -> None:
        """(2) (fwd) and white space at the end go, however many."""
        self.assertBase("x (fwd)", "x", True)
        self.assertBase("x (FWD) (fwd)  ", "x", True)
        self.assertBase("x  ", "x", False)
        self.assertBase("(fwd)", "", True)

    def test_forwarded(self) -> None:
        """(6) [fwd: ...] goes, and all begins again."""
        self.assertBase("[fwd: x]", "x", True)
        self.assertBase("[Fwd: [fwd: re: [l] x (fwd)]]", "x", True)
        self.assertBase("[fwd: ]", "", True)

    def test_kept(self) -> None:
        """What only looks like it stays: words, other spaces than WSP, translated tokens."""
        for subject in ("regards: x", "x re: y", "aw: x", "sv: x", "\u00a0x", "(fwd) x", "re", ""):
            self.assertBase(subject, subject, False)
        self.assertBase("a \t  b\r\n c", "a b c", False)

    @given(st.text(alphabet="re:fwd[]() \tx", max_size=40))
    def test_fixed(self, subject: str) -> None:
        """What is left of the base subject is the base subject."""
        base, _ = splitSubject(subject)
        self.assertEqual(splitSubject(base)[0], base)


class CollationTests(SynchronousTestCase):
    """
    i;unicode-casemap (RFC 5051).
    """

    def test_example(self) -> None:
        """RFC 5051 §2: U+01C4 is titlecased to U+01C5, and that is decomposed."""
        self.assertEqual(collate("\u01c4"), "\u0044\u007a\u030c")

    def test_case(self) -> None:
        """Case makes no difference, in any script; sharp s has no titlecase of its own."""
        for one, other in (("abc", "ABC"), ("ÄÖ", "äö"), ("Ελλάς", "ΕΛΛΆΣ"), ("Москва", "МОСКВА")):
            self.assertEqual(collate(one), collate(other))
        self.assertNotEqual(collate("ß"), collate("ss"))

    def test_decomposed(self) -> None:
        """What can be written in several ways is the same."""
        self.assertEqual(collate("é"), collate("e\u0301"))
        self.assertEqual(collate("ﬁx"), "fiX")

    def test_order(self) -> None:
        """Letters are compared as capitals: "_" is behind them all."""
        self.assertEqual(
            sorted(["_", "b", "A", "a_", "aB"], key=collate), ["A", "aB", "a_", "b", "_"]
        )


class ValueTests(SynchronousTestCase):
    """
    What is found in a message.
    """

    def test_addresses(self) -> None:
        """addr-mailbox of the first address of each field (RFC 5256 §3)."""
        found = values(
            "From: Fred <fred@a.example>, zoe@b.example",
            "To: Jim@c.example, a@b.example",
            "Cc: =?utf-8?q?=C3=84?= <x@y.example>",
        )
        self.assertEqual((found.sender, found.recipient, found.copy), ("FRED", "JIM", "X"))

    def test_display(self) -> None:
        """The name, decoded; without one mailbox@host; the group's name (RFC 5957 §3)."""
        for field, shown in (
            ("Fred Foobar <fred@a.example>", "FRED FOOBAR"),
            ("=?utf-8?q?caf=C3=A9?= <x@y.example>", collate("CAFÉ")),
            ("fred@a.example", "FRED@A.EXAMPLE"),
            ('"" <fred@a.example>', "FRED@A.EXAMPLE"),
            ("friends: a@b.example;", "FRIENDS"),
            ("", ""),
        ):
            found = values(f"From: {field}", f"To: {field}")
            self.assertEqual((found.displayFrom, found.displayTo), (shown, shown), field)

    def test_nothing(self) -> None:
        """A field that is missing is the empty string (RFC 5256 §3)."""
        self.assertEqual(values(), SortValues(None, "", False, "", "", "", "", "", 0, ()))

    def test_date(self) -> None:
        """The sent date is UTC (RFC 5256 §2.2)."""
        one = values("Date: Sun, 31 Dec 2000 16:01:33 -0800").sentDate
        self.assertEqual(one, values("Date: Mon, 1 Jan 2001 00:01:33 +0000").sentDate)

    def test_identity(self) -> None:
        """However a message id is quoted, it is the same (RFC 5256 §3, REFERENCES); case counts."""
        self.assertEqual(
            identityKey(b'<"01KF8JCEOCBS0045PS"@xxx.yyy.com>'),
            identityKey(b"<01KF8JCEOCBS0045PS@xxx.yyy.com>"),
        )
        self.assertEqual(identityKey(b'<"a\\b"@x>'), identityKey(b"<ab@x>"))
        self.assertNotEqual(identityKey(b"<a@x>"), identityKey(b"<A@x>"))
        self.assertEqual(values("Message-ID: <a@x>").identity, identityKey(b"<a@x>"))

    def test_references(self) -> None:
        """References; without a valid id there, the first of In-Reply-To (RFC 5256 §3)."""
        a, b, c = (identityKey(b"<%b@x>" % each) for each in (b"a", b"b", b"c"))
        reply = "In-Reply-To: <c@x> (of <a@x>) <b@x>"
        self.assertEqual(values("References: <a@x>\r\n <b@x>", reply).references, (a, b))
        self.assertEqual(values("References: nothing", reply).references, (c,))
        self.assertEqual(values(reply).references, (c,))
        many = " ".join(f"<{number}@x>" for number in range(2 * MAX_REFERENCES))
        found = values(f"References: {many}").references
        self.assertEqual(len(found), MAX_REFERENCES)
        self.assertEqual(found[-1], identityKey(b"<%d@x>" % (2 * MAX_REFERENCES - 1)))

    def test_summary(self) -> None:
        """They are found when a message arrives."""
        message = b"Subject: Re: x\r\nDate: 1 Jan 2001 00:00:00 +0000\r\n\r\nbody\r\n"
        self.assertEqual(summarise(message).sorting, values(*message.decode().split("\r\n")[:2]))

    def test_bounded(self) -> None:
        """However long a field is, little of it is kept."""
        found = values(f"From: {'é' * 10000} <{'a' * 10000}@x>", f"Subject: {'ﷺ' * 10000}")
        for each in (found.sender, found.displayFrom, found.subject):
            self.assertTrue(0 < len(each) <= KEY_CHARACTERS)

    @given(st.binary(max_size=300))
    def test_anyOctets(self, data: bytes) -> None:
        """Nothing makes it fail, and all can be stored."""
        found = sortValues(Header(b"From: " + data + b"\r\nSubject:" + data + b"\r\n\r\n"))
        for each in found:
            if isinstance(each, str):
                each.encode("utf-8")
