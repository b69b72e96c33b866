"""
SEARCH (RFC 3501 §6.4.4, RFC 9051 §6.4.4).
"""

from __future__ import annotations

import base64
import calendar
import quopri
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.header import Header
from unicodedata import normalize
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.imap import search
from twisted_mailstack.model import searchtext
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.records import SMALL_MESSAGE
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage import memory
from twisted_mailstack.testing.conversation import Conversation


def message(*fields: str, body: bytes = b"", mime: bool = True) -> bytes:
    """
    @return: a message with these fields.
    """
    lines = [*fields, *(["MIME-Version: 1.0"] if mime else []), "", ""]
    return "\r\n".join(lines).encode("utf-8") + body


def text(content: str, charset: str, encoding: str) -> bytes:
    """
    @return: a message of one text.
    """
    return message(
        f"Content-Type: text/plain; charset={charset}",
        f"Content-Transfer-Encoding: {encoding}",
        body=encodeBody(content.encode(charset), encoding),
    )


def encodeBody(octets: bytes, encoding: str) -> bytes:
    """
    @return: the octets in a transfer encoding.
    """
    if encoding == "base64":
        return base64.encodebytes(octets).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        return quopri.encodestring(octets).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return octets


class SearchTestCase(SynchronousTestCase):
    """
    A server, and SEARCH as a function.
    """

    def setUp(self) -> None:
        """Start it."""
        self.server = Server()

    def search(
        self,
        session: Conversation,
        query: str | bytes,
        command: str = "SEARCH",
        code: bytes = b"",
    ) -> list[int]:
        """
        @param code: the response code that is expected.
        @return: the numbers found.
        """
        octets = query.encode() if isinstance(query, str) else query
        answer = session.send(b"a %b %b\r\n" % (command.encode(), octets))
        lines = answer.split(b"\r\n")
        self.assertEqual(lines[1:], [b"a OK %b%b completed" % (code, command.encode()), b""], query)
        words = lines[0].split(b" ")
        self.assertEqual(words[:2], [b"*", b"SEARCH"], answer)
        return [int(word) for word in words[2:]]

    def refused(self, session: Conversation, query: str | bytes, start: bytes = b"a BAD ") -> None:
        """
        Hold a query to its refusal; nothing else may be said.
        """
        octets = query.encode() if isinstance(query, str) else query
        answer = session.send(b"a SEARCH %b\r\n" % octets)
        self.assertTrue(answer.startswith(start), (query, answer))
        self.assertEqual(answer.count(b"\r\n"), 1, answer)


class FlagTests(SearchTestCase):
    """
    Keys about flags.
    """

    def test_systemFlags(self) -> None:
        """
        ANSWERED, DELETED, DRAFT, FLAGGED, SEEN and their opposites.
        """
        flags = ["\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen"]
        for flag in flags:
            self.server.deliver(flags=[flag])
        self.server.deliver(flags=flags)
        self.server.deliver()
        session = self.server.select()
        for number, flag in enumerate(flags, 1):
            name = flag[1:].upper()
            others = [each for each in range(1, 8) if each not in (number, 6)]
            self.assertEqual(self.search(session, name), [number, 6], name)
            self.assertEqual(self.search(session, f"UN{name}".lower()), others, name)

    def test_keywords(self) -> None:
        """
        KEYWORD and UNKEYWORD, in any case; one that nobody has is no error.
        """
        self.server.deliver(flags=["$Forwarded"])
        self.server.deliver(flags=["$Forwarded", "Work", "\\Seen"])
        self.server.deliver()
        session = self.server.select()
        for query, found in (
            ("KEYWORD $Forwarded", [1, 2]),
            ("keyword $FORWARDED", [1, 2]),
            ("KEYWORD work", [2]),
            ("UNKEYWORD work", [1, 3]),
            ("KEYWORD nobody", []),
            ("UNKEYWORD nobody", [1, 2, 3]),
            ("KEYWORD Seen", []),
        ):
            self.assertEqual(self.search(session, query), found, query)

    def test_recent(self) -> None:
        """
        RECENT, OLD (not recent) and NEW (recent and unseen) are about this session.
        """
        self.server.deliver()
        self.server.select()
        self.server.deliver(flags=["\\Seen"])
        self.server.deliver()
        session = self.server.select()
        self.assertEqual(self.search(session, "RECENT"), [2, 3])
        self.assertEqual(self.search(session, "OLD"), [1])
        self.assertEqual(self.search(session, "NEW"), [3])
        self.assertEqual(self.search(session, "NOT NEW"), [1, 2])
        later = self.server.select()
        self.assertEqual(self.search(later, "RECENT"), [])
        self.assertEqual(self.search(later, "OLD"), [1, 2, 3])

    def test_examineSeesRecent(self) -> None:
        """
        EXAMINE sees what is recent, and leaves it to the next session (RFC 3501 §6.3.2).
        """
        self.server.deliver()
        for _ in range(2):
            examining = self.server.select(command="EXAMINE")
            self.assertEqual(self.search(examining, "RECENT"), [1])
        self.assertEqual(self.search(self.server.select(), "RECENT"), [1])
        self.assertEqual(self.search(self.server.select(), "RECENT"), [])


