# -*- test-case-name: tests.model.test_dates -*-
"""
Dates of IMAP (RFC 9051 §9 C{date-time}, C{date}) and of message fields (RFC 5322 §3.3).

An instant is an C{int}, seconds since 1970 in UTC; the zone in which it was written goes beside
it as minutes east of UTC, since SEARCH compares dates as they were written (RFC 9051 §6.4.4).
"""

from __future__ import annotations

import re
from calendar import timegm
from functools import lru_cache
from time import gmtime

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.header import withoutComments

MONTHS = tuple(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
_MONTH = {month.lower(): number for number, month in enumerate(MONTHS, 1)}
_WEEKDAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")

#   date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
_DATE_TIME = re.compile(
    rb"([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\Z"
)
#   date-text = date-day "-" date-month "-" date-year
_DATE = re.compile(rb"(\d{1,2})-([A-Za-z]{3})-(\d{4})\Z")
#   date-time = [day-of-week ","] day month year hour ":" minute [":" second] zone (RFC 5322 §3.3),
#   with the obsolete years, zones and spaces of §4.3, RFC 850's hyphens, without a zone, and
#   without a time that can be read (RFC 5256 §2.2: it is 00:00:00 then)
_FIELD_DATE = re.compile(
    rb"\s*(?:[^\s\d,]+[\s,]*)?(\d{1,2})[\s\-.]+([A-Za-z]{3})[A-Za-z]*[\s\-.,]+(\d{2,4})(?!\d)"
    rb"(?:[\s,]+(\d{1,2})\s*[:.]\s*(\d{1,2})(?:\s*[:.]\s*(\d{1,2})(?:\.\d+)?)?\s*"
    rb"(?:(?:GMT|UTC?)?\s*([+-])(\d{2}):?(\d{2})|([A-Za-z]{1,5}))?)?"
)
#   asctime: Wed Jul 17 02:23:25 1996
_ASCTIME = re.compile(
    rb"\s*[A-Za-z]{3},?\s+([A-Za-z]{3})\s+(\d{1,2})\s+(\d{1,2}):(\d{2}):(\d{2})\s+"
    rb"(?:[A-Z]{3,4}\s+)?(\d{4})"
)
#   RFC 5322 §4.3: the North American zones mean what they say, all other letters -0000.
_ZONES = {b"EST": -300, b"CST": -360, b"MST": -420, b"PST": -480}
_ZONES |= {b"EDT": -240, b"CDT": -300, b"MDT": -360, b"PDT": -420}
#: Octets of a Date field that are looked at.
_MAX_FIELD = 1000


def parseDateTime(text: bytes) -> tuple[int, int]:
    """
    @param text: a date-time without its quotes, like C{17-Jul-1996 02:44:25 -0700}.
    @return: seconds since 1970 and the zone in minutes.
    @raise SyntaxProblem: if it is none.
    """
    match = _DATE_TIME.match(text)
    if match is None:
        raise SyntaxProblem("Invalid date-time")
    day, month, year, hour, minute, second, sign, zoneHours, zoneMinutes = match.groups()
    zone = int(zoneHours) * 60 + int(zoneMinutes)
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        raise SyntaxProblem("Invalid date-time")
    if int(zoneMinutes) > 59 or zone > 1439:
        raise SyntaxProblem("Invalid date-time")
    if sign == b"-":
        zone = -zone
    days = _days(int(year), month, int(day))
    return days * 86400 + int(hour) * 3600 + int(minute) * 60 + int(second) - zone * 60, zone


def formatDateTime(seconds: int, zone: int = 0) -> bytes:
    """
    @return: the date-time without quotes, the day padded with a space to two characters.
    """
    hour, rest = divmod(seconds + zone * 60, 3600)
    return b"%b%b %b" % (_formatHour(hour), _formatRest(rest), _formatZone(zone))


def parseDate(text: bytes) -> int:
    """
    @param text: a SEARCH date without quotes, like C{1-Feb-1994}.
    @return: days since 1970.
    @raise SyntaxProblem: if it is none.
    """
    match = _DATE.match(text)
    if match is None:
        raise SyntaxProblem("Invalid date")
    day, month, year = match.groups()
    return _days(int(year), month, int(day))


def dayOf(seconds: int, zone: int = 0) -> int:
    """
    @return: the calendar day, in days since 1970, of that instant in that zone.
    """
    return (seconds + zone * 60) // 86400


def formatFieldDate(seconds: int, zone: int = 0) -> bytes:
    """
    @return: RFC 5322 §3.3's date-time, like C{Tue, 24 Nov 2026 10:00:00 +0000}.
    """
    at = gmtime(seconds + zone * 60)
    return b"%b, %d %b %04d %02d:%02d:%02d %b" % (
        _WEEKDAYS[at.tm_wday], at.tm_mday, MONTHS[at.tm_mon - 1], at.tm_year,
        at.tm_hour, at.tm_min, at.tm_sec, _formatZone(zone),
    )  # fmt: skip


def parseFieldDate(value: bytes) -> int | None:
    """
    @param value: a Date field.
    @return: seconds since 1970 UTC, C{None} if no date can be read from it.
    """
    parsed = parseFieldDateZone(value)
    return None if parsed is None else parsed[0]


def parseFieldDateZone(value: bytes) -> tuple[int, int] | None:
    """
    @return: seconds since 1970 UTC and the zone, in minutes east of it, in which it was written;
        0 for a zone that isn't known or can't be.
    """
    value = value[:_MAX_FIELD]
    if b"(" in value:
        value = withoutComments(value)
    zone = 0
    match = _FIELD_DATE.match(value)
    if match is not None:
        day, month, year, hour, minute, second, sign, hours, minutes, name = match.groups()
        if name:
            zone = _ZONES.get(name.upper(), 0)
        elif sign and int(hours) < 24 and int(minutes) < 60:
            zone = int(hours) * 60 + int(minutes)
            if sign == b"-":
                zone = -zone
    else:
        match = _ASCTIME.match(value)
        if match is None:
            return None
        month, day, hour, minute, second, year = match.groups()
    number = int(year)
    if len(year) == 2:
        number += 2000 if number < 50 else 1900
    elif len(year) == 3:
        number += 1900
    seconds = int(hour or 0) * 3600 + int(minute or 0) * 60 + min(int(second or 0), 60)
    if int(hour or 0) > 24 or int(minute or 0) > 59:
        seconds = 0
    try:
        days = _days(number, month, int(day))
    except SyntaxProblem:
        return None
    return days * 86400 + seconds - zone * 60, zone


def _days(year: int, month: bytes, day: int) -> int:
    number = _MONTH.get(month.lower())
    if number is None or not 1 <= day <= 31 or not year:
        raise SyntaxProblem("Invalid date")
    seconds = timegm((year, number, day, 0, 0, 0))
    if gmtime(seconds).tm_mday != day:
        raise SyntaxProblem("Invalid date: that month has no such day")
    return seconds // 86400


# A FETCH of a mailbox asks for many dates of the same hours.
@lru_cache(maxsize=4096)
def _formatHour(hour: int) -> bytes:
    at = gmtime(hour * 3600)
    return b"%2d-%b-%04d %02d:" % (at.tm_mday, MONTHS[at.tm_mon - 1], at.tm_year, at.tm_hour)


@lru_cache(maxsize=3600)
def _formatRest(seconds: int) -> bytes:
    return b"%02d:%02d" % divmod(seconds, 60)


@lru_cache(maxsize=64)
def _formatZone(zone: int) -> bytes:
    hours, minutes = divmod(abs(zone), 60)
    return b"%b%02d%02d" % (b"-" if zone < 0 else b"+", hours, minutes)
