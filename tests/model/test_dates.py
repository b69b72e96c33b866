"""
Tests for L{twisted_mailstack.model.dates}.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.dates import (
    dayOf,
    formatDateTime,
    formatFieldDate,
    parseDate,
    parseDateTime,
    parseFieldDate,
    parseFieldDateZone,
)

#: Instants that every zone has within the years that can be written.
SECONDS = st.integers(-62135510400 + 86400, 253402214400)
ZONES = st.integers(-1439, 1439)


def at(*fields: int, zone: int = 0) -> int:
    """
    @param fields: year, month, day and so on, as a clock in that zone shows them.
    @return: seconds since 1970.
    """
    when = datetime(*fields, tzinfo=timezone(timedelta(minutes=zone)))  # type: ignore[arg-type,misc]
    return int(when.timestamp())


class DateTimeTests(SynchronousTestCase):
    """
    IMAP's date-time (RFC 9051 §9).
    """

    def test_examples(self) -> None:
        """An instant, and the zone in which it was written."""
        for text, expected in (
            (b"17-Jul-1996 02:44:25 -0700", (at(1996, 7, 17, 2, 44, 25, zone=-420), -420)),
            (b" 7-Feb-1994 21:52:25 +0530", (at(1994, 2, 7, 21, 52, 25, zone=330), 330)),
            (b"01-jan-1970 00:00:00 +0000", (0, 0)),
            (b"01-JAN-1970 00:00:00 -0000", (0, 0)),
            (b"29-Feb-2000 23:59:59 +0000", (at(2000, 2, 29, 23, 59, 59), 0)),
            (b"31-Dec-1998 23:59:60 +0000", (at(1999, 1, 1), 0)),
            (b"31-Dec-9999 23:59:59 -2359", (at(9999, 12, 31, 23, 59, 59) + 86340, -1439)),
            (b"01-Jan-0001 00:00:00 +2359", (at(1, 1, 1) - 86340, 1439)),
        ):
            self.assertEqual(parseDateTime(text), expected)

    def test_invalid(self) -> None:
        """What isn't one is a syntax error and nothing else."""
        for text in (
            *(b"", b"garbage", b"17-Jul-1996", b"7-Jul-1996 02:44:25 -0700"),
            *(b"17-Jul-1996 02:44:25", b"17-Jul-1996 02:44:25 GMT", b"17-Jul-1996 02:44:25 0700"),
            *(
                b"17-Jul-96 02:44:25 -0700",
                b"17-Foo-1996 02:44:25 -0700",
                b"17 Jul 1996 02:44:25 +0",
            ),
            *(b"00-Jan-2000 00:00:00 +0000", b" 0-Jan-2000 00:00:00 +0000"),
            *(b"32-Jan-2000 00:00:00 +0000", b"30-Feb-2000 00:00:00 +0000"),
            *(b"29-Feb-1900 00:00:00 +0000", b"31-Apr-2000 00:00:00 +0000"),
            *(b"01-Jan-0000 00:00:00 +0000", b"01-Jan-2000 24:00:00 +0000"),
            *(b"01-Jan-2000 00:60:00 +0000", b"01-Jan-2000 00:00:61 +0000"),
            *(b"01-Jan-2000 00:00:00 +2400", b"01-Jan-2000 00:00:00 +0060"),
            *(b"01-Jan-2000 00:00:00 +0000\n", b"01-Jan-2000 00:00:00 +0000 "),
            *(b"\xb21-Jan-2000 00:00:00 +0000", b"01-Jan-2000 00:00:00\t+0000"),
        ):
            with self.assertRaises(SyntaxProblem, msg=repr(text)):
                parseDateTime(text)

    @given(SECONDS, ZONES)
    def test_roundTrip(self, seconds: int, zone: int) -> None:
        """What is written is read back, and has the fixed width of the grammar."""
        text = formatDateTime(seconds, zone)
        self.assertEqual(parseDateTime(text), (seconds, zone))
        self.assertEqual(len(text), 26)

    def test_paddedDay(self) -> None:
        """date-day-fixed: a day below 10 has a space before it."""
        self.assertEqual(formatDateTime(0, 0), b" 1-Jan-1970 00:00:00 +0000")
        self.assertEqual(formatDateTime(-1, -90), b"31-Dec-1969 22:29:59 -0130")


