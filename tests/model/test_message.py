"""
Tests for L{twisted_mailstack.model.message}.
"""

from __future__ import annotations

import random
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.model.support import (
    ENTITIES,
    EXAMPLE,
    Body,
    build,
    damagedMessages,
    largeMessages,
    readBody,
    readEnvelope,
    work,
)
from twisted_mailstack.model.message import (
    MAX_REFERENCES,
    PREVIEW_CHARACTERS,
    Summariser,
    Summary,
    baseSubject,
    renderStructures,
    summarise,
)
from twisted_mailstack.model.mime import Part, scan, sectionRange, unpackStructure


def summariseChunks(data: bytes, size: int) -> Summary:
    """
    @return: the summary of a message that comes in chunks of that size.
    """
    summariser = Summariser()
    for at in range(0, len(data), size):
        summariser.feed(data[at : at + size])
    return summariser.finish()


def crlf(text: str) -> bytes:
    """
    @return: the lines as mail has them.
    """
    return text.replace("\n", "\r\n").encode("utf-8")


class SummaryTestCase(SynchronousTestCase):
    """
    What must hold for every message.
    """

    def assertGood(self, name: str, data: bytes, summary: Summary) -> None:
        """
        ENVELOPE, BODY and BODYSTRUCTURE are good IMAP and say of each part what is true of its
        octets; the stored structure finds the same parts.
        """
        self.assertEqual(summary.size, len(data), name)
        root = unpackStructure(summary.structure)
        self.assertEqual(summary.headerSize, root.bodyOffset, name)
        readEnvelope(summary.envelope)
        body = readBody(summary.body, False)
        structure = readBody(summary.bodyStructure, True)
        self.assertBody(name, data, root, body)
        self.assertBody(name, data, root, structure)
        self.assertEqual(self.withoutExtensions(structure), self.withoutExtensions(body), name)
        self.assertLessEqual(len(summary.preview), PREVIEW_CHARACTERS, name)
        self.assertEqual(" ".join(summary.preview.split()), summary.preview, name)
        for text in (summary.preview, summary.subject, summary.baseSubject):
            text.encode("utf-8")
        self.assertLessEqual(len(summary.references), MAX_REFERENCES, name)

    def assertBody(self, name: str, data: bytes, part: Part, body: Body) -> None:
        """
        A body is that of a part.
        """
        octets = data[part.bodyOffset : part.endOffset]
        self.assertEqual(body.subtype, part.subtype, name)
        if part.isMultipart:
            self.assertEqual(len(body.children), len(part.children), name)
            for child, childBody in zip(part.children, body.children, strict=True):
                self.assertBody(name, data, child, childBody)
            return
        self.assertEqual(body.mediaType, part.mediaType, name)
        self.assertEqual(body.octets, len(octets), name)
        self.assertNotEqual(body.encoding, b"", name)
        if part.isText or part.isMessage:
            lastLine = octets != b"" and not octets.endswith(b"\n")
            self.assertEqual(body.lines, octets.count(b"\n") + lastLine, name)
        if part.isMessage:
            assert body.message is not None
            self.assertBody(name, data, part.children[0], body.message)

    def withoutExtensions(self, body: Body) -> list[Any]:
        """
        @return: all of a body but extension data.
        """
        parameters = None if body.children else body.parameters
        return [
            *(body.mediaType.lower(), body.subtype, parameters, body.contentId, body.description),
            *(body.encoding, body.octets, body.lines, body.envelope),
            body.message and self.withoutExtensions(body.message),
            [self.withoutExtensions(child) for child in body.children],
        ]