class NumberTests(SearchTestCase):
    """
    Keys about numbers, sizes and dates.
    """

    def test_sequenceSets(self) -> None:
        """
        A sequence set is a key; UID takes a set of UIDs, those that nobody has are ignored.
        """
        for _ in range(6):
            self.server.deliver()
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.expunge(NumberSet.parse(b"2"), onlyDeleted=False))
        session = self.server.select()
        for query, found in (
            ("1", [1]),
            ("5,1:2", [1, 2, 5]),
            ("*", [5]),
            ("4:*", [4, 5]),
            ("*:4", [4, 5]),
            ("UID 2", []),
            ("UID 3", [2]),
            ("UID 1:3,6", [1, 2, 5]),
            ("UID *", [5]),
            ("UID 77:*", [5]),
            ("UID 77", []),
            ("2:4 UID 1:4", [2, 3]),
            ("NOT 2:3", [1, 4, 5]),
            ("OR 1 UID 6", [1, 5]),
            ("ALL 1:*", [1, 2, 3, 4, 5]),
        ):
            self.assertEqual(self.search(session, query), found, query)
        # RFC 3501 §6.4.8: numbers are sequence numbers in UID SEARCH too.
        self.assertEqual(self.search(session, "2:3 UID 4:6", "UID SEARCH"), [4])

    def test_sequenceNumbersBeyondTheEnd(self) -> None:
        """
        "It MUST NOT be considered an error if the search terms include a range of message numbers
        that extends (or, in fact, starts) beyond the end of the mailbox" (RFC 7377 §2); a number is
        not taken for the last message.
        """
        self.server.deliver()
        session = self.server.select()
        for query, found in (
            ("2", []),
            ("1:2", [1]),
            ("2:3", []),
            ("2:*", [1]),
            ("SEEN 2", []),
            ("OR 1 2", [1]),
            ("NOT 2", [1]),
            ("(1 (2))", []),
            ("SUBJECT nothing 4294967295", []),
        ):
            self.assertEqual(self.search(session, query), found, query)

    def test_emptyMailbox(self) -> None:
        """
        In an empty mailbox every search is empty, C{*} too.
        """
        session = self.server.select()
        for query in ("ALL", "UID 1:*", "NOT SEEN", "TEXT x", "UID *", "1:*", "*"):
            self.assertEqual(self.search(session, query), [], query)

    def test_sizes(self) -> None:
        """
        LARGER and SMALLER mean what they say, not "or equal"; sizes are RFC822.SIZE.
        """
        for size in (10, 20, 30):
            self.server.deliver(
                b"Subject: x\r\n\r\n" + b"y" * (size - 14) if size > 14 else b"a" * size
            )
        session = self.server.select()
        for query, found in (
            ("LARGER 20", [3]),
            ("LARGER 19", [2, 3]),
            ("SMALLER 20", [1]),
            ("SMALLER 21", [1, 2]),
            ("LARGER 0", [1, 2, 3]),
            ("SMALLER 0", []),
            ("LARGER 4294967295", []),
            ("SMALLER 4294967295", [1, 2, 3]),
            ("LARGER 10 SMALLER 30", [2]),
        ):
            self.assertEqual(self.search(session, query), found, query)

    def test_internalDates(self) -> None:
        """
        BEFORE, ON and SINCE look at the day of the internal date as it was given, "disregarding
        time and timezone".
        """
        noon = calendar.timegm((1994, 2, 7, 12, 0, 0))
        for date, zone in (
            (noon, 0),
            # 7 Feb 23:30 -0800, in UTC the 8th.
            (calendar.timegm((1994, 2, 8, 7, 30, 0)), -480),
            # 8 Feb 00:30 +0900, in UTC the 7th.
            (calendar.timegm((1994, 2, 7, 15, 30, 0)), 540),
            (noon - 86400 * 2, 0),
        ):
            self.server.deliver(date=date, zone=zone)
        session = self.server.select()
        for query, found in (
            ("ON 7-Feb-1994", [1, 2]),
            ("ON 07-feb-1994", [1, 2]),
            ('ON "7-Feb-1994"', [1, 2]),
            ("BEFORE 7-Feb-1994", [4]),
            ("BEFORE 8-Feb-1994", [1, 2, 4]),
            ("SINCE 7-Feb-1994", [1, 2, 3]),
            ("SINCE 8-Feb-1994", [3]),
            ("SINCE 9-Feb-1994", []),
            ("BEFORE 1-Jan-1900", []),
            ("SINCE 6-Feb-1994 BEFORE 8-Feb-1994", [1, 2]),
        ):
            self.assertEqual(self.search(session, query), found, query)

    def test_sentDates(self) -> None:
        """
        SENTBEFORE, SENTON and SENTSINCE look at the day that stands in the Date field, whatever its
        zone; a message without a date that can be read is none of them.
        """
        for field_ in (
            "Date: Mon, 7 Feb 1994 23:59:59 -0800 (PST)",
            "Date: 7 Feb 94 00:00 +1400",
            "Date: Tue, 8 Feb 1994 00:00:01 GMT",
            "Date: Sun, 06 Feb 1994 12:00:00 EST",
            "Date: yesterday",
            "X-Date: Mon, 7 Feb 1994 21:52:25 -0800",
            "date : Mon,\r\n\t7 Feb 1994 10:00:00 +0000",
        ):
            self.server.deliver(message(field_))
        session = self.server.select()
        for query, found in (
            ("SENTON 7-Feb-1994", [1, 2, 7]),
            ("SENTBEFORE 7-Feb-1994", [4]),
            ("SENTBEFORE 8-Feb-1994", [1, 2, 4, 7]),
            ("SENTSINCE 7-Feb-1994", [1, 2, 3, 7]),
            ('SENTSINCE "8-Feb-1994"', [3]),
            ("NOT SENTSINCE 1-Jan-1970", [5, 6]),
        ):
            self.assertEqual(self.search(session, query), found, query)


