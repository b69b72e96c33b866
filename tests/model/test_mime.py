"""
Tests for L{twisted_mailstack.model.mime}.
"""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from functools import partial
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.model.support import (
    ENTITIES,
    EXAMPLE,
    Place,
    build,
    damagedMessages,
    largeMessages,
    work,
)
from twisted_mailstack.model.header import headerEnd
from twisted_mailstack.model.mime import (
    MAX_DEPTH,
    MAX_PARTS,
    Part,
    StructureScanner,
    findPart,
    packStructure,
    scan,
    sectionRange,
    unpackStructure,
)


def scanChunks(data: bytes, size: int) -> Part:
    """
    @return: the structure of a message that comes in chunks of that size.
    """
    scanner = StructureScanner()
    for at in range(0, len(data), size):
        scanner.feed(data[at : at + size])
    return scanner.finish()


def scanCuts(data: bytes, cuts: list[int]) -> Part:
    """
    @return: the structure of a message that is cut at these places.
    """
    scanner = StructureScanner()
    at = 0
    for cut in sorted(cut % (len(data) + 1) for cut in cuts):
        scanner.feed(data[at:cut])
        at = cut
    scanner.feed(data[at:])
    return scanner.finish()


def describe(part: Part) -> list[Any]:
    """
    @return: all that is known of a part and what is in it.
    """
    return [
        *(getattr(part, name) for name in Part.__slots__ if name != "children"),
        [describe(child) for child in part.children],
    ]


def section(data: bytes, name: str) -> bytes | None:
    """
    @param name: like C{4.2.HEADER}.
    """
    words = name.split(".") if name else []
    path = [int(word) for word in words if word.isdigit()]
    kind = "" if not words or words[-1].isdigit() else words[-1]
    where = sectionRange(scan(data), path, kind)
    return None if where is None else data[where[0] : where[1]]


def paths(
    part: Part, path: tuple[int, ...] = (), asMessage: bool = True
) -> Iterator[tuple[int, ...]]:
    """
    @return: the numbers of each part there is, counted by RFC 9051 §6.4.5.1.
    """
    if part.isMultipart:
        for number, child in enumerate(part.children, 1):
            yield (*path, number)
            yield from paths(child, (*path, number), False)
    elif asMessage:
        yield (*path, 1)
        yield from paths(part, (*path, 1), False)
    elif part.isMessage:
        yield from paths(part.children[0], path)