class DateTests(SynchronousTestCase):
    """
    SEARCH's dates (RFC 9051 §6.4.4, §9).
    """

    def test_examples(self) -> None:
        """Days since 1970; the day has one digit or two."""
        self.assertEqual(parseDate(b"1-Jan-1970"), 0)
        self.assertEqual(parseDate(b"01-jan-1970"), 0)
        self.assertEqual(parseDate(b"31-Dec-1969"), -1)
        self.assertEqual(parseDate(b"1-Feb-1994"), at(1994, 2, 1) // 86400)

    def test_invalid(self) -> None:
        """What isn't one is a syntax error and nothing else."""
        for text in (
            *(
                b"",
                b"1-Feb",
                b"1-Feb-94",
                b"Feb-1-1994",
                b"1-2-1994",
                b"1 Feb 1994",
                b"001-Feb-1994",
            ),
            *(b"0-Feb-1994", b"30-Feb-1994", b"31-Nov-1994", b"1-Feb-0000", b"1-Feb-19940"),
            *(b" 1-Feb-1994", b"1-Feb-1994\n", b'"1-Feb-1994"', b"-1-Feb-1994"),
        ):
            with self.assertRaises(SyntaxProblem, msg=repr(text)):
                parseDate(text)

    def test_dayOf(self) -> None:
        """The calendar day is that of the zone in which the date was written."""
        seconds = at(1994, 2, 1, 23, 30, zone=-120)
        self.assertEqual(dayOf(seconds, -120), parseDate(b"1-Feb-1994"))
        self.assertEqual(dayOf(seconds), parseDate(b"2-Feb-1994"))
        self.assertEqual(dayOf(-1), -1)

    @given(st.binary(max_size=40))
    @example(b"99-Dec-9999 99:99:99 +9999")
    def test_anyOctets(self, text: bytes) -> None:
        """Any octets are a date or a syntax error."""
        for parse in (parseDate, parseDateTime):
            try:
                parse(text)
            except SyntaxProblem:
                pass
        parseFieldDateZone(text)


class FieldDateTests(SynchronousTestCase):
    """
    The Date field (RFC 5322 §3.3, §4.3).
    """

    def test_written(self) -> None:
        """As RFC 5322 §3.3 has it."""
        self.assertEqual(
            formatFieldDate(at(1997, 11, 21, 9, 55, 6, zone=-360), -360),
            b"Fri, 21 Nov 1997 09:55:06 -0600",
        )
        self.assertEqual(formatFieldDate(0), b"Thu, 1 Jan 1970 00:00:00 +0000")

    @given(SECONDS, ZONES)
    def test_roundTrip(self, seconds: int, zone: int) -> None:
        """What is written is read back."""
        self.assertEqual(parseFieldDateZone(formatFieldDate(seconds, zone)), (seconds, zone))

    @given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), ZONES)
    def test_sameAsOthers(self, when: datetime, zone: int) -> None:
        """What another implementation writes is read, and we write it likewise."""
        aware = when.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=zone)))
        text = format_datetime(aware).encode()
        seconds = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
        self.assertEqual(parseFieldDateZone(text), (seconds, zone))
        self.assertEqual(
            formatFieldDate(seconds, zone).replace(b", 0", b", "), text.replace(b", 0", b", ")
        )

    def assertReads(self, text: bytes, *fields: int, zone: int = 0) -> None:
        """
        The text says that time, in that zone.
        """
        self.assertEqual(parseFieldDateZone(text), (at(*fields, zone=zone), zone), text)

    def test_examples(self) -> None:
        """The RFC's examples, with comments and folds (RFC 5322 appendix A.5, A.6.2, A.6.3)."""
        self.assertReads(b"Fri, 21 Nov 1997 09:55:06 -0600", 1997, 11, 21, 9, 55, 6, zone=-360)
        self.assertReads(b"21 Nov 1997 10:01:22 -0600", 1997, 11, 21, 10, 1, 22, zone=-360)
        self.assertReads(
            b"Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n"
            b"               -0330 (Newfoundland Time)",
            *(1969, 2, 13, 23, 32),
            zone=-210,
        )
        self.assertReads(b"21 Nov 97 09:55:06 GMT", 1997, 11, 21, 9, 55, 6)
        self.assertReads(
            b"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", 1997, 11, 21, 9, 55, 6, zone=-360
        )

    def test_comments(self) -> None:
        """Comments may stand everywhere, nested and with quoted parentheses."""
        self.assertReads(
            rb"(a) Fri (b (c)), (\)) 21(d)Nov(e)1997 (f) 09:55:06(g)-0600 (CST (or not))",
            *(1997, 11, 21, 9, 55, 6),
            zone=-360,
        )
        self.assertReads(b"21 Nov 1997 09:55:06 -0600 (CST", 1997, 11, 21, 9, 55, 6, zone=-360)

    def test_years(self) -> None:
        """Years of two and three digits (RFC 5322 §4.3)."""
        for text, year in (
            *((b"00", 2000), (b"49", 2049), (b"50", 1950), (b"99", 1999), (b"100", 2000)),
            *((b"121", 2021), (b"1900", 1900), (b"9999", 9999)),
        ):
            self.assertReads(b"1 Jan " + text + b" 00:00:00 +0000", year, 1, 1)

    def test_zones(self) -> None:
        """Names of zones: the RFC's are known, all others tell nothing (RFC 5322 §4.3)."""
        for text, zone in (
            *((b"UT", 0), (b"GMT", 0), (b"gmt", 0), (b"EST", -300), (b"EDT", -240)),
            *((b"CST", -360), (b"CDT", -300), (b"MST", -420), (b"MDT", -360)),
            *((b"PST", -480), (b"pdt", -420), (b"A", 0), (b"Z", 0), (b"N", 0)),
            *((b"CET", 0), (b"XYZZY", 0), (b"", 0), (b"GMT+0200", 120), (b"+05:30", 330)),
            *((b"-0000", 0), (b"+2400", 0), (b"+0160", 0), (b"+9999", 0)),
        ):
            self.assertReads(b"1 Jan 2000 12:00:00 " + text, 2000, 1, 1, 12, zone=zone)

    def test_lenient(self) -> None:
        """Forms that occur all the same: RFC 850's, asctime's, without seconds, long months."""
        self.assertReads(b"Friday, 21-Nov-97 09:55:06 GMT", 1997, 11, 21, 9, 55, 6)
        self.assertReads(b"Fri Nov 21 09:55:06 1997", 1997, 11, 21, 9, 55, 6)
        self.assertReads(b"Fri, 21 November 1997 9:55", 1997, 11, 21, 9, 55)
        self.assertReads(b"fri,21 nov 1997 09:55:06+0100", 1997, 11, 21, 9, 55, 6, zone=60)
        self.assertReads(b"Fri, 21 Nov 1997 09.55.06 +0100", 1997, 11, 21, 9, 55, 6, zone=60)
        self.assertReads(b"S\xe1b, 21 Nov 1997 09:55:06.25 GMT", 1997, 11, 21, 9, 55, 6)
        self.assertReads(b"21 Nov 1997 09:55:06 GMT and more", 1997, 11, 21, 9, 55, 6)

    def test_noTime(self) -> None:
        """A date whose time can't be read is of 00:00:00, UTC if need be (RFC 5256 §2.2)."""
        self.assertReads(b"Fri, 21 Nov 1997", 1997, 11, 21)
        self.assertReads(b"21 Nov 1997 soon", 1997, 11, 21)
        self.assertReads(b"21 Nov 1997 25:00:00 GMT", 1997, 11, 21)
        self.assertReads(b"21 Nov 1997 00:60:00 +0100", 1997, 11, 21, zone=60)

    def test_noDate(self) -> None:
        """What no date can be read from is none, and nothing is raised."""
        for text in (
            *(b"", b"garbage", b"Fri, ", b"21 Nov", b"Nov 1997", b"0 Nov 1997 00:00:00 GMT"),
            *(b"31 Nov 1997 00:00:00 GMT", b"99 Nov 1997 00:00:00 GMT", b"1 Foo 1997 00:00 GMT"),
            *(b"1 Nov 19970 00:00:00 GMT", b"1 Nov", b"1 Nov 1"),
            *(b"1 Nov 0000 00:00:00 GMT", b"\0", b"\xff" * 100, b"1" * 10_000, b"(" * 10_000),
            *(b" " * 10_000, b"Mon, " * 5000, b"Fri Foo 21 09:55:06 1997"),
        ):
            self.assertIsNone(parseFieldDate(text), text[:40])