class FieldTests(SearchTestCase):
    """
    Keys about header fields.
    """

    def test_fields(self) -> None:
        """
        FROM, TO, CC, BCC and SUBJECT look for a substring in their field, whatever the case.
        """
        self.server.deliver(
            message(
                "From: Fred Foobar <foobar@Blurdybloop.example>",
                "To: mooch@owatagu.example",
                "Cc: carbon@copy.example, Another <second@copy.example>",
                "Bcc: blind@copy.example",
                "Subject: afternoon meeting",
            )
        )
        self.server.deliver(message("Subject: from foobar to mooch", "Sender: fred@x.example"))
        session = self.server.select()
        for query, found in (
            ("FROM foobar", [1]),
            ("FROM FRED", [1]),
            ("FROM blurdybloop.EXAMPLE", [1]),
            ('FROM "Fred Foobar <foo"', [1]),
            ("FROM mooch", []),
            ("TO mooch@owatagu", [1]),
            ("CC second", [1]),
            ("CC carbon", [1]),
            ("BCC blind", [1]),
            ("BCC carbon", []),
            ("SUBJECT noon", [1]),
            ("SUBJECT FOOBAR", [2]),
            ('SUBJECT "noon meet"', [1]),
            ('SUBJECT "noon  meet"', []),
            ('FROM ""', [1]),
            ('SUBJECT ""', [1, 2]),
        ):
            self.assertEqual(self.search(session, query), found, query)

    def test_header(self) -> None:
        """
        HEADER looks in all fields of that name, and only there; an empty string finds those that
        have the field at all (RFC 9051 §6.4.4). Folds are undone.
        """
        self.server.deliver(
            message(
                "Received: by first",
                "X-Mailer : odd space",
                "Received: by second",
                "X-Folded: one\r\n\ttwo\r\n three",
                "X-Empty:",
            )
        )
        self.server.deliver(message("X-Other: Received: by first"))
        session = self.server.select()
        for query, found in (
            ("HEADER Received second", [1]),
            ("HEADER received FIRST", [1]),
            ("HEADER x-mailer odd", [1]),
            ('HEADER X-Folded "one\ttwo three"', [1]),
            ('HEADER "X-Other" first', [2]),
            ('HEADER X-Empty ""', [1]),
            ("HEADER X-Empty x", []),
            ('HEADER Received ""', [1]),
            ('HEADER Absent ""', []),
            ('NOT HEADER Received ""', [2]),
            ('HEADER "" x', []),
            ('HEADER "Received:" first', []),
        ):
            self.assertEqual(self.search(session, query), found, query)

    def test_encodedWords(self) -> None:
        """
        Encoded words (RFC 2047) are decoded, in any charset, across the edges of words and folds;
        raw octets outside ASCII are taken for UTF-8 or else Latin-1.
        """
        subjects = (
            "=?iso-8859-1?Q?Gr=FC=DFe_aus_K=F6ln?=",
            "=?UTF-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?=",
            "=?utf-8?q?Gr=C3?=\r\n =?utf-8?q?=BC=C3=9Fe_aus_K=C3=B6ln?=",
            "=?utf-8?q?Gr=C3=BC?= =?iso-8859-1?q?=DFe?="
            " aus =?us-ascii?q?K?=\r\n =?utf-8?b?w7Zsbg==?=",
            "Grüße aus Köln",
        )
        for subject in subjects:
            self.server.deliver(message(f"Subject: {subject}"))
        self.server.deliver("Subject: Gr\xfc\xdfe aus K\xf6ln\r\n\r\n".encode("latin-1"))
        self.server.deliver(message("Subject: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?="))
        self.server.deliver(message("Subject: =?gb18030?B?ury6rA==?= =?koi8-r?B?8NLJ18XU?="))
        session = self.server.select()
        for query, found in (
            ("grüße", [1, 2, 3, 4, 5, 6]),
            ("GRÜSSE", [1, 2, 3, 4, 5, 6]),
            ("köln", [1, 2, 3, 4, 5, 6]),
            ("grüße aus köln", [1, 2, 3, 4, 5, 6]),
            ("KO\u0308LN", [1, 2, 3, 4, 5, 6]),
            ("日本", [7]),
            ("привет", [8]),
            ("汉", []),
            ("utf-8", []),
        ):
            octets = query.encode()
            literal = b"SUBJECT {%d+}\r\n%b" % (len(octets), octets)
            self.assertEqual(self.search(session, literal), found, query)

    def test_largeHeader(self) -> None:
        """
        A header of many kilobytes is searched to its end.
        """
        filler = "\r\n".join(f"X-Filler-{number}: {'y' * 60}" for number in range(5000))
        self.server.deliver(message(filler, "Subject: at the end", "Date: 7 Feb 1994 00:00 +0000"))
        self.assertGreater(len(filler), SMALL_MESSAGE)
        session = self.server.select()
        self.assertEqual(self.search(session, "SUBJECT end SENTON 7-Feb-1994"), [1])
        self.assertEqual(self.search(session, "TEXT end"), [1])
        self.assertEqual(self.search(session, "SUBJECT begin"), [])