class SaneTests(SynchronousTestCase):
    """
    Messages that are as they should be.
    """

    def assertPlaces(self, data: bytes, part: Part, place: Place) -> None:
        """
        A part is where it was put when the message was made.
        """
        self.assertEqual(
            (part.headerOffset, part.bodyOffset, part.endOffset),
            (place.header, place.body, place.end),
            data,
        )
        self.assertEqual(part.size, place.end - place.body)
        body = data[place.body : place.end]
        # Lines: one for each line end, and one for what stands behind the last.
        self.assertEqual(
            part.lines,
            len(body.replace(b"\r\n", b"\n").split(b"\n")) - (body == b"" or body.endswith(b"\n")),
        )
        self.assertEqual(len(part.children), len(place.children), data)
        for child, childPlace in zip(part.children, place.children, strict=True):
            self.assertPlaces(data, child, childPlace)

    @given(ENTITIES, st.lists(st.integers(0, 10_000), max_size=6))
    def test_everyStructure(self, entity: Any, cuts: list[int]) -> None:
        """Whatever the structure, each part is found where it is, however the message comes."""
        data, place = build(entity)
        root = scan(data)
        self.assertPlaces(data, root, place)
        self.assertEqual(describe(scanCuts(data, cuts)), describe(root))
        self.assertEqual(describe(scanChunks(data, 1)), describe(root))

    @given(ENTITIES)
    def test_bareLF(self, entity: Any) -> None:
        """The same with bare LFs has the same parts."""
        data, _ = build(entity)
        bare = data.replace(b"\r\n", b"\n")
        for one, other in zip(scan(data).walk(), scan(bare).walk(), strict=True):
            for name in ("headerOffset", "bodyOffset", "endOffset"):
                at = getattr(one, name)
                self.assertEqual(len(data[:at].replace(b"\r\n", b"\n")), getattr(other, name))
            self.assertEqual(one.lines, other.lines)
            self.assertEqual(one.subtype, other.subtype)

    @given(ENTITIES)
    def test_sameAsOthers(self, entity: Any) -> None:
        """Another implementation finds the same parts with the same contents."""
        data, _ = build(entity)
        root = scan(data)

        def compare(part: Part, message: Message) -> None:
            self.assertEqual(
                f"{part.mediaType.decode()}/{part.subtype.decode()}".lower(),
                message.get_content_type(),
            )
            payload = message.get_payload()
            if isinstance(payload, list):
                for child, childMessage in zip(part.children, payload, strict=True):
                    compare(child, childMessage)
            else:
                self.assertEqual(
                    data[part.bodyOffset : part.endOffset], message.get_payload(decode=True)
                )

        message = message_from_bytes(data)
        # Of what isn't closed that implementation takes the last line end away.
        assume(not any(each.defects for each in message.walk()))
        compare(root, message)

    def test_singlePart(self) -> None:
        """A message without MIME is text/plain, US-ASCII, 7bit (RFC 2045 §5.2)."""
        root = scan(b"Subject: x\r\n\r\none\r\ntwo\r\n")
        self.assertEqual(
            (root.mediaType, root.subtype, root.encoding), (b"text", b"plain", b"7bit")
        )
        self.assertEqual((root.size, root.lines), (10, 2))

    def test_fields(self) -> None:
        """What a part's header says of it."""
        root = scan(
            b'Content-Type: TEXT/Html; Charset="utf-8"\r\nContent-Transfer-Encoding: BASE64 (x)\r\n'
            b"Content-ID: <a@b>\r\nContent-Description: a\r\n b\r\nContent-MD5: Q2h=\r\n"
            b'Content-Disposition: attachment; filename="x y"\r\nContent-Language: de, en\r\n'
            b"Content-Location: http://x.test/\r\n\r\n"
        )
        self.assertEqual((root.mediaType, root.subtype), (b"TEXT", b"Html"))
        self.assertEqual(root.parameters, [(b"Charset", b"utf-8")])
        self.assertEqual(root.encoding, b"BASE64")
        self.assertEqual((root.contentId, root.description), (b"<a@b>", b"a b"))
        self.assertEqual((root.md5, root.language), (b"Q2h=", b"de, en"))
        self.assertEqual(root.disposition, (b"attachment", [(b"filename", b"x y")]))
        self.assertEqual(root.location, b"http://x.test/")

    def test_digest(self) -> None:
        """In a digest a part that says nothing is a message (RFC 2046 §5.1.5)."""
        root = scan(
            b"Content-Type: multipart/digest; boundary=b\r\n\r\n"
            b"--b\r\n\r\nSubject: one\r\n\r\ntext\r\n"
            b"--b\r\nContent-Type: text/x\r\n\r\ntwo\r\n--b--\r\n"
        )
        self.assertEqual([part.subtype for part in root.children], [b"rfc822", b"x"])
        self.assertIn(b'"one"', root.children[0].children[0].envelope or b"")

    def test_envelopes(self) -> None:
        """Messages have an envelope, other parts none."""
        root = scan(EXAMPLE)
        self.assertIn(b"The example", root.envelope or b"")
        self.assertIn(b"part 3", root.children[2].children[0].envelope or b"")
        self.assertIsNone(root.children[0].envelope)
        self.assertIsNone(root.children[2].envelope)

    def test_boundaryLines(self) -> None:
        """
        A boundary is a whole line, with white space behind it at most (RFC 2046 §5.1.1); its case
        counts.
        """
        head = b"Content-Type: multipart/mixed; boundary=Ab\r\n\r\n"
        for line, parts in (
            *((b"--Ab", 2), (b"--Ab  ", 2), (b"--Ab\t", 2), (b"--Ab--", 1), (b"--Ab-- ", 1)),
            *((b"--ab", 1), (b"--Abc", 1), (b"--A", 1), (b" --Ab", 1), (b"-Ab", 1), (b"--Ab x", 1)),
            *((b"--Ab-", 1), (b"x--Ab", 1), (b"--Ab--x", 1), (b"-- Ab", 1)),
        ):
            data = head + b"--Ab\r\n\r\none\r\n" + line + b"\r\n\r\ntwo\r\n"
            self.assertEqual(len(scan(data).children), parts, line)

    def test_twoBoundariesOfOneName(self) -> None:
        """A multipart within another that has the same boundary gets the lines until it ends."""
        data = (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
            b"Content-Type: multipart/x; boundary=b\r\n\r\n"
            b"--b\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b--\r\n"
            b"--b\r\n\r\n3\r\n--b--\r\n"
        )
        root = scan(data)
        self.assertEqual([len(part.children) for part in root.children], [2, 0])

    def test_boundaryParameter(self) -> None:
        """A boundary may be in sections or encoded (RFC 2231), and have odd characters."""
        for parameter, boundary in (
            (b'boundary*0="a"; boundary*1=b', b"ab"),
            (b"boundary*=us-ascii''%61b", b"ab"),
            (b"BOUNDARY=ab", b"ab"),
            (b'boundary="a b"', b"a b"),
            (b'boundary="ab  "', b"ab"),
            (b'boundary="\'()+_,-./:=?"', b"'()+_,-./:=?"),
            (b"boundary=a=b", b"a=b"),
        ):
            data = (
                b"Content-Type: multipart/mixed; " + parameter + b"\r\n\r\n"
                b"--" + boundary + b"\r\n\r\n1\r\n--" + boundary + b"\r\n\r\n2\r\n"
            )
            self.assertEqual(len(scan(data).children), 2, parameter)