class EveryMessageTests(SummaryTestCase):
    """
    Sane, damaged and any messages.
    """

    @given(ENTITIES, st.integers(1, 60))
    def test_sane(self, entity: Any, size: int) -> None:
        """A message of any structure has a good summary, the same in chunks of any size."""
        data, _ = build(entity)
        summary = summarise(data)
        self.assertGood("sane", data, summary)
        self.assertEqual(summariseChunks(data, size), summary)

    def test_damaged(self) -> None:
        """So has each damaged message."""
        randomness = random.Random(2)
        for name, data in damagedMessages():
            summary = summarise(data)
            self.assertGood(name, data, summary)
            self.assertEqual(summariseChunks(data, 1), summary, name)
            self.assertEqual(summariseChunks(data, randomness.randrange(2, 90)), summary, name)

    def test_large(self) -> None:
        """So has each that is too much; those with yet more parts have the same structure."""
        for name, data in largeMessages():
            if not name.startswith("20,000 parts"):
                self.assertGood(name, data, summariseChunks(data, 65_536))

    def test_linearTime(self) -> None:
        """Twice as much of anything is at most twice the work."""
        head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        level = b"Content-Type: multipart/x; boundary=b%d\r\n\r\n--b%d\r\n"
        for name, make in (
            ("parts", lambda n: head + b"--b\r\n\r\nx\r\n" * n),
            ("levels", lambda n: b"".join(level % (each, each) for each in range(n // 10))),
            ("messages", lambda n: b"Content-Type: message/rfc822\r\n\r\n" * (n // 10)),
            ("addresses", lambda n: b"To: " + b"a@x, (b) <c@d>; " * n),
            ("fields", lambda n: b"To: a@b\r\n" * n),
            ("parameters", lambda n: b"Content-Type: a/b" + b"; c=d; e*0=f" * n),
            ("languages", lambda n: b"Content-Language: " + b"a, " * n),
            ("encoded words", lambda n: b"Subject: " + b"=?utf-8?q?a?= " * n),
            ("subjects", lambda n: b"Subject: " + b"Re: [x] " * n),
            ("ids", lambda n: b"References: " + b"<a@b> " * n),
            ("text", lambda n: b"Content-Type: text/html\r\n\r\n" + b"<p>&amp;\r\n" * n),
        ):
            once, twice = [work(partial(summarise, make(size))) for size in (500, 1000)]
            self.assertLess(twice, 2.2 * once + 500, name)

    @given(
        st.lists(
            st.sampled_from(
                [
                    *(b"Content-Type: ", b"Content-Disposition: ", b"Content-Language: ", b"To: "),
                    *(b"Subject: ", b"Date: ", b"multipart/x", b"message/rfc822", b"text/html"),
                    *(b"; ", b"boundary=b", b"name*0=a", b"charset=", b'"', b"(", b")", b"<a@b>"),
                    *(
                        b"\r\n",
                        b"\r\n\r\n",
                        b"\n",
                        b"\r",
                        b"--b",
                        b"--b--",
                        b" ",
                        b",",
                        b"\0",
                        b"\xe9",
                    ),
                    *(b"Content-Transfer-Encoding: base64", b"=?utf-8?b?w6k=?=", b"<!--", b"&#9;"),
                ]
            ),
            max_size=30,
        ).map(b"".join)
    )
    def test_anyOctets(self, data: bytes) -> None:
        """So have any octets."""
        summary = summarise(data)
        self.assertGood("any", data, summary)
        self.assertEqual(summariseChunks(data, 1), summary)


class BodyStructureTests(SummaryTestCase):
    """
    C{renderStructures} (RFC 9051 §7.5.2).
    """

    def test_simple(self) -> None:
        """The RFC's simple text message: 48 lines and 2279 octets."""
        data = b"From: a@x\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n"
        data = data.replace(b"From", b"Content-Transfer-Encoding: 7BIT\r\nFrom")
        data += (b"x" * 45 + b"\r\n") * 47 + b"x" * 68 + b"\r\n"
        self.assertEqual(
            summarise(data).body,
            b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 2279 48)',
        )

    def test_twoParts(self) -> None:
        """The RFC's text with a text attachment, and the extension data it would have."""
        data = crlf(
            "Content-Type: MULTIPART/MIXED; BOUNDARY=b\n\n"
            "--b\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\nContent-Transfer-Encoding: 7BIT\n\n"
            + "x\n"
            * 23
            + "\n--b\n"
            'Content-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME="cc.diff"\n'
            "Content-ID: <960723163407.20117h@cac.washington.edu>\n"
            "Content-Description: Compiler diff\nContent-Transfer-Encoding: BASE64\n"
            'Content-Disposition: attachment; filename="cc.diff"\nContent-Language: en, de\n'
            "Content-MD5: Q2h=\nContent-Location: cc.diff\n\n" + "Y\n" * 73 + "\n--b--\n"
        )
        first = b'"TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 69 23'
        second = (
            b'"TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" "cc.diff") '
            b'"<960723163407.20117h@cac.washington.edu>" "Compiler diff" "BASE64" 219 73'
        )
        summary = summarise(data)
        self.assertEqual(summary.body, b'((%b)(%b) "MIXED")' % (first, second))
        self.assertEqual(
            summary.bodyStructure,
            b'((%b NIL NIL NIL NIL)(%b "Q2h=" ("attachment" ("filename" "cc.diff")) '
            b'("en" "de") "cc.diff") "MIXED" ("BOUNDARY" "b") NIL NIL NIL)' % (first, second),
        )

    def test_noMIME(self) -> None:
        """A message without MIME is plain text, never nothing (RFC 2045 §5.2)."""
        for data, octets, lines in (
            (b"Subject: x\r\n\r\nbody\r\n", 6, 1),
            (b"", 0, 0),
            (b"\r\n", 0, 0),
            (b"\r\nbody", 4, 1),
            (b"Content-Type: garbage\r\n\r\n\r\n", 2, 1),
        ):
            self.assertEqual(
                summarise(data).body,
                b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" %d %d)' % (octets, lines),
            )

    def test_enclosed(self) -> None:
        """A message within: its envelope, its body, and its lines."""
        data = crlf(
            "Content-Type: message/rfc822\n\nSubject: in\nContent-Type: text/html\n\none\ntwo\n"
        )
        envelope = b'(NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL)'
        self.assertEqual(
            summarise(data).body,
            b'("message" "rfc822" NIL NIL NIL "7bit" 50 '
            + envelope
            + b' ("text" "html" NIL NIL NIL "7bit" 10 2) 5)',
        )

    def test_other(self) -> None:
        """Parts that are neither text nor messages have no lines."""
        self.assertEqual(
            summarise(b"Content-Type: message/partial; id=1\r\n\r\nx").body,
            b'("message" "partial" ("id" "1") NIL NIL "7bit" 1)',
        )
        self.assertEqual(
            summarise(b"Content-Type: image/gif\r\n\r\nx").body,
            b'("image" "gif" NIL NIL NIL "7bit" 1)',
        )

    def test_emptyMultipart(self) -> None:
        """A multipart without parts has one all the same: the grammar wants it."""
        body = readBody(summarise(b"Content-Type: multipart/mixed\r\n\r\nxy").body, False)
        self.assertEqual(
            [(child.subtype, child.octets) for child in body.children], [(b"plain", 2)]
        )

    def test_language(self) -> None:
        """One language is a string, several are a list, none is NIL."""
        for value, language in (
            (b"de", b'"de"'),
            (b"de, en-US,,", b'("de" "en-US")'),
            (b",", b"NIL"),
            (b"", b"NIL"),
        ):
            data = b"Content-Type: image/x\r\nContent-Language: %b\r\n\r\n" % value
            self.assertIn(b"NIL NIL %b NIL)" % language, summarise(data).bodyStructure)

    def test_sections(self) -> None:
        """Parameters in sections are joined (RFC 2231 §3)."""
        data = crlf(
            "Content-Type: image/x; name*0=a; name*1=b\n"
            "Content-Disposition: attachment; filename*0*=utf-8''%C3; filename*1*=%A9\n\n"
        )
        structure = readBody(summarise(data).bodyStructure, True)
        self.assertEqual(structure.parameters, [(b"name", b"ab")])
        self.assertEqual(structure.disposition, (b"attachment", [(b"filename*", b"utf-8''%C3%A9")]))

    def test_sameAsOthers(self) -> None:
        """A message made by another implementation: its types, names and sizes."""
        message = EmailMessage(policy=policy.SMTP)
        message["From"] = "Jürgen <j@x.test>"
        message["Subject"] = "größer"
        message.set_content("größer\n")
        message.add_alternative("<p>größer</p>\n", subtype="html")
        message.add_attachment(b"\0\1\2" * 100, maintype="image", subtype="png", filename="ü.png")
        message.add_attachment(message_from_bytes(EXAMPLE, policy=policy.default))
        data = message.as_bytes()

        def compare(body: Body, other: Any) -> None:
            self.assertEqual(
                b"%b/%b" % (body.mediaType.lower(), body.subtype.lower()),
                other.get_content_type().encode(),
            )
            for child, otherChild in zip(
                body.children or ([body.message] if body.message else []),
                other.iter_parts() if other.is_multipart() else [],
                strict=True,
            ):
                compare(child, otherChild)

        structure = readBody(summarise(data).bodyStructure, True)
        compare(structure, message_from_bytes(data, policy=policy.default))
        self.assertEqual(
            structure.children[1].disposition,
            (b"attachment", [(b"filename*", b"utf-8''%C3%BC.png")]),
        )

    def test_wholeTree(self) -> None:
        """Those of a part are that part's within the whole."""
        root = scan(EXAMPLE)
        whole = renderStructures(root)
        for part in root.walk():
            for one, all_ in zip(renderStructures(part), whole, strict=True):
                self.assertIn(one, all_)


class SummaryTests(SummaryTestCase):
    """
    What else is found.
    """

    def test_fields(self) -> None:
        """What sorts and threads a message."""
        summary = summarise(
            crlf(
                "Message-ID: <1@x> (comment)\nIn-Reply-To: <2@x> <3@x>\n"
                "References: <4@x>\n\t<2@x>\nSubject: =?utf-8?q?Re:_gr=C3=B6=C3=9Fer?=\n"
                "Date: Fri, 21 Nov 1997 09:55:06 -0600\n\nbody\n"
            )
        )
        self.assertEqual(summary.messageId, b"<1@x>")
        self.assertEqual(summary.inReplyTo, (b"<2@x>", b"<3@x>"))
        self.assertEqual(summary.references, (b"<4@x>", b"<2@x>"))
        self.assertEqual(summary.subject, "Re: größer")
        self.assertEqual(summary.baseSubject, "GRÖSSER")
        self.assertEqual(summary.sentDate, 880127706)

    def test_noFields(self) -> None:
        """What isn't there."""
        summary = summarise(b"\r\nbody")
        self.assertEqual((summary.messageId, summary.inReplyTo, summary.references), (b"", (), ()))
        self.assertEqual((summary.subject, summary.baseSubject), ("", ""))
        self.assertIsNone(summary.sentDate)

    def test_manyReferences(self) -> None:
        """Of very many references the last are kept."""
        data = b"References: " + b" ".join(b"<%d@x>" % each for each in range(500)) + b"\r\n\r\n"
        references = summarise(data).references
        self.assertEqual(len(references), MAX_REFERENCES)
        self.assertEqual(references[-1], b"<499@x>")

    def test_structure(self) -> None:
        """The stored structure finds a section in the message's octets."""
        root = unpackStructure(summarise(EXAMPLE).structure)
        start, end = sectionRange(root, (4, 2, 2, 1), "") or (0, 0)
        self.assertEqual(EXAMPLE[start:end], b"part 4.2.2.1")


class PreviewTests(SynchronousTestCase):
    """
    The preview (RFC 8970 §3.1).
    """

    def assertPreview(self, message: str, preview: str) -> None:
        """
        That is the beginning of the message's text.
        """
        self.assertEqual(summarise(crlf(message)).preview, preview)

    def test_plain(self) -> None:
        """The first text, on one line."""
        self.assertPreview("Subject: x\n\nHello,\n\n\tworld \n", "Hello, world")
        self.assertPreview("Subject: x\n\n", "")
        self.assertPreview("Subject: x\n\na\u200bb\0c\u00a0d\x1b[1m", "a b c d [1m")

    def test_decoded(self) -> None:
        """Transfer encoding and charset are undone."""
        self.assertPreview(
            "Content-Type: text/plain; charset=iso-8859-1\n"
            "Content-Transfer-Encoding: quoted-printable\n\ngr=F6=\n=DFer\n",
            "größer",
        )
        self.assertPreview(
            "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nw6k=\n",
            "é",
        )

    def test_html(self) -> None:
        """HTML as a reader sees it."""
        self.assertPreview(
            "Content-Type: text/html\n\n<head><title>T</title><style>b{}</style></head>"
            "<p>one</p><p>t<b>w</b>o &amp; three",
            "one two & three",
        )

    def test_alternative(self) -> None:
        """Plain text rather than HTML, wherever it is."""
        head = "Content-Type: multipart/alternative; boundary=b\n\n"
        html = "--b\nContent-Type: text/html\n\n<p>html\n"
        plain = "--b\n\nplain\n"
        self.assertPreview(head + html + plain, "plain")
        self.assertPreview(head + plain + html, "plain")
        self.assertPreview(head + html, "html")

    def test_attachments(self) -> None:
        """Attachments are passed over; without any text there is none."""
        head = "Content-Type: multipart/mixed; boundary=b\n\n"
        attachment = "--b\nContent-Disposition: ATTACHMENT\n\nlog\n"
        self.assertPreview(head + attachment + "--b\n\ntext\n", "text")
        self.assertPreview(head + attachment, "")
        self.assertPreview("Content-Type: image/gif\n\nGIF", "")

    def test_length(self) -> None:
        """At most 200 characters, not octets."""
        for character in ("x", "é", "日", "😀"):
            summary = summarise(
                crlf("Content-Type: text/plain; charset=utf-8\n\n" + character * 5000)
            )
            self.assertEqual(summary.preview, character * PREVIEW_CHARACTERS)

    def test_muchWhiteSpace(self) -> None:
        """Empty lines in front don't use it up."""
        self.assertPreview("Subject: x\n\n" + "\n" * 1000 + "text", "text")

    def test_cut(self) -> None:
        """Text that is looked at in part only isn't taken for another charset."""
        for line in ("é" * 30 + "\n", "x" + "é" * 30 + "\n"):
            summary = summarise(crlf("Subject: x\n\n" + line * 2000))
            self.assertEqual(summary.preview, " ".join([line.strip()] * 9)[:PREVIEW_CHARACTERS])


class BaseSubjectTests(SynchronousTestCase):
    """
    C{baseSubject} (RFC 5256 §2.1).
    """

    def test_examples(self) -> None:
        """Re, Fwd and blobs go, as long as something stays."""
        for subject in (
            *("hello", "Re: hello", "re : hello", "RE:hello", "Re: Re: hello", "Fwd: hello"),
            *("Fw: hello", "FW [1]: hello", "Re[2]: hello", "hello (fwd)", "hello (FWD) (fwd) "),
            *("[list] hello", "[list] Re: hello", "Re: [list] hello", "[a] [b] Re: [c] hello"),
            *("[fwd: hello]", "[Fwd: Re: hello (fwd)]", "Re: [fwd: [fwd: hello]]", "  hello  "),
            *("[a]hello", "\thello"),
        ):
            self.assertEqual(baseSubject(subject), "HELLO", subject)

    def test_stays(self) -> None:
        """What isn't one of these."""
        for subject, base in (
            ("", ""),
            ("Re:", ""),
            ("Re: Fwd: [x] re:", ""),
            ("[only]", "[ONLY]"),
            ("Re: [only]", "[ONLY]"),
            ("[a] [b]", "[B]"),
            ("regarding: x", "REGARDING: X"),
            ("Re x", "RE X"),
            ("fwdd: x", "FWDD: X"),
            ("x  \t y", "X Y"),
            ("[unclosed x", "[UNCLOSED X"),
            ("[a[b]] x", "[A[B]] X"),
            ("fwd) x (fwd", "FWD) X (FWD"),
            ("größer", "GRÖSSER"),
        ):
            self.assertEqual(baseSubject(subject), base, subject)

    @given(st.lists(st.sampled_from(["re:", "fwd:", "[x]", "[", "]", "(fwd)", "[fwd:", "a", " "])))
    def test_once(self, pieces: list[str]) -> None:
        """A base subject is its own base subject."""
        base = baseSubject("".join(pieces))
        self.assertEqual(baseSubject(base), base)

    def test_long(self) -> None:
        """A subject of megabytes is bounded."""
        for subject in (
            "re:" * 500_000,
            "[x]" * 500_000,
            "[fwd:" * 500_000 + "]" * 500_000,
            "x" * 10**6,
        ):
            self.assertLessEqual(len(baseSubject(subject)), 2000)