class TextTests(SearchTestCase):
    """
    BODY and TEXT, over messages in memory and over those that are read in pieces.
    """

    def both(self, check: Callable[[], None]) -> None:
        """
        Run it over small messages and as if all were large.
        """
        check()
        self.server = Server()
        self.patch(memory, "SMALL_MESSAGE", -1)
        self.patch(searchtext, "PIECE", 7)
        check()

    def test_encodings(self) -> None:
        """
        Text is compared decoded, from any charset and transfer encoding, without regard to case.
        """

        def check() -> None:
            bodies = (
                ("Schöne Grüße, straße", "iso-8859-1", "8bit"),
                ("Schöne Grüße, straße", "iso-8859-15", "quoted-printable"),
                ("Schöne Grüße, straße", "utf-8", "base64"),
                ("Schöne Grüße, straße", "utf-8", "quoted-printable"),
                ("Schöne Grüße, straße", "windows-1252", "base64"),
                ("Schöne Grüße, straße", "utf-16", "base64"),
                ("日本語の本文", "iso-2022-jp", "7bit"),
                ("日本語の本文", "shift_jis", "base64"),
                ("日本語の本文", "euc-jp", "quoted-printable"),
                ("汉字和𠀀字", "gb18030", "8bit"),
                ("Привет, мир", "koi8-r", "base64"),
                ("Ελληνικά", "iso-8859-7", "quoted-printable"),
            )
            for content, charset, encoding in bodies:
                self.server.deliver(text(content, charset, encoding))
            session = self.server.select()
            for query, found in (
                ("GRÜßE", [1, 2, 3, 4, 5, 6]),
                ("SCHO\u0308NE GRU\u0308SSE", [1, 2, 3, 4, 5, 6]),
                ("STRASSE", [1, 2, 3, 4, 5, 6]),
                ("本語の", [7, 8, 9]),
                ("𠀀", [10]),
                ("МИР", [11]),
                ("ελληνικα", [12]),
                ("nowhere", []),
            ):
                for key in (b"BODY", b"TEXT"):
                    literal = b"%b {%d+}\r\n%b" % (key, len(query.encode()), query.encode())
                    self.assertEqual(self.search(session, literal), found, (key, query))

        self.both(check)

    def test_softLineBreaks(self) -> None:
        """
        A word that a transfer encoding cuts is found.
        """

        def check() -> None:
            quoted = b"a remark=\r\nable sentence, =\r\nwrapped"
            self.server.deliver(message("Content-Transfer-Encoding: quoted-printable", body=quoted))
            session = self.server.select()
            self.assertEqual(self.search(session, 'BODY "remarkable sentence, wrapped"'), [1])
            self.assertEqual(self.search(session, 'BODY "="'), [])

        self.both(check)

    def test_textIsHeaderAndBody(self) -> None:
        """
        TEXT looks at the header, names of fields included, and the body; BODY at the body alone.
        """

        def check() -> None:
            self.server.deliver(
                message("Subject: in the header", "X-Some-Field: =?utf-8?q?=E2=82=AC?=")
            )
            self.server.deliver(message("Subject: x", body=b"in the body"))
            session = self.server.select()
            for query, found in (
                ("TEXT in", [1, 2]),
                ("BODY in", [2]),
                ("TEXT header", [1]),
                ("BODY header", []),
                ("TEXT body", [2]),
                ("TEXT x-some-field", [1]),
                ('TEXT "Field: €"', [1]),
                ("BODY mime-version", []),
                ("TEXT mime-version", [1, 2]),
                ('TEXT ""', [1, 2]),
                ('BODY ""', [1, 2]),
            ):
                self.assertEqual(self.search(session, query), found, query)

        self.both(check)

    MULTIPART = (
        b"Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"this is the preamble\r\n"
        b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.b64encode("der erste Teil: größer".encode())
        + b"\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>zweiter <b>Teil</b></p>\r\n"
        b'--b\r\nContent-Type: application/pdf; name="plain name.pdf"\r\n'
        b"Content-Disposition: attachment; filename*=utf-8''%e2%82%ac%20rechnung.pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.b64encode(b"inside the binary")
        + b"\r\n--b\r\nContent-Type: image/png;"
        b' name="=?iso-8859-1?Q?Bl=FCte=2Epng?="\r\n\r\npixels\r\n'
        b"--b\r\nContent-Disposition: attachment;\r\n filename*0*=koi8-r''%F0%D2%C9;\r\n"
        b' filename*1*=%D7%C5%D4;\r\n filename*2=".txt"\r\nContent-Type: application/x\r\n\r\n\r\n'
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n"
        b"Subject: =?utf-8?q?eingeschlossene?= Nachricht\r\nContent-Type: text/plain\r\n\r\n"
        b"ihr Inhalt\r\n"
        b"--b--\r\nthis is the epilogue\r\n"
    )

    def test_parts(self) -> None:
        """
        Each text part is searched, those of enclosed messages with their headers, and the fields of
        all parts, so that an attachment is found by its name in any encoding; what isn't text isn't
        searched.
        """

        def check() -> None:
            self.server.deliver(self.MULTIPART)
            session = self.server.select()
            for query, finds in (
                ("ERSTE teil", True),
                ("GRÖSSER", True),
                ("zweiter <b>teil", True),
                ("plain name.pdf", True),
                ("€ Rechnung.PDF", True),
                ("blüte.png", True),
                ("привет.txt", True),
                ("eingeschlossene nachricht", True),
                ("ihr Inhalt", True),
                ("application/pdf", True),
                ("inside the binary", False),
                ("pixels", False),
                ("aW5zaWRl", False),
            ):
                octets = query.encode()
                for key in (b"BODY", b"TEXT"):
                    literal = b"%b {%d+}\r\n%b" % (key, len(octets), octets)
                    self.assertEqual(self.search(session, literal), [1] * finds, (key, query))
            self.assertEqual(self.search(session, "BODY parts"), [])
            self.assertEqual(self.search(session, "TEXT parts"), [1])

        self.both(check)

    def test_attachmentAlone(self) -> None:
        """
        Of a message that is an attachment as a whole the name is in the header: TEXT finds it.
        """

        def check() -> None:
            self.server.deliver(
                message("Content-Type: application/pdf; name*=utf-8''%e2%82%ac.pdf", body=b"x")
            )
            session = self.server.select()
            self.assertEqual(self.search(session, 'TEXT "€.pdf"'), [1])
            self.assertEqual(self.search(session, 'BODY "€.pdf"'), [])

        self.both(check)

    def test_damaged(self) -> None:
        """
        Texts in encodings that don't hold, or in charsets that nobody knows, are searched as far as
        they can be read.
        """

        def check() -> None:
            for fields, body in (
                ("Content-Type: text/plain; charset=x-nobody-knows", b"readable \xe4\xf6"),
                ("Content-Type: text/plain; charset=utf-8", b"broken \xe4\xf6 readable"),
                ("Content-Type: text/plain; charset=", b"readable"),
                ("Content-Transfer-Encoding: base64", b"cmVhZGFibGU=!!!===cmVhZGFibGU"),
                ("Content-Transfer-Encoding: x-nobody-knows", b"readable"),
                ("Content-Transfer-Encoding: quoted-printable", b"=ZZ=readable="),
                ("Content-Type: text/plain; charset=zlib_codec", b"readable"),
                ("Content-Type: multipart/mixed", b"readable without a boundary"),
                ("Content-Type: nonsense", b"readable"),
            ):
                self.server.deliver(message(fields, body=body))
            session = self.server.select()
            self.assertEqual(self.search(session, "BODY readable"), list(range(1, 10)))

        self.both(check)

    def test_longText(self) -> None:
        """
        In a text of megabytes a word is found wherever it stands, in any case and form.
        """
        self.patch(searchtext, "PIECE", 1000)
        word = "Größenwahn"
        for at in (0, 990, 999, 1000, 123_457, 599_000):
            octets = bytearray(b"lorem ipsum " * 50_000)
            self.server = Server()
            self.server.deliver(
                message(
                    "Content-Type: text/plain; charset=utf-8",
                    body=bytes(octets[:at]) + word.encode() + bytes(octets[at:]),
                )
            )
            session = self.server.select()
            self.assertEqual(self.search(session, 'BODY "GRO\u0308SSENWAHN"'), [1], at)
            self.assertEqual(self.search(session, 'BODY "größenwahnsinn"'), [], at)