class DamagedTests(SynchronousTestCase):
    """
    Messages that are not as they should be.
    """

    def assertConsistent(self, name: str, data: bytes, root: Part) -> None:
        """
        Each part lies within its parent and behind its elder sibling, its header ends where one
        does, its size and lines are those of its octets.
        """
        self.assertEqual((root.headerOffset, root.endOffset), (0, len(data)), name)
        self.assertEqual(root.bodyOffset, headerEnd(data), name)
        for part in root.walk():
            self.assertLessEqual(part.headerOffset, part.bodyOffset, name)
            self.assertLessEqual(part.bodyOffset, part.endOffset, name)
            body = data[part.bodyOffset : part.endOffset]
            self.assertEqual(part.size, len(body), name)
            lastLine = body != b"" and not body.endswith(b"\n")
            self.assertEqual(part.lines, body.count(b"\n") + lastLine, name)
            at = part.bodyOffset
            for child in part.children:
                self.assertGreaterEqual(child.headerOffset, at, name)
                at = child.endOffset
                header = data[child.headerOffset : child.bodyOffset]
                self.assertEqual(headerEnd(header), len(header), name)
            self.assertLessEqual(at, part.endOffset, name)
            self.assertEqual(bool(part.children), part.isMultipart or part.isMessage, name)
            if part.isMessage:
                self.assertEqual(len(part.children), 1, name)
                self.assertIsNotNone(part.children[0].envelope, name)

    def test_damaged(self) -> None:
        """Every damaged message has a structure that holds, the same however it comes."""
        randomness = random.Random(1)
        count = 0
        for name, data in damagedMessages():
            count += 1
            root = scan(data)
            self.assertConsistent(name, data, root)
            expected = describe(root)
            for size in (1, 7):
                self.assertEqual(describe(scanChunks(data, size)), expected, (name, size))
            cuts = [randomness.randrange(len(data) + 1) for _ in range(4)]
            self.assertEqual(describe(scanCuts(data, cuts)), expected, (name, cuts))
        self.assertGreater(count, 600)

    def test_large(self) -> None:
        """So has one that is too much; parts and depth stay within their bounds."""
        for name, data in largeMessages():
            root = scan(data)
            self.assertConsistent(name, data, root)
            self.assertEqual(describe(scanChunks(data, 16_381)), describe(root), name)
            # One that isn't split has one part made up for it.
            self.assertLessEqual(sum(1 for _ in root.walk()), 2 * (MAX_PARTS + MAX_DEPTH), name)
            self.assertLessEqual(self.depth(root), MAX_DEPTH + 2, name)
            unpackStructure(packStructure(root))

    def depth(self, root: Part) -> int:
        """
        @return: how many levels there are.
        """
        level, depth = [root], 0
        while level:
            level = [child for part in level for child in part.children]
            depth += 1
        return depth

    @given(
        st.lists(
            st.sampled_from(
                [
                    *(b"\r\n", b"\n", b"\r", b"--b", b"--b--", b"--c", b"--c--", b" ", b"x", b"--"),
                    *(
                        b"Content-Type: multipart/x; boundary=b\r\n",
                        b"Content-Type: message/rfc822\r\n",
                    ),
                    *(
                        b"Content-Type: multipart/digest; boundary=c\r\n",
                        b"X: y\r\n",
                        b"\r\n--b\r\n",
                    ),
                ]
            ),
            max_size=25,
        ).map(b"".join),
        st.lists(st.integers(0, 10_000), max_size=5),
    )
    def test_anyOctets(self, data: bytes, cuts: list[int]) -> None:
        """Any octets have a structure that holds."""
        root = scan(data)
        self.assertConsistent("any", data, root)
        self.assertEqual(describe(scanChunks(data, 1)), describe(root))
        self.assertEqual(describe(scanCuts(data, cuts)), describe(root))

    def test_boundaryInHeader(self) -> None:
        """A header that runs into a boundary ends before the line end, which is the boundary's."""
        head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        for header in (b"Content-Type: text/x\r\nX: y", b"X", b""):
            for end in (b"\r\n", b"\n") if header else (b"",):
                data = head + header + end + b"--b\r\n\r\ntwo\r\n--b--\r\n"
                first, second = scan(data).children
                self.assertEqual(data[first.headerOffset : first.endOffset], header)
                self.assertEqual((first.bodyOffset, first.size), (first.endOffset, 0))
                self.assertEqual(data[second.bodyOffset : second.endOffset], b"two")

    def test_boundaryBehindHeader(self) -> None:
        """A boundary of a multipart further out right behind a header leaves empty parts."""
        data = (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
            b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n"
            b"Content-Type: message/rfc822\r\n\r\n--b\r\n\r\ntwo\r\n"
        )
        root = scan(data)
        self.assertConsistent("behind a header", data, root)
        inner = root.children[0].children[0]
        self.assertEqual((inner.size, inner.children[0].size), (0, 0))
        self.assertEqual(data[root.children[1].bodyOffset : root.endOffset], b"two\r\n")

    def test_beyondTheBounds(self) -> None:
        """What is deeper is opaque; what is more than so many parts belongs to the last."""
        root = scan(dict(largeMessages())["1,000 messages deep"])
        deepest = list(root.walk())[-1]
        self.assertEqual((deepest.mediaType, deepest.subtype), (b"application", b"octet-stream"))
        root = scan(dict(largeMessages())["20,000 parts without a header"])
        self.assertEqual(len(root.children), MAX_PARTS - 1)
        self.assertEqual(root.children[-1].endOffset, root.endOffset)
        self.assertGreater(root.children[-1].endOffset - root.children[-1].headerOffset, 40_000)

    def test_linearTime(self) -> None:
        """Twice as much of anything is twice the work."""
        head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        level = b"Content-Type: multipart/x; boundary=b%d\r\n\r\n--b%d\r\n"
        for name, make in (
            ("parts", lambda n: head + b"--b\r\n\r\nx\r\n" * n),
            ("parts too many", lambda n: head + b"--b\n" * (n + 20_000)),
            ("levels", lambda n: b"".join(level % (each, each) for each in range(n))),
            ("almost boundaries", lambda n: head + b"\r\n--" * n),
            ("boundaries of others", lambda n: head + b"\r\n--c\r\n" * n),
            ("fields", lambda n: b"X: y\r\n" * n + b"\r\nz"),
            ("folds", lambda n: b"Subject: x" + b"\r\n y" * n),
            ("lines", lambda n: head + b"\r\n" * n),
        ):
            once, twice = [work(partial(scanChunks, make(size), 4096)) for size in (1000, 2000)]
            self.assertLess(twice, 2.2 * once + 500, name)

    def test_boundedMemory(self) -> None:
        """Of lines and headers without an end a bounded part is kept."""
        for head in (
            b"Subject: ",
            b"Content-Type: multipart/x; boundary=b\r\n\r\n",
            b"A: b\r\n\r\n",
        ):
            for filling in (b"x" * 65_536, b"--" * 32_768, b"\r\n x" * 16_384):
                scanner = StructureScanner()
                scanner.feed(head)
                scanner.feed(filling)
                tracemalloc.start()
                try:
                    for _ in range(64):
                        scanner.feed(filling)
                    _, peak = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                self.assertLess(peak, 1_500_000)
                self.assertEqual(scanner.finish().endOffset, len(head) + 65 * 65_536)


