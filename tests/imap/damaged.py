"""
Damaged messages of our own making, the same each time: what other programs, other times and malice
have made of the rules of RFC 5322 and MIME.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from itertools import product
from random import Random

TOP = (
    b"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nFrom: Fred <fred@far.test>\r\nSubject: hello\r\n"
    b"To: a@b.test, c@d.test\r\nMessage-ID: <1@far.test>\r\nMIME-Version: 1.0\r\n"
)
#: A message with each kind of part, whole.
WHOLE = (
    TOP + b'Content-Type: multipart/mixed; boundary="out"\r\n\r\npreamble\r\n--out\r\n'
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"
    b"\r\ncaf=C3=A9 =\r\nend\r\n--out\r\n"
    b'Content-Type: multipart/alternative; boundary="in"\r\n\r\n--in\r\n\r\nplain\r\n--in\r\n'
    b"Content-Type: text/html\r\n\r\n<p>html\r\n--in--\r\n\r\n--out\r\n"
    b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Type: image/gif\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nR0lGODlh\r\n--out\r\n"
    b"Content-Type: application/octet-stream; name=x\r\nContent-Disposition: attachment;"
    b" filename=x\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQF\r\n--out--\r\nepilogue\r\n"
)


def one(kind: bytes, body: bytes, more: bytes = b"") -> bytes:
    """
    @return: a message of one part.
    """
    return TOP + b"Content-Type: " + kind + b"\r\n" + more + b"\r\n" + body


def several(parts: list[bytes], boundary: bytes = b"b", declared: bytes = b"b") -> bytes:
    """
    @return: a multipart of these parts, header and all.
    """
    inner = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return one(b"multipart/mixed; boundary=" + declared, inner + b"--" + boundary + b"--\r\n")


def damagedMessages() -> Iterator[tuple[str, bytes]]:
    """
    @return: names and messages.
    """
    yield from _cut()
    yield from _lineEnds()
    yield from _boundaries()
    yield from _encodings()
    yield from _headers()
    yield from _types()
    yield from _messages()
    yield from _mutated()


def _cut() -> Iterator[tuple[str, bytes]]:
    # At the beginning and the end of each line, and in the midst of it.
    at = 0
    for number, line in enumerate(WHOLE.splitlines(keepends=True)):
        for place in sorted({0, 1, len(line) // 2, len(line) - 2, len(line) - 1}):
            yield f"cut at line {number}, octet {place}", WHOLE[: at + place]
        yield f"without line {number}", WHOLE[:at] + WHOLE[at + len(line) :]
        yield f"line {number} twice", WHOLE[: at + len(line)] + line + WHOLE[at + len(line) :]
        at += len(line)


def _lineEnds() -> Iterator[tuple[str, bytes]]:
    for name, end in (("LF", b"\n"), ("CR", b"\r"), ("CR CR LF", b"\r\r\n"), ("LF CR", b"\n\r")):
        yield f"{name} everywhere", WHOLE.replace(b"\r\n", end)
    header, blank, body = WHOLE.partition(b"\r\n\r\n")
    yield "LF in the header only", header.replace(b"\r\n", b"\n") + b"\n\n" + body
    yield "LF in the body only", header + blank + body.replace(b"\r\n", b"\n")
    yield "CR in the header only", header.replace(b"\r\n", b"\r") + b"\r\r" + body
    yield "bare CR in the subject", WHOLE.replace(b"hello", b"he\rllo")
    yield "bare LF in the subject", WHOLE.replace(b"hello", b"he\nllo")
    yield "bare CR in the text", WHOLE.replace(b"plain\r\n--in", b"pl\rain\r\n--in")
    for place in (
        b"Subject",
        b"hello",
        b"multipart",
        b'"out"',
        b"preamble",
        b"caf",
        b"inner",
        b"R0lG",
    ):
        yield f"NUL in {place.decode()}", WHOLE.replace(place, place[:2] + b"\0" + place[2:])
        yield f"8-bit in {place.decode()}", WHOLE.replace(place, place[:2] + b"\xe9" + place[2:])
    yield "nothing but NUL", b"\0" * 1000
    yield "nothing but CR", b"\r" * 1000
    yield "nothing but LF", b"\n" * 1000
    yield "nothing but CRLF", b"\r\n" * 500
    yield "nothing but spaces", b" " * 1000
    yield "one octet", b"x"
    yield "one octet of eight bits", b"\xff"
    yield "only a header", TOP
    yield "only a header, last line not ended", TOP[:-2]
    yield "only a body", b"\r\nJust text.\r\n"
    yield "text without a header", b"Just text, and more of it.\r\nSecond line.\r\n"
    yield "an mbox", b"From fred Mon Feb  7 21:52:25 1994\r\n" + WHOLE
    yield "a byte order mark", b"\xef\xbb\xbf" + WHOLE
    yield "UTF-16", WHOLE.decode("ascii").encode("utf-16")
    yield "all octets", bytes(range(256)) * 4


def _boundaries() -> Iterator[tuple[str, bytes]]:
    parts = [b"\r\none", b"\r\ntwo"]
    for name, used, declared in (
        ("another", b"x", b"y"),
        ("none declared", b"x", b""),
        ("empty", b"", b'""'),
        ("spaces", b"a b", b'"a b"'),
        ("trailing space", b"b", b'"b "'),
        ("only spaces", b" ", b'" "'),
        ("unquoted with special characters", b"a=b/c", b"a=b/c"),
        ("too long", b"x" * 71, b"x" * 71),
        ("much too long", b"x" * 3000, b"x" * 3000),
        ("8-bit", b"\xe9", b"\xe9"),
        ("hyphens", b"--", b'"--"'),
        ("closing alike", b"b--", b'"b--"'),
        ("quotes", b'"b"', b'"\\"b\\""'),
        ("of RFC 2231", b"b c", b"x; boundary*=us-ascii''b%20c"),
        ("not closed", b"b", b'"b'),
        ("another case", b"B", b"b"),
        ("a prefix", b"bc", b"b"),
        ("NUL", b"\0", b'"\0"'),
    ):
        yield f"boundary: {name}", several(parts, used, declared)
    yield "boundary declared twice", several(parts, b"b", b"x; boundary=b")
    yield "no parts", one(b"multipart/mixed; boundary=b", b"")
    yield "no parts but a preamble", one(b"multipart/mixed; boundary=b", b"preamble\r\n")
    yield "closed only", one(b"multipart/mixed; boundary=b", b"--b--\r\n")
    yield "opened only", one(b"multipart/mixed; boundary=b", b"--b")
    yield "closed twice", several(parts) + b"--b--\r\n--b\r\n\r\nagain\r\n--b--\r\n"
    yield "boundaries side by side", one(b"multipart/mixed; boundary=b", b"--b\r\n" * 50)
    yield "blanks behind boundaries", several(parts).replace(b"--b\r\n", b"--b \t \r\n")
    yield "text behind boundaries", several(parts).replace(b"--b\r\n", b"--bx\r\n", 1)
    yield "space before boundaries", several(parts).replace(b"--b\r\n", b" --b\r\n", 1)
    inner = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--"
    yield "inner boundary of the same name", several([inner, b"\r\nafter"])
    yield "inner boundary a prefix", several([inner.replace(b"b\r", b"bb\r"), b"\r\nafter"])
    yield "the outer closes the inner", several([inner.replace(b"--b--", b""), b"\r\nafter"])
    yield (
        "boundary within a header",
        one(
            b"multipart/mixed; boundary=b",
            b"--b\r\nContent-Type: text/plain;\r\n--b\r\n\r\nx\r\n--b--",
        ),
    )
    ring = b"".join(
        b"--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n" % (n % 3, (n + 1) % 3)
        for n in range(60)
    )
    yield "boundaries in a ring", one(b"multipart/mixed; boundary=0", ring)
    for depth in (99, 100, 101, 1000):
        nest = b"".join(
            b"Content-Type: multipart/mixed; boundary=n%d\r\n\r\n--n%d\r\n" % (n, n)
            for n in range(depth)
        )
        yield f"{depth} multiparts in one another", TOP + nest + b"\r\ndeep\r\n"
        closed = b"".join(b"\r\n--n%d--\r\n" % n for n in reversed(range(depth)))
        yield f"{depth} multiparts in one another, closed", TOP + nest + b"\r\ndeep" + closed
        yield (
            f"{depth} messages in one another",
            TOP
            + b"Content-Type: message/rfc822\r\n\r\n" * depth
            + b"Subject: deep\r\n\r\ndeep\r\n",
        )
    yield "10,000 parts", several([b"\r\nx"] * 10_000)
    yield "10,001 empty parts", several([b""] * 10_001)


def _encodings() -> Iterator[tuple[str, bytes]]:
    good = b64encode(bytes(range(200)))
    for name, body in (
        ("cut", good[:51]),
        ("no padding", b"QUI"),
        ("padding within", b"QQ==QUJD"),
        ("only padding", b"===="),
        ("one character", b"Q"),
        ("junk", b"Q!U-I\xff=\0"),
        ("a line of 10,000", good * 40),
        ("spaces", b" ".join([good[n : n + 1] for n in range(60)])),
        ("empty", b""),
        ("not base64", b"<html>"),
        ("URL-safe", b"-_-_"),
        ("text behind", good + b"\r\n\r\n-- \r\nlist footer"),
    ):
        yield f"base64: {name}", one(b"image/gif", body, b"Content-Transfer-Encoding: base64\r\n")
    for name, body in (
        ("ends in =", b"a="),
        ("half an escape", b"a=4"),
        ("no hexadecimal", b"=G0=ZZ=-"),
        ("lower case", b"=c3=a9"),
        ("8-bit", b"\xe9=E9"),
        ("spaces at the end", b"a \t \r\nb=  \r\nc  "),
        ("NUL", b"=00\0"),
        ("a long line", b"x" * 100_000),
        ("equal signs", b"=" * 999),
        ("CR", b"=\ra=\r\nb\r"),
        ("controls", b"=01=7F\x01\x7f"),
        ("empty", b""),
    ):
        yield (
            f"quoted-printable: {name}",
            one(
                b"text/plain; charset=utf-8",
                body,
                b"Content-Transfer-Encoding: quoted-printable\r\n",
            ),
        )
    for encoding in (
        b"",
        b" ",
        b"x",
        b"base-64",
        b"8bit binary",
        b'"base64"',
        b"base64;",
        b"base64 (comment)",
        b"x-uuencode",
        b"\xe9",
        b"\0",
        b"binary",
        b"7bit\r\n base64",
        b"x" * 1000,
    ):
        yield (
            f"encoding {encoding!r}"[:60],
            one(
                b"text/plain", b"QUJD=41\0\xe9", b"Content-Transfer-Encoding: " + encoding + b"\r\n"
            ),
        )
    yield (
        "encoding twice",
        one(
            b"text/plain",
            b"QUJD",
            b"Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 7bit\r\n",
        ),
    )
    for kind in (b"multipart/mixed; boundary=b", b"message/rfc822"):
        yield (
            f"base64 of {kind.decode()}",
            one(
                kind,
                b64encode(b"--b\r\n\r\nx\r\n--b--"),
                b"Content-Transfer-Encoding: base64\r\n",
            ),
        )
    for charset in (b"", b"x", b"utf-16", b"utf-7", b'"', b"idna", b"rot13", b"\xe9", b"us-ascii"):
        yield (
            f"charset {charset!r}",
            one(b"text/plain; charset=" + charset, b"\xff\xfet\0e\0+AOk- caf\xe9"),
        )


def _headers() -> Iterator[tuple[str, bytes]]:
    end = b"\r\n\r\nText.\r\n"
    for name, field in (
        ("1 MB in one field", b"Subject: " + b"x" * 1_000_000),
        ("1 MB folded", b"Subject: " + b"x\r\n " * 250_000),
        ("1 MB of encoded words", b"Subject: " + b"=?utf-8?q?=C3=A9?= " * 50_000),
        ("10,000 fields", b"\r\n".join(b"X-%d: y" % n for n in range(10_000))),
        ("10,000 recipients", b"To: " + b", ".join(b"u%d@a.test" % n for n in range(10_000))),
        ("10,000 Received", b"\r\n".join([b"Received: x"] * 10_000)),
        ("1 MB of parentheses", b"From: " + b"(" * 500_000 + b")" * 500_000),
        ("1 MB of quotes", b"From: " + b'"' * 1_000_000),
        ("100,000 parameters", b"Content-Type: text/plain" + b"; a=b" * 100_000),
        ("100,000 references", b"References: " + b"<a@b> " * 100_000),
    ):
        yield name, field + end
    for name, field in (
        ("no colon", b"Subject hello"),
        ("space before the colon", b"Subject : hello"),
        ("empty name", b": x"),
        ("only a colon", b":"),
        ("begins folded", b" folded\r\nSubject: x"),
        ("8-bit name", b"Subj\xe9ct: x"),
        ("control characters", b"Subject: \x01\x02\x1b[31m\x7f"),
        ("empty folds", b"Subject: a\r\n \r\n \r\n b"),
        ("8-bit", b"Subject: \xe9\xff\r\nFrom: \xe9 <\xe9@\xe9>"),
        ("UTF-8", "Subject: é日\u202e".encode()),
        ("surrogates", b"Subject: \xed\xa0\x80"),
        ("fields twice", b"Subject: a\r\nSubject: b\r\nFrom: a@b\r\nFrom: c@d"),
        ("encoded word cut", b"Subject: =?utf-8?q?=C3"),
        ("encoded word of nothing", b"Subject: =?utf-8?b??="),
        ("unknown charset", b"Subject: =?foo?q?bar?="),
        ("unknown encoding", b"Subject: =?utf-8?x?bar?="),
        ("encoded NUL and CRLF", b"Subject: =?utf-8?q?=00=0D=0A=22=5C?="),
        ("bad base64", b"Subject: =?utf-8?b?Q!!?="),
        ("quotes and backslashes", b'Subject: "\\"\\\\"\r\nFrom: "a\\"b\\\\" <c@d>'),
        ("quote not closed", b'From: "Fred <fred@far.test>'),
        ("angle not closed", b"From: Fred <fred@far.test"),
        ("comment not closed", b"From: (fred fred@far.test"),
        ("nested comments", b"From: (((((a))))) b@c"),
        ("group not closed", b"To: friends: a@b, c@d"),
        ("groups in groups", b"To: a: b: c: d@e;;;"),
        ("empty addresses", b"To: ,,,;,<>,<@>,@,<>"),
        ("no domain", b"To: fred"),
        ("two at signs", b"To: a@b@c"),
        ("a route", b"From: <@x,@y:a@b>"),
        ("a literal", b"From: a@[IPv6:::1]"),
        ("a literal not closed", b"From: a@[1"),
        ("dots", b"From: .a..b.@..c."),
        ("undisclosed", b"To: undisclosed-recipients:;"),
        ("only spaces", b"To:   "),
        ("date of nonsense", b"Date: yesterday"),
        ("date out of range", b"Date: 99 Foo 99999 99:99:99 +9999"),
        ("date without a zone", b"Date: 7 Feb 94 1:2"),
        ("date empty", b"Date:"),
        ("date 8-bit", b"Date: \xe9"),
        ("message id of spaces", b"Message-ID: < a b >"),
        ("message id not closed", b"Message-ID: <a@b"),
        ("many references", b'References: <a><b>c d <e> <>\r\nIn-Reply-To: "x" <y>'),
        ("NIL", b"Subject: NIL\r\nFrom: NIL\r\nMessage-ID: NIL"),
        ("a literal's beginning", b"Subject: {5}\r\n x"),
        ("tagged", b"Subject: a1 OK done\r\nFrom: * 1 EXISTS"),
        ("parentheses", b"Subject: ) ( ) \r\nFrom: ) <a@b>"),
    ):
        yield f"header: {name}", field + end


def _types() -> Iterator[tuple[str, bytes]]:
    for kind in (
        b"",
        b"text",
        b"text/",
        b"/plain",
        b"/",
        b"text/plain/x",
        b"text plain",
        b"text/plain;",
        b"text/plain;;;",
        b"text/plain; charset",
        b"text/plain; =utf-8",
        b"text/plain; charset=;x",
        b'text/plain; name="a',
        b"TEXT/PLAIN",
        b"text/plain charset=utf-8",
        b"text/plain, text/html",
        b"(c) text (d) / (e) plain (f)",
        b"text/plain; a=b; a=c",
        b"\xe9/\xe9",
        b"text/\0",
        b"text/pl\rain",
        b"multipart/mixed",
        b"multipart/",
        b"multipart/report; boundary=b",
        b"message/rfc822",
        b"message/partial; id=x; number=1",
        b"message/external-body",
        b"message/global",
        b"message/x",
        b"application/" + b"x" * 1000,
        b"x" * 1000 + b"/y",
        b"text/plain; name=" + b"y" * 100_000,
        b'text/plain; name="\\"',
        b"text/plain; name*=utf-8''%E2%82%AC",
        b"text/plain; name*=utf-8''%",
        b"text/plain; name*=%ff",
        b"text/plain; name*=''",
        b"text/plain; name*0=a; name*2=c",
        b"text/plain; name*1=b; name*0=a",
        b"text/plain; name*0*=x'y; name*0=z",
        b"text/plain; name*99999999999=a",
        b"text/plain; name*=foo'bar'%41",
        b"text/plain; name**=a",
        b"text/plain; *=a",
        b"text/plain; name*0*=utf-8''%E2; name*1*=%82%AC",
        b"text/plain; name*00=a",
        b"text/plain; name=a; name*=utf-8''b",
        b"text/plain; name=NIL",
        b"NIL/NIL",
        b"text/plain; name={3}",
        b'text/plain; name="a\r\n b"',
        b"text/plain; name=\xe9",
    ):
        yield f"type {kind!r}"[:70], one(kind, b"--b\r\n\r\nx\r\n--b--\r\n")
    for value in (
        b"",
        b";",
        b"inline; ",
        b"attachment; filename",
        b'attachment; filename="',
        b"\xe9",
        b"x y z",
        b'"quoted"',
        b"attachment; filename*=utf-8''%E2%82%AC; filename=x",
        b"attachment; filename=a b c",
        b"attachment" * 500,
    ):
        more = b"Content-Disposition: " + value + b"\r\nContent-Language: " + value + b"\r\n"
        more += b"Content-ID: " + value + b"\r\nContent-Description: " + value + b"\r\n"
        more += b"Content-MD5: " + value + b"\r\nContent-Location: " + value + b"\r\n"
        yield f"disposition {value!r}"[:70], one(b"text/plain", b"x", more)


def _messages() -> Iterator[tuple[str, bytes]]:
    for name, inner in (
        ("empty", b""),
        ("only CRLF", b"\r\n"),
        ("only a header", b"Subject: x"),
        ("no header", b"\r\nbody"),
        ("text", b"text, no header\r\nmore\r\n"),
        ("LF", b"Subject: x\n\nbody\n"),
        ("CR", b"Subject: x\r\rbody"),
        ("itself", WHOLE),
        ("cut", WHOLE[:300]),
        ("8-bit", b"Subject: \xe9\r\n\r\n\xe9"),
        ("NUL", b"\0: \0\r\n\r\n\0"),
        ("a multipart without end", b"Content-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n"),
        ("a large header", b"X: " + b"y" * 300_000 + b"\r\n\r\nbody"),
    ):
        yield f"message/rfc822: {name}", one(b"message/rfc822", inner)
        part = b"Content-Type: message/rfc822\r\n\r\n" + inner
        yield f"message/rfc822 in a multipart: {name}", several([part, b"\r\nafter"])
    digest = several(
        [
            b"Subject: x\r\n\r\n1",
            b"",
            b"\r\nSubject: y\r\n\r\n2",
            b"Content-Type: text/plain\r\n\r\n3",
        ]
    )
    yield "a digest", digest.replace(b"multipart/mixed", b"multipart/digest")
    for first, second in product((b"multipart/mixed; boundary=b", b"message/rfc822"), repeat=2):
        yield (
            f"{first.decode()} in {second.decode()}",
            one(second, b"--b\r\nContent-Type: " + first + b"\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"),
        )


def _mutated() -> Iterator[tuple[str, bytes]]:
    random = Random(4)
    for number in range(100):
        data = bytearray(WHOLE)
        for _ in range(random.randrange(1, 12)):
            at = random.randrange(len(data))
            new = random.choice(
                (b"", b"\r\n", b"\n", b"\0", b"--out\r\n", b"\r\n\r\n", b'"', random.randbytes(2))
            )
            data[at : at + random.randrange(8)] = new
        yield f"mutation {number}", bytes(data)