class QueryTests(SearchTestCase):
    """
    Combining keys, and what is no query.
    """

    def test_combinations(self) -> None:
        """
        Keys side by side must all match; NOT, OR and parentheses nest.
        """
        for flags in (["\\Seen"], ["\\Flagged"], ["\\Seen", "\\Flagged"], []):
            self.server.deliver(flags=flags)
        session = self.server.select()
        for query, found in (
            ("SEEN FLAGGED", [3]),
            ("OR SEEN FLAGGED", [1, 2, 3]),
            ("NOT OR SEEN FLAGGED", [4]),
            ("NOT (SEEN FLAGGED)", [1, 2, 4]),
            ("NOT SEEN FLAGGED", [2]),
            ("OR (SEEN UNFLAGGED) (FLAGGED UNSEEN)", [1, 2]),
            ("OR OR 1 2 NOT OR 3 4", [1, 2]),
            ("(((1)))", [1]),
            ("NOT NOT NOT 1", [2, 3, 4]),
            ("(1:2) (2:3)", [2]),
            ("ALL", [1, 2, 3, 4]),
            ("NOT ALL", []),
            ("OR SUBJECT meeting SEEN", [1, 2, 3, 4]),
            ("OR SEEN TEXT nothing", [1, 3]),
            ("NOT TEXT nothing", [1, 2, 3, 4]),
            ("TEXT joe NOT SUBJECT nothing SMALLER 1000 UID 2:3 UNSEEN", [2]),
        ):
            self.assertEqual(self.search(session, query), found, query)

    def test_emptyResult(self) -> None:
        """
        A search that finds nothing still says so: a SEARCH response without numbers (RFC 3501
        §7.2.5).
        """
        self.server.deliver()
        session = self.server.select()
        session.check("""
            C: a SEARCH SEEN
            S: * SEARCH
            S: a OK SEARCH completed
            C: b UID SEARCH UID 5:6
            S: * SEARCH
            S: b OK UID SEARCH completed
        """)

    def test_uidSearch(self) -> None:
        """
        UID SEARCH gives UIDs.
        """
        for _ in range(3):
            self.server.deliver()
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.expunge(NumberSet.parse(b"1"), onlyDeleted=False))
        session = self.server.select()
        self.assertEqual(self.search(session, "ALL", "UID SEARCH"), [2, 3])

    def test_strings(self) -> None:
        """
        A string may be an atom, quoted with escapes, or a literal with any octets of the charset,
        line ends included.
        """
        self.server.deliver(message('Subject: say "hi" \\ (here) {3}', body=b"first\r\nsecond NIL"))
        session = self.server.select()
        for query in (
            b"SUBJECT hi",
            b'SUBJECT "hi"',
            b'SUBJECT "say \\"hi\\" \\\\ ("',
            b'SUBJECT "{3}"',
            b"SUBJECT {4+}\r\n(her",
            b"BODY {13+}\r\nfirst\r\nsecond",
            b"BODY NIL",
            b"BODY {2+}\r\nst {3+}\r\nALL".replace(b" {3+}\r\n", b" "),
            b"SUBJECT {0+}\r\n",
            b"HEADER {7+}\r\nSubject {2+}\r\nhi",
        ):
            self.assertEqual(self.search(session, query), [1], query)
        session.send(b"a SEARCH SUBJECT {2}\r\n")
        self.assertEqual(
            session.send(b"hi BODY first\r\n"), b"* SEARCH 1\r\na OK SEARCH completed\r\n"
        )

    def test_charset(self) -> None:
        """
        Strings are in the charset that the command names; without one they are UTF-8 (RFC 9051
        §6.4.4), of which US-ASCII is a part.
        """
        self.server.deliver(message("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?="))
        session = self.server.select()
        for charset, octets in (
            (None, "Grüße".encode()),
            ("UTF-8", "Grüße".encode()),
            ("utf-8", "GRÜSSE".encode()),
            ('"UTF-8"', "grüße".encode()),
            ("ISO-8859-1", b"Gr\xfc\xdfe"),
            ("windows-1252", b"Gr\xfc\xdfe"),
            ("iso-8859-15", b"Gr\xfc\xdfe"),
            ("cp850", "Grüße".encode("cp850")),
            ("UTF-7", "Grüße".encode("utf-7")),
            ("US-ASCII", b"Gr"),
        ):
            prefix = b"" if charset is None else b"CHARSET " + charset.encode() + b" "
            query = prefix + b"SUBJECT {%d+}\r\n%b" % (len(octets), octets)
            self.assertEqual(self.search(session, query), [1], charset)
        self.assertEqual(self.search(session, 'SUBJECT "Grüße"'), [1])

    def test_charsetUnknown(self) -> None:
        """
        A charset that isn't known is NO with BADCHARSET, and which are (RFC 3501 §7.1); so are
        codecs that are no charsets.
        """
        self.server.deliver()
        session = self.server.select()
        for name in ("X-NOBODY", "base64", "zlib_codec", "rot13", "idna", "unicode_escape", '""'):
            self.refused(session, f"CHARSET {name} ALL", b"a NO [BADCHARSET (US-ASCII UTF-8)] ")

    def test_textNotInCharset(self) -> None:
        """
        Octets that aren't text of the charset are a syntax error.
        """
        self.server.deliver()
        session = self.server.select()
        for query in (
            b"SUBJECT {1+}\r\n\xff",
            b'SUBJECT "\xff"',
            b"CHARSET UTF-8 SUBJECT {2+}\r\n\xc3(",
            b"CHARSET US-ASCII TEXT {1+}\r\n\xfc",
            b"SUBJECT {1+}\r\n\x00",
        ):
            self.refused(session, query)

    def test_malformed(self) -> None:
        """
        What isn't in the grammar is BAD.
        """
        self.server.deliver()
        session = self.server.select()
        for query in (
            *("", " ALL", "ALL ", "ALL  SEEN", "()", "(ALL", "ALL)", "(ALL)(SEEN)", "( ALL)"),
            *("NOSUCHKEY", "SEENX", "NOT", "NOT ", "OR", "OR SEEN", "OR SEEN ", "(NOT)", "OR (1) "),
            *("SUBJECT", "SUBJECT ", "SUBJECT (a)", 'SUBJECT "a', "SUBJECT a%b", "HEADER Subject"),
            *("KEYWORD", "KEYWORD \\Seen", 'KEYWORD "a"', "LARGER", "LARGER x", "LARGER -1"),
            *("ON", "ON x", "ON 7-Feb-94", "ON 30-Feb-1994", "ON 0-Jan-1994", "ON 1994-02-07"),
            *('ON "7-Feb-1994', 'ON 7-Feb-1994"', "SENTON 7-Fev-1994", "ON {10+}\r\n7-Feb-1994"),
            *("UID", "UID ", "UID x", "UID 0", "0", "1:", "1,,2", ":2", "1 2 x", "4294967296"),
            *("CHARSET", "CHARSET UTF-8", "CHARSET UTF-8 ", "ALL CHARSET UTF-8", "CHARSET"),
            *("SEEN SEARCH ALL", "\\Seen", "*:", "*,"),
        ):
            self.refused(session, query)
        self.assertTrue(session.send(b"a SEARCH\r\n").startswith(b"a BAD "))

    def test_tooComplicated(self) -> None:
        """
        Depth and number of keys are bounded: NO with LIMIT (RFC 5530), and the session goes on.
        What clients really send isn't near the bounds.
        """
        self.server.deliver()
        session = self.server.select()
        self.assertEqual(self.search(session, "NOT " * 80 + "ALL"), [1])
        self.assertEqual(self.search(session, "OR SEEN " * 80 + "ALL"), [1])
        self.assertEqual(self.search(session, "(" * 80 + "ALL" + ")" * 80), [1])
        self.assertEqual(self.search(session, " ".join(["ALL"] * 900)), [1])
        for query in (
            "NOT " * 5000 + "ALL",
            "(" * 5000 + "ALL" + ")" * 5000,
            "OR ALL " * 5000 + "ALL",
            " ".join(["ALL"] * 2000),
        ):
            self.refused(session, query, b"a NO [LIMIT] ")
        self.assertEqual(self.search(session, "ALL"), [1])