class SectionTests(SynchronousTestCase):
    """
    C{sectionRange} and C{findPart} (RFC 9051 §6.4.5.1).
    """

    def test_example(self) -> None:
        """The RFC's example: each of its part specifiers, and what they stand for."""
        for name, body in (
            ("1", b"part 1"),
            ("2", b"cGFydCAy"),
            ("3.1", b"part 3.1"),
            ("3.2", b"part 3.2"),
            ("4.1", b"part 4.1"),
            ("4.2.1", b"part 4.2.1"),
            ("4.2.2.1", b"part 4.2.2.1"),
            ("4.2.2.2", b"part 4.2.2.2"),
            ("4.1.MIME", b"Content-Type: image/gif\r\nContent-ID: <gif@example.com>\r\n\r\n"),
            ("2.MIME", EXAMPLE[EXAMPLE.index(b"Content-Type: application") :].split(b"cGF")[0]),
            ("3.MIME", b"Content-Type: message/rfc822\r\n\r\n"),
            ("3.1.MIME", b"\r\n"),
            (
                "3.HEADER",
                b"From: three@example.com\r\nSubject: part 3\r\n"
                b"Content-Type: multipart/mixed; boundary=three\r\n\r\n",
            ),
            (
                "4.2.HEADER",
                b'Subject: part 4.2\r\nContent-Type: multipart/mixed; boundary="out"\r\n\r\n',
            ),
            ("4.2.2.MIME", b'Content-Type: multipart/alternative; boundary="outer2"\r\n\r\n'),
        ):
            self.assertEqual(section(EXAMPLE, name), body, name)

    def test_whole(self) -> None:
        """The whole message is its header and its text; so is an enclosed one."""
        self.assertEqual(section(EXAMPLE, ""), EXAMPLE)
        for prefix, whole in (("", ""), ("3.", "3"), ("4.2.", "4.2")):
            header = section(EXAMPLE, f"{prefix}HEADER")
            text = section(EXAMPLE, f"{prefix}TEXT")
            assert header is not None and text is not None
            self.assertEqual(header + text, section(EXAMPLE, whole))
        text = section(EXAMPLE, "TEXT") or b""
        self.assertTrue(text.startswith(b"preamble\r\n--outer\r\n"))
        self.assertTrue(text.endswith(b"--outer--\r\nepilogue\r\n"))
        self.assertTrue((section(EXAMPLE, "4") or b"").startswith(b"--four\r\n"))
        self.assertTrue((section(EXAMPLE, "4") or b"").endswith(b"--four--"))
        self.assertTrue((section(EXAMPLE, "4.2.2") or b"").startswith(b"--outer2\r\n"))

    def test_none(self) -> None:
        """Sections that the message doesn't have."""
        for name in (
            *("5", "0", "1.1", "1.2", "2.1", "3.3", "3.1.1", "4.3", "4.2.3", "4.2.2.3", "4.1.1"),
            # HEADER and TEXT are of messages only; MIME is of parts only.
            *("1.HEADER", "1.TEXT", "4.HEADER", "4.TEXT", "4.2.2.HEADER", "3.1.TEXT", "MIME"),
            *("5.MIME", "1.1.MIME", "4294967295"),
        ):
            self.assertIsNone(section(EXAMPLE, name), name)

    def test_singlePart(self) -> None:
        """A message that is no multipart has a part 1, which is its text."""
        data = b"Subject: x\r\nContent-Type: text/html\r\n\r\nbody\r\n"
        for name in ("1", "TEXT"):
            self.assertEqual(section(data, name), b"body\r\n")
        self.assertEqual(section(data, "1.MIME"), data[:-6])
        for name in ("2", "1.1", "1.HEADER", "1.TEXT"):
            self.assertIsNone(section(data, name), name)

    def test_enclosedSinglePart(self) -> None:
        """A message within a message: 1 is the message, 1.1 its text, however deep."""
        inner = b"Subject: in\r\n\r\ntext\r\n"
        data = b"Content-Type: message/rfc822\r\n\r\n" + inner
        self.assertEqual(section(data, "1"), inner)
        self.assertEqual(section(data, "TEXT"), inner)
        self.assertEqual(section(data, "1.HEADER"), b"Subject: in\r\n\r\n")
        self.assertEqual(section(data, "1.TEXT"), b"text\r\n")
        self.assertEqual(section(data, "1.1"), b"text\r\n")
        self.assertEqual(section(data, "1.1.MIME"), b"Subject: in\r\n\r\n")
        self.assertIsNone(section(data, "1.2"))
        self.assertIsNone(section(data, "1.1.1"))
        outer = b"Content-Type: message/rfc822\r\n\r\n" + data
        self.assertEqual(section(outer, "1.1"), inner)
        self.assertEqual(section(outer, "1.1.1"), b"text\r\n")
        self.assertEqual(section(outer, "1.1.HEADER"), b"Subject: in\r\n\r\n")

    def test_enclosedMultipart(self) -> None:
        """A message whose only content is an enclosed multipart message."""
        data = b"Content-Type: message/rfc822\r\n\r\n" + EXAMPLE
        for name in ("1", "2", "3.1", "4.2.2.2", "4.1.MIME", "3.HEADER", "4.2.TEXT"):
            self.assertEqual(section(data, f"1.{name}"), section(EXAMPLE, name), name)

    def test_noBoundaryFound(self) -> None:
        """A multipart that can't be split has one part with all of it."""
        data = b"Content-Type: multipart/mixed\r\n\r\nbody\r\n"
        self.assertEqual(section(data, "1"), b"body\r\n")
        self.assertEqual(section(data, "1.MIME"), b"")
        self.assertIsNone(section(data, "2"))

    @given(ENTITIES)
    def test_everyPartHasANumber(self, entity: Any) -> None:
        """Counting the parts of any message, each number names a part and no other does."""
        data, _ = build(entity)
        root = scan(data)
        named = list(paths(root))
        self.assertEqual(len(named), len(set(named)))
        for path in named:
            part = findPart(root, path)
            assert part is not None
            self.assertEqual(sectionRange(root, path, ""), (part.bodyOffset, part.endOffset))
            self.assertIsNone(findPart(root, (*path, 100)))
            self.assertIsNone(findPart(root, (*path[:-1], 100)))
        found = {id(findPart(root, path)) for path in named}
        # All but the messages themselves, which are named by the part that they are in.
        messages = {id(part.children[0]) for part in root.walk() if part.isMessage}
        everything = {id(part) for part in root.walk()}
        self.assertLessEqual(everything - messages - {id(root)}, found)

    def test_shift(self) -> None:
        """Octets put before a message belong to its header (Delivered-To and the like)."""
        prefix = b"Delivered-To: a@b\r\n"
        root = scan(EXAMPLE)
        root.shift(len(prefix))
        for path, kind in (
            ((), ""),
            ((), "HEADER"),
            ((), "TEXT"),
            ((4, 2), "HEADER"),
            ((2,), "MIME"),
        ):
            self.assertEqual(
                sectionRange(root, path, kind), sectionRange(scan(prefix + EXAMPLE), path, kind)
            )


class PackTests(SynchronousTestCase):
    """
    The stored form.
    """

    def test_roundTrip(self) -> None:
        """It gives back the same sections, types, parameters and dispositions."""
        for name, data in [("example", EXAMPLE), *damagedMessages()]:
            root = scan(data)
            again = unpackStructure(packStructure(root))
            for one, other in zip(root.walk(), again.walk(), strict=True):
                for attribute in (
                    *("headerOffset", "bodyOffset", "endOffset", "lines", "mediaType", "subtype"),
                    *("encoding", "parameters", "disposition"),
                ):
                    self.assertEqual(getattr(one, attribute), getattr(other, attribute), name)