class SessionTests(SearchTestCase):
    """
    Searching while others change the mailbox.
    """

    def test_expunged(self) -> None:
        """
        Messages that another session expunged aren't found (RFC 2180 §4.3), NOT doesn't find them
        either; EXPUNGE isn't told during SEARCH (RFC 3501 §7.4.1), but that there is something to
        tell (RFC 5530 §3, EXPUNGEISSUED).
        """
        for _ in range(3):
            self.server.deliver()
        session = self.server.select()
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.expunge(NumberSet.parse(b"2"), onlyDeleted=False))
        for query in (
            "SUBJECT meeting",
            "NOT SUBJECT nothing",
            "OR SEEN NOT TEXT nothing",
            "NOT LARGER 5000",
            "ALL",
            "NOT SEEN",
        ):
            found = self.search(session, query, code=b"[EXPUNGEISSUED] ")
            self.assertEqual(found, [1, 3], query)

    def test_expungedMeanwhile(self) -> None:
        """
        A large message that goes while the search looks at others isn't found, and the search goes
        on.
        """
        self.patch(memory, "SMALL_MESSAGE", -1)
        for _ in range(3):
            self.server.deliver()
        session = self.server.select()
        inbox = now(self.server.account.openMailbox("INBOX"))
        opened = type(inbox).openMessage

        async def openMessage(mailbox: memory.MemoryMailbox, uid: int) -> memory.MemoryContent:
            await inbox.expunge(NumberSet.parse(b"2"), onlyDeleted=False)
            return await opened(mailbox, uid)

        self.patch(type(inbox), "openMessage", openMessage)
        for query in ("NOT SUBJECT nothing", "NOT TEXT nothing"):
            found = self.search(session, query, code=b"[EXPUNGEISSUED] ")
            self.assertEqual(found, [1, 3], query)

    def test_newFlags(self) -> None:
        """
        What the session has been told of is what is searched; news comes with the answer.
        """
        self.server.deliver()
        session = self.server.select()
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.storeFlags(NumberSet.parse(b"1"), FlagOperation.ADD, frozenset(["\\Seen"])))
        session.check(r"""
            C: a SEARCH UNSEEN
            S: * SEARCH 1
            S: * 1 FETCH (FLAGS (\Recent \Seen))
            S: a OK SEARCH completed
            C: b SEARCH UNSEEN
            S: * SEARCH
            S: b OK SEARCH completed
        """)

    def test_slices(self) -> None:
        """
        A search over more messages than one slice finds all of them, and lets others have a turn.
        """
        for name in ("ROWS", "HEADERS", "TEXTS"):
            self.patch(search, name, 4)
        for number in range(30):
            self.server.deliver(MESSAGE if number % 3 else message("Subject: other", body=b"no"))
        session = self.server.select()
        found = [number + 1 for number in range(30) if number % 3]
        for query in ("SUBJECT meeting", "BODY joe", "LARGER 100"):
            self.assertEqual(self.search(session, query), found, query)
            session.stream.received(b"a SEARCH " + query.encode() + b"\r\n")
            self.assertEqual(session.wire.take(), b"", "it let nobody have a turn")
            session.settle()
            self.assertIn(b"a OK", session.wire.take())

    def test_manyKeys(self) -> None:
        """
        So does one of many keys over few messages.
        """
        self.server.deliver(MESSAGE + b"x" * 40_000)
        session = self.server.select()
        for query in (
            b"TEXT joe TEXT meet",
            b"NOT SUBJECT x NOT SUBJECT y",
            b"LARGER 1 SMALLER 99999",
        ):
            session.stream.received(b"a SEARCH " + query + b"\r\n")
            self.assertEqual(session.wire.take(), b"", query)
            session.settle()
            self.assertEqual(session.wire.take(), b"* SEARCH 1\r\na OK SEARCH completed\r\n")

    def test_gone(self) -> None:
        """
        If the client goes away, a long search ends.
        """
        self.patch(search, "HEADERS", 1)
        for _ in range(3):
            self.server.deliver()
        session = self.server.select()
        session.stream.received(b"a SEARCH SUBJECT meeting\r\n")
        self.assertFalse(session.finished)
        session.disconnect()
        self.assertTrue(session.finished)
        self.assertIsNone(session.failure)


# --- against an oracle -------------------------------------------------------------------------

CHARSETS = {
    "us-ascii": ["alpha", "Beta", "GAMMA delta", 'quo"te', "back\\slash", "a(b)c"],
    "iso-8859-1": ["Grüße", "ÉCOLE", "straße"],
    "utf-8": ["Grüße", "Ελληνικά", "日本語", "ﬁne", "e\u0301cole"],
    "koi8-r": ["Привет", "МИР"],
    "iso-2022-jp": ["日本語", "本文"],
    "gb18030": ["汉字", "𠀀"],
}
NEEDLES = [
    *("alpha", "BETA", "gamma D", 'O"T', "K\\s", "(b)", "grüsse", "GRÜ", "école", "STRASSE"),
    *("ελλ", "本", "日本語", "FINE", "привет", "мир", "汉", "𠀀", "x-thing", "text/plain"),
    *("invoice", "цена", "utf-8", "a", "zzz", "subject: ", "example"),
]
FLAGS = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "work", "Play"]
DAY = calendar.timegm((1994, 2, 7, 0, 0, 0))


def folded(value: str) -> str:
    """
    @return: as texts are compared.
    """
    return normalize("NFKD", normalize("NFKD", value).casefold())


@dataclass
class Spec:
    """
    A message as its author meant it.
    """

    fields: list[tuple[str, str, str]]
    parts: list[tuple[str, str, str]]
    attachment: str
    sent: tuple[int, int] | None
    flags: list[str]
    internal: tuple[int, int]
    seconds: int
    recent: bool
    octets: int = 0
    uid: int = 0
    header: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)

    def render(self) -> bytes:
        """
        @return: the message, encoded; C{header} and C{body} are what is in it decoded.
        """
        lines = []
        for name, content, charset in self.fields:
            if charset == "us-ascii":
                lines.append(f"{name}: {content}".encode())
            else:
                encoded = Header(content, charset, header_name=name).encode(linesep="\r\n")
                lines.append(f"{name}: {encoded}".encode())
            self.header.append(f"{name}: {content}")
        if self.sent is not None:
            day, zone = self.sent
            written = f"Date: {day} Feb 1994 {zone % 24:02d}:30:00 {zone:+03d}00"
            lines.append(written.encode())
            self.header.append(written)
        mime = ["Content-Type: multipart/mixed; boundary=BOUND", "MIME-Version: 1.0"]
        lines += [line.encode() for line in mime]
        self.header += mime
        body = b""
        for content, charset, encoding in self.parts:
            fields = [
                f"Content-Type: text/plain; charset={charset}",
                f"Content-Transfer-Encoding: {encoding}",
            ]
            self.body += [*fields, content]
            part = "\r\n".join(fields).encode() + b"\r\n\r\n"
            part += encodeBody(content.encode(charset), encoding)
            body += b"--BOUND\r\n" + part + b"\r\n"
        if self.attachment:
            disposition = f"filename*=utf-8''{quote(self.attachment)}"
            fields = [
                "Content-Type: application/x",
                f"Content-Disposition: attachment; {disposition}",
            ]
            self.body += [*fields, self.attachment]
            body += b"--BOUND\r\n" + "\r\n".join(fields).encode() + b"\r\n\r\nalpha\r\n"
        data = b"\r\n".join(lines) + b"\r\n\r\n" + body + b"--BOUND--\r\n"
        self.octets = len(data)
        return data


def words(charsets: Sequence[str]) -> st.SearchStrategy[tuple[str, str]]:
    """
    @return: some text and the charset it is to be written in.
    """
    return st.sampled_from(charsets).flatmap(
        lambda charset: st.tuples(
            st.lists(st.sampled_from(CHARSETS[charset]), min_size=1, max_size=3).map(" ".join),
            st.just(charset),
        )
    )


SPECS = st.builds(
    lambda fields, parts, attachment, sent, flags, internal, seconds: Spec(
        [(name, *content) for name, content in fields],
        [(*content, encoding) for content, encoding in parts],
        attachment,
        sent,
        flags,
        internal,
        seconds,
        False,
    ),
    st.lists(
        st.tuples(
            st.sampled_from(["Subject", "From", "To", "Cc", "Bcc", "X-Thing"]),
            words(list(CHARSETS)),
        ),
        max_size=4,
    ),
    st.lists(
        st.tuples(words(list(CHARSETS)), st.sampled_from(["8bit", "base64", "quoted-printable"])),
        min_size=1,
        max_size=2,
    ),
    st.sampled_from(["", "", "invoice.pdf", "цена €.xls"]),
    st.none() | st.tuples(st.integers(5, 9), st.sampled_from([-11, -5, 0, 9, 13])),
    st.lists(st.sampled_from(FLAGS), unique=True),
    st.tuples(st.integers(-2, 2), st.sampled_from([-660, -300, 0, 540, 780])),
    st.integers(0, 86399),
)

Test = Callable[[list[Spec], int], bool]
Query = tuple[bytes, Test]


def string(value: str, how: int) -> bytes:
    """
    @return: a string as a client may write it.
    """
    octets = value.encode()
    if how == 0 and value.isalnum() and value.isascii():
        return octets
    if how == 1:
        return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d+}\r\n%b" % (len(octets), octets)


def has(flag: str, wanted: bool = True) -> Test:
    """
    @return: whether a message has the flag.
    """
    return lambda specs, at: (flag.lower() in [f.lower() for f in specs[at].flags]) is wanted


def inField(name: str, needle: str) -> Test:
    """
    @return: whether the needle is in a field of that name.
    """

    def test(specs: list[Spec], at: int) -> bool:
        found = [line.partition(": ") for line in specs[at].header]
        return any(
            folded(needle) in folded(value)
            for key, _, value in found
            if key.lower() == name.lower()
        )

    return test


def inText(needle: str, withHeader: bool) -> Test:
    """
    @return: whether the needle is in a text.
    """

    def test(specs: list[Spec], at: int) -> bool:
        texts = specs[at].body + (specs[at].header if withHeader else [])
        return any(folded(needle) in folded(each) for each in texts)

    return test


def simple() -> st.SearchStrategy[Query]:
    """
    @return: queries of one key.
    """
    needle = st.tuples(st.sampled_from(NEEDLES), st.integers(0, 2))
    day = st.integers(-3, 3)
    recent: Test = lambda specs, at: specs[at].recent  # noqa: E731
    fixed: list[Query] = [
        (b"ALL", lambda specs, at: True),
        (b"RECENT", recent),
        (b"OLD", lambda specs, at: not recent(specs, at)),
        (b"NEW", lambda specs, at: recent(specs, at) and has("\\Seen", False)(specs, at)),
        *((flag[1:].upper().encode(), has(flag)) for flag in FLAGS[:5]),
        *((b"UN" + flag[1:].upper().encode(), has(flag, False)) for flag in FLAGS[:5]),
        (b"KEYWORD WORK", has("work")),
        (b"UNKEYWORD play", has("Play", False)),
        (b"KEYWORD nobody", lambda specs, at: False),
    ]

    def date(name: bytes, offset: int) -> Query:
        wanted = 7 + offset
        compare: dict[bytes, Callable[[int], bool]] = {
            b"ON": lambda day: day == wanted,
            b"BEFORE": lambda day: day < wanted,
            b"SINCE": lambda day: day >= wanted,
        }
        text = b"%b %d-Feb-1994" % (name, wanted)
        if name.startswith(b"SENT"):
            return (
                text,
                lambda specs, at: (
                    specs[at].sent is not None and compare[name[4:]]((specs[at].sent or (0, 0))[0])
                ),
            )
        return text, lambda specs, at: compare[name](7 + specs[at].internal[0])

    def numbers(name: bytes, first: int, last: int) -> Query:
        low, high = min(first, last), max(first, last)
        if name == b"UID":
            return b"UID %d:%d" % (first, last), lambda specs, at: low <= specs[at].uid <= high
        return b"%d:*" % first, lambda specs, at: at + 1 >= first

    return st.one_of(
        st.sampled_from(fixed),
        st.tuples(st.sampled_from(["SUBJECT", "FROM", "TO", "CC", "BCC"]), needle).map(
            lambda args: (
                args[0].encode() + b" " + string(*args[1]),
                inField(args[0], args[1][0]),
            )
        ),
        st.tuples(st.sampled_from(["X-Thing", "subject", "X-None", "mime-version"]), needle).map(
            lambda args: (
                b"HEADER %b %b" % (args[0].encode(), string(*args[1])),
                inField(args[0], args[1][0]),
            )
        ),
        st.sampled_from(["X-Thing", "Subject", "X-None"]).map(
            lambda name: (b'HEADER %b ""' % name.encode(), inField(name, ""))
        ),
        needle.map(lambda args: (b"BODY " + string(*args), inText(args[0], False))),
        needle.map(lambda args: (b"TEXT " + string(*args), inText(args[0], True))),
        st.tuples(
            st.sampled_from([b"ON", b"BEFORE", b"SINCE", b"SENTON", b"SENTBEFORE", b"SENTSINCE"]),
            day,
        ).map(lambda args: date(*args)),
        st.integers(200, 900).map(
            lambda size: (b"LARGER %d" % size, lambda specs, at: specs[at].octets > size)
        ),
        st.integers(200, 900).map(
            lambda size: (b"SMALLER %d" % size, lambda specs, at: specs[at].octets < size)
        ),
        st.tuples(st.just(b"UID"), st.integers(1, 9), st.integers(1, 9)).map(
            lambda args: numbers(*args)
        ),
        st.tuples(st.just(b""), st.just(1), st.just(1)).map(lambda args: numbers(*args)),
    )


def negated(query: Query) -> Query:
    """NOT"""
    return b"NOT " + query[0], lambda specs, at: not query[1](specs, at)


def either(pair: tuple[Query, Query]) -> Query:
    """OR"""
    one, other = pair
    return b"OR %b %b" % (
        one[0],
        other[0],
    ), lambda specs, at: one[1](specs, at) or other[1](specs, at)


def together(queries: list[Query]) -> Query:
    """A parenthesised list."""
    return b"(%b)" % b" ".join(each[0] for each in queries), lambda specs, at: all(
        each[1](specs, at) for each in queries
    )


QUERIES = st.recursive(
    simple(),
    lambda inner: st.one_of(
        inner.map(negated),
        st.tuples(inner, inner).map(either),
        st.lists(inner, min_size=1, max_size=3).map(together),
    ),
    max_leaves=5,
)


class OracleTests(SearchTestCase):
    """
    Any query over any messages, against an oracle that knows what their authors wrote and never
    sees their octets.
    """

    def check(self, specs: list[Spec], queries: list[list[Query]]) -> None:
        """
        Compare.
        """
        self.server = Server()
        for at, spec in enumerate(specs):
            day, zone = spec.internal
            date = DAY + 86400 * day + spec.seconds - zone * 60
            spec.uid = self.server.deliver(spec.render(), flags=spec.flags, date=date, zone=zone)
            if at == len(specs) // 2:
                self.server.select()
            spec.recent = at > len(specs) // 2
        session = self.server.select()
        for query in queries:
            octets = b" ".join(each[0] for each in query)
            expected = [at for at in range(len(specs)) if all(test(specs, at) for _, test in query)]
            self.assertEqual(self.search(session, octets), [at + 1 for at in expected], octets)
            self.assertEqual(
                self.search(session, octets, "UID SEARCH"),
                [specs[at].uid for at in expected],
                octets,
            )

    LISTS = (
        st.lists(SPECS, min_size=1, max_size=6),
        st.lists(st.lists(QUERIES, min_size=1, max_size=3), min_size=5, max_size=10),
    )

    @settings(deadline=None, max_examples=60)
    @given(*LISTS)
    def test_inMemory(self, specs: list[Spec], queries: list[list[Query]]) -> None:
        """
        Small messages.
        """
        self.check(specs, queries)

    @settings(deadline=None, max_examples=30)
    @given(*LISTS)
    def test_streamed(self, specs: list[Spec], queries: list[list[Query]]) -> None:
        """
        As if all were large.
        """
        self.patch(memory, "SMALL_MESSAGE", -1)
        self.patch(searchtext, "PIECE", 3)
        self.check(specs, queries)
