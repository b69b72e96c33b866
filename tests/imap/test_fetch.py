"""
FETCH (RFC 3501 §6.4.5, §7.4.2, RFC 9051 §6.4.5).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.client import parseFetch, splitResponses
from tests.imap.stepped import SteppedServer
from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.imap import fetch
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.records import SMALL_MESSAGE, Attribute, Placement
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage import memory
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.testing.faulty import Fault, FaultyStore


@dataclass
class Entity:
    """
    A message or part, put together from its pieces, so that a test knows where each section is.

    @ivar header: with the blank line at its end.
    @ivar body: of one that is neither multipart nor a message.
    """

    header: bytes
    body: bytes = b""
    boundary: bytes = b""
    children: list[Entity] = field(default_factory=list)
    message: Entity | None = None

    def render(self) -> bytes:
        """
        @return: its octets.
        """
        return self.header + self.content()

    def content(self) -> bytes:
        """
        @return: those of its body.
        """
        if self.message is not None:
            return self.message.render()
        if not self.boundary:
            return self.body
        parts = b"".join(b"\r\n--%b\r\n%b" % (self.boundary, c.render()) for c in self.children)
        return b"Preamble." + parts + b"\r\n--" + self.boundary + b"--\r\nEpilogue."

    def sections(self) -> dict[str, bytes]:
        """
        @return: all sections of this message, by their names (RFC 9051 §6.4.5.1).
        """
        found = {"": self.render(), "HEADER": self.header, "TEXT": self.content()}
        self._number("", found)
        return found

    def _number(self, prefix: str, found: dict[str, bytes]) -> None:
        parts = self.children if self.boundary else [self]
        for number, part in enumerate(parts, 1):
            path = f"{prefix}{number}"
            found[path] = part.content()
            found[path + ".MIME"] = part.header
            if part.message is not None:
                found[path + ".HEADER"] = part.message.header
                found[path + ".TEXT"] = part.message.content()
                part.message._number(path + ".", found)
            elif part.boundary:
                part._number(path + ".", found)


def part(mediaType: str, body: bytes, *fields: str) -> Entity:
    """
    @return: a part without parts.
    """
    lines = [f"Content-Type: {mediaType}", *fields, "", ""]
    return Entity("\r\n".join(lines).encode(), body)


def multipart(boundary: str, *children: Entity, header: str = "") -> Entity:
    """
    @return: a multipart of these.
    """
    lines = f"{header}Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n"
    return Entity(lines.encode(), boundary=boundary.encode(), children=list(children))


def enclosed(message: Entity) -> Entity:
    """
    @return: a message/rfc822 part.
    """
    return Entity(b"Content-Type: message/rfc822\r\n\r\n", message=message)


def textMessage(subject: str, body: bytes) -> Entity:
    """
    @return: a message of one text.
    """
    return Entity(f"Subject: {subject}\r\nTo: x@example.test\r\n\r\n".encode(), body)


#: The example of RFC 3501 §6.4.5, with a forwarded text behind it.
NESTED = multipart(
    "outer",
    part("TEXT/PLAIN", b"First part.\r\nSecond line.\r\n"),
    part("APPLICATION/OCTET-STREAM", bytes(range(1, 256)), "Content-Description: all octets"),
    enclosed(
        multipart(
            "three",
            part("TEXT/PLAIN", b"3.1"),
            part("APPLICATION/OCTET-STREAM", b"3.2 no end"),
            header="Subject: three\r\nFrom: a@example.test\r\n",
        )
    ),
    multipart(
        "four",
        part("IMAGE/GIF", b"GIF89a", "Content-ID: <image@example.test>"),
        enclosed(
            multipart(
                "fourtwo",
                part("TEXT/PLAIN", b""),
                multipart(
                    "alternative",
                    part("TEXT/PLAIN", b"4.2.2.1\r\n"),
                    part("TEXT/RICHTEXT", b"\xe9\x00\x01"),
                ),
                header="Subject: four two\r\n",
            )
        ),
    ),
    enclosed(textMessage("five", b"a text alone")),
    header="Subject: nested\r\nFrom: b@example.test\r\nX-Folded: one\r\n two\r\n",
)
MESSAGES = {
    "nested": NESTED,
    "text": textMessage("text", b"One line.\r\nAnother.\r\n"),
    "no final line end": textMessage("text", b"One line.\r\nAnother."),
    "no body": textMessage("nothing", b""),
    "bare line feeds": Entity(b"Subject: x\nTo: y@example.test\n\n", b"One.\nTwo.\n\nThree."),
    "bare returns": textMessage("returns", b"One.\rTwo.\r\r\n\n\r"),
    "empty header": Entity(b"\r\n", b"Only a body.\r\n"),
    "a message as a whole": enclosed(textMessage("inner", b"inside\r\n")),
    "octets": textMessage("octets", bytes(range(1, 256)) * 3),
}
#: Sections that none of these messages has.
MISSING = (
    *("1.1.1", "9", "2.HEADER", "1.TEXT", "4.HEADER", "4.TEXT", "4.9", "3.3", "5.2", "3.1.1"),
    *("4294967295", "1.2.3.4.5.6.7.8.9", "2.MIME.9"),
)
PARTIALS = ((0, 1), (0, 5), (3, 4), (0, 100_000), (7, 100_000), (100_000, 10), (4294967296, 1))


class FetchTestCase(SynchronousTestCase):
    """
    A server, and what it sends as values.
    """

    def setUp(self) -> None:
        """Start it."""
        self.server = Server()

    def fetched(self, session: Conversation, command: str) -> dict[str, Any]:
        """
        @return: the items of the one FETCH response to a command.
        """
        responses = splitResponses(session.send(f"a {command}\r\n".encode()))
        self.assertEqual(len(responses), 2, responses)
        self.assertRegex(responses[1], rb"\Aa OK ")
        return parseFetch(responses[0])[1]

    def flags(self) -> dict[int, str]:
        """
        @return: the stored flags by UID.
        """
        inbox = now(self.server.account.openMailbox("INBOX"))
        rows = now(inbox.fetch(NumberSet([(1, 99)]), (Attribute.FLAGS,)))
        return {uid: " ".join(sorted(flags)) for uid, flags in rows}

    def expunge(self, uids: str) -> None:
        """
        Expunge messages of INBOX from outside.
        """
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.expunge(NumberSet.parse(uids.encode()), onlyDeleted=False))


class ItemTests(FetchTestCase):
    """
    The items that are no sections.
    """

    def test_example(self) -> None:
        """
        The RFC's example of a FETCH FULL (RFC 3501 §8), with our message.
        """
        self.server.deliver(flags=["\\Seen"], date=837596665, zone=-420)
        session = self.server.select()
        session.check(r"""
            C: a003 fetch 1 full
            S: * 1 FETCH (FLAGS (\Recent \Seen) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 326 ENVELOPE ("Mon, 7 Feb 1994 21:52:25 -0800 (PST)" "afternoon meeting" (("Fred Foobar" NIL "foobar" "Blurdybloop.example")) (("Fred Foobar" NIL "foobar" "Blurdybloop.example")) (("Fred Foobar" NIL "foobar" "Blurdybloop.example")) ((NIL NIL "mooch" "owatagu.siam.edu.example")) NIL NIL NIL "<B27397-0100000@Blurdybloop.example>") BODY ("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7bit" 55 1))
            S: a003 OK FETCH completed
        """)  # noqa: E501

    def test_macros(self) -> None:
        """
        ALL, FAST and FULL are what RFC 3501 §6.4.5 says.
        """
        self.server.deliver()
        session = self.server.select()
        for macro, items in (
            ("ALL", ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"]),
            ("fast", ["FLAGS", "INTERNALDATE", "RFC822.SIZE"]),
            ("Full", ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"]),
        ):
            self.assertEqual(list(self.fetched(session, f"FETCH 1 {macro}")), items)
            self.assertEqual(list(self.fetched(session, f"UID FETCH 1 {macro}")), ["UID", *items])

    def test_single(self) -> None:
        """
        Each item alone, with and without parentheses, in any case.
        """
        self.server.deliver()
        session = self.server.select()
        for item in (
            "BODY",
            "BODYSTRUCTURE",
            "ENVELOPE",
            "FLAGS",
            "INTERNALDATE",
            "RFC822",
            "RFC822.HEADER",
            "RFC822.SIZE",
            "RFC822.TEXT",
            "UID",
            "BODY[]",
            "BODY[HEADER]",
            "BODY[1.MIME]",
        ):
            alone = self.fetched(session, f"FETCH 1 {item}")
            self.assertIn(item, alone)
            # The first text sets \Seen.
            self.assertEqual(set(alone) - {item, "FLAGS"}, set())
            self.assertEqual(self.fetched(session, f"FETCH 1 ({item.lower()})")[item], alone[item])

    def test_order(self) -> None:
        """
        Several items come in one response for each message, the messages in their order, whatever
        the order and the repetitions in the set.
        """
        for _ in range(3):
            self.server.deliver()
        session = self.server.select()
        session.check("""
            C: a FETCH 3,1:2,*,2 (RFC822.SIZE UID)
            S: * 1 FETCH (UID 1 RFC822.SIZE 326)
            S: * 2 FETCH (UID 2 RFC822.SIZE 326)
            S: * 3 FETCH (UID 3 RFC822.SIZE 326)
            S: a OK FETCH completed
        """)

    def test_repetitions(self) -> None:
        """
        An item asked for twice comes once, BODY[] and BODY.PEEK[] too: then C{\\Seen} is set.
        """
        self.server.deliver()
        session = self.server.select()
        self.assertEqual(
            list(self.fetched(session, "FETCH 1 (UID FLAGS FLAGS RFC822.SIZE UID RFC822.SIZE)")),
            ["UID", "FLAGS", "RFC822.SIZE"],
        )
        items = self.fetched(session, "FETCH 1 (BODY.PEEK[TEXT] BODY[text] BODY.PEEK[TEXT]<0.3>)")
        self.assertEqual(set(items), {"FLAGS", "BODY[TEXT]", "BODY[TEXT]<0>"})
        self.assertEqual(self.flags(), {1: "\\Seen"})

    def test_uid(self) -> None:
        """
        UID FETCH tells the UID, asked for or not; UIDs that nobody has are ignored (RFC 3501
        §6.4.8).
        """
        for _ in range(3):
            self.server.deliver()
        self.expunge("2")
        session = self.server.select()
        session.check(r"""
            C: a UID FETCH 1:* FLAGS
            S: * 1 FETCH (UID 1 FLAGS (\Recent))
            S: * 2 FETCH (UID 3 FLAGS (\Recent))
            S: a OK UID FETCH completed
            C: b UID FETCH 3 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 3 RFC822.SIZE 326)
            S: b OK UID FETCH completed
            C: c UID FETCH 2,77 RFC822.SIZE
            S: c OK UID FETCH completed
            C: d UID FETCH 100:* UID
            S: * 2 FETCH (UID 3)
            S: d OK UID FETCH completed
        """)

    def test_emptyMailbox(self) -> None:
        """
        In an empty mailbox no sequence number exists; a set of UIDs is just empty.
        """
        session = self.server.select()
        session.check("""
            C: a FETCH 1:* FLAGS
            S: a BAD No such message
            C: b FETCH * FLAGS
            S: b BAD No such message
            C: c UID FETCH 1:* FLAGS
            S: c OK UID FETCH completed
        """)

    def test_beyondTheEnd(self) -> None:
        """
        A sequence number beyond the last message is an error, nothing is sent for the others.
        """
        self.server.deliver()
        session = self.server.select()
        session.check("""
            C: a FETCH 1:2 FLAGS
            S: a BAD No such message
            C: b FETCH 2:* FLAGS
            S: b BAD No such message
        """)

    def test_internalDate(self) -> None:
        """
        INTERNALDATE is the one given, in the zone given, its day two characters (RFC 9051 §9,
        date-day-fixed).
        """
        self.server.deliver(date=-1, zone=-90)
        self.server.deliver(date=951782400, zone=330)
        session = self.server.select()
        session.check("""
            C: a FETCH 1:2 INTERNALDATE
            S: * 1 FETCH (INTERNALDATE "31-Dec-1969 22:29:59 -0130")
            S: * 2 FETCH (INTERNALDATE "29-Feb-2000 05:30:00 +0530")
            S: a OK FETCH completed
        """)

    def test_recent(self) -> None:
        """
        C{\\Recent} is told with FLAGS to the session that has it, and to no later one (RFC 3501
        §2.3.2).
        """
        self.server.deliver()
        first = self.server.select()
        first.check(r"""
            C: a FETCH 1 FLAGS
            S: * 1 FETCH (FLAGS (\Recent))
            S: a OK FETCH completed
            C: b FETCH 1 (FLAGS RFC822.SIZE)
            S: * 1 FETCH (FLAGS (\Recent) RFC822.SIZE 326)
            S: b OK FETCH completed
        """)
        self.server.select().check(r"""
            C: a FETCH 1 (FLAGS RFC822.SIZE)
            S: * 1 FETCH (FLAGS () RFC822.SIZE 326)
            S: a OK FETCH completed
        """)

    def test_malformed(self) -> None:
        """
        What isn't in the grammar, unknown items included, is BAD; nothing is sent, and C{\\Seen} is
        not set.
        """
        self.server.deliver()
        session = self.server.select()
        for text in (
            "FETCH",
            "FETCH 1",
            "FETCH 1 ",
            "FETCH FLAGS",
            "FETCH 1 ()",
            "FETCH 1 (FLAGS",
            "FETCH 1 FLAGS)",
            "FETCH 1 FLAGS UID",
            "FETCH 1 (FLAGS  UID)",
            "FETCH 1 (FLAGS )",
            "FETCH 1 ( FLAGS)",
            "FETCH 1 ((FLAGS))",
            "FETCH 1 (ALL)",
            "FETCH 1 (FLAGS FAST)",
            "FETCH 1 ALL FLAGS",
            "FETCH 1 FLAG",
            "FETCH 1 FLAGSX",
            "FETCH 1 NOSUCHITEM",
            "FETCH 1 RFC822.PEEK",
            "FETCH 1 BODY.PEEK",
            "FETCH 1 BODY[",
            "FETCH 1 BODY[]]",
            "FETCH 1 BODY[NOSUCH]",
            "FETCH 1 BODY[HEADERS]",
            "FETCH 1 BODY[HEADER.FIELDS]",
            "FETCH 1 BODY[HEADER.FIELDS ()]",
            "FETCH 1 BODY[HEADER.FIELDS(TO)]",
            "FETCH 1 BODY[HEADER.FIELDS (TO]",
            "FETCH 1 BODY[HEADER.FIELDS (TO )]",
            "FETCH 1 BODY[HEADER.FIELDS TO]",
            "FETCH 1 BODY[HEADER (TO)]",
            "FETCH 1 BODY[HEADER.NOT (TO)]",
            "FETCH 1 BODY[MIME]",
            "FETCH 1 BODY[0]",
            "FETCH 1 BODY[01]",
            "FETCH 1 BODY[1.]",
            "FETCH 1 BODY[.1]",
            "FETCH 1 BODY[1..2]",
            "FETCH 1 BODY[1TEXT]",
            "FETCH 1 BODY[TEXT.1]",
            "FETCH 1 BODY[1 ]",
            "FETCH 1 BODY[-1]",
            "FETCH 1 BODY[]<0>",
            "FETCH 1 BODY[]<0.0>",
            "FETCH 1 BODY[]<.5>",
            "FETCH 1 BODY[]<1.>",
            "FETCH 1 BODY[]<-1.5>",
            "FETCH 1 BODY[]<1.5",
            "FETCH 1 BODY[]<1.99999999999999999999>",
            "FETCH 1 BODY[] <1.5>",
            "FETCH 1 RFC822<0.5>",
            "FETCH 1 BODYSTRUCTURE[]",
            "FETCH 1 FLAGS[]",
            "FETCH 1 BODY[" + "1." * 300 + "1]",
            "FETCH 1 (BODY[TEXT] NOSUCHITEM)",
        ):
            for command in (text, "UID " + text):
                answer = session.send(f"a {command}\r\n".encode())
                self.assertTrue(answer.startswith(b"a BAD "), (command, answer))
                self.assertEqual(answer.count(b"\r\n"), 1, answer)
        self.assertEqual(self.flags(), {1: ""})


class SectionTests(FetchTestCase):
    """
    Sections: each kind of message, each of its sections whole and in part, through memory and
    through the stream that large messages take. All must give the same octets.
    """

    def matrix(self, start: Callable[[], Server] = Server) -> None:
        """
        Ask for everything.
        """
        for name, message in MESSAGES.items():
            self.server = start()
            for prefix in (b"", b"Return-Path: <a@b.test>\r\nDelivered-To: c@example.test\r\n"):
                self.deliver(message.render(), prefix)
                whole = Entity(prefix + message.header, *list(vars(message).values())[1:])
                self.check(name, whole)

    def deliver(self, data: bytes, prefix: bytes) -> None:
        """
        Deliver as from outside, with fields put in front of a shared content.
        """
        writer = self.server.store.newContent()
        writer.write(data)
        staged = now(writer.finish())
        account = cast(Any, self.server.account).accountId
        placement = Placement(account, "INBOX", prefix)
        now(self.server.store.deliver(staged, [placement], 0))

    def check(self, name: str, message: Entity) -> None:
        """
        All sections of the last message.
        """
        session = self.server.select()
        # NULs can't be in a string (RFC 9051 §4.3.1); BINARY tells them.
        sections = {
            section: data.replace(b"\0", b"\x80") for section, data in message.sections().items()
        }
        size = self.fetched(session, "FETCH * RFC822.SIZE")["RFC822.SIZE"]
        self.assertEqual(size, len(sections[""]), name)
        for section, expected in sections.items():
            what = f"BODY[{section}]"
            items = self.fetched(session, f"FETCH * BODY.PEEK[{section.lower()}]")
            self.assertEqual(items, {what: expected}, name)
            for first, count in PARTIALS:
                items = self.fetched(session, f"FETCH * BODY.PEEK[{section}]<{first}.{count}>")
                cut = expected[first : first + count]
                self.assertEqual(items, {f"{what}<{first}>": cut}, (name, first, count))
        everything = " ".join(f"BODY.PEEK[{section}]" for section in sections)
        self.assertEqual(
            self.fetched(session, f"UID FETCH * ({everything} RFC822.SIZE)"),
            {
                "UID": self.fetched(session, "FETCH * UID")["UID"],
                "RFC822.SIZE": size,
                **{f"BODY[{section}]": octets for section, octets in sections.items()},
            },
        )
        self.assertEqual(
            self.fetched(session, "FETCH * (RFC822.HEADER RFC822 RFC822.TEXT FLAGS)"),
            {
                "FLAGS": ["\\Recent", "\\Seen"],
                "RFC822": sections[""],
                "RFC822.HEADER": sections["HEADER"],
                "RFC822.TEXT": sections["TEXT"],
            },
        )
        for section in set(MISSING) - set(sections):
            if section.endswith("9") and "MIME" in section:
                continue
            items = self.fetched(session, f"FETCH * (BODY[{section}] BODY[{section}]<3.5>)")
            self.assertEqual(
                items, {f"BODY[{section}]": None, f"BODY[{section}]<3>": None}, (name, section)
            )

    def test_inMemory(self) -> None:
        """
        Small messages.
        """
        self.matrix()

    def test_streamed(self) -> None:
        """
        As if all messages were large, in windows of a few octets.
        """
        self.patch(memory, "SMALL_MESSAGE", -1)
        self.patch(fetch, "WINDOW", 50)
        self.matrix()

    def test_onlyTheHeaderIsSmall(self) -> None:
        """
        Small headers of large messages.
        """
        self.patch(memory, "SMALL_MESSAGE", max(len(m.header) for m in MESSAGES.values()) + 60)
        self.matrix()

    def test_sqlStore(self) -> None:
        """
        Out of the SQL store.
        """
        self.patch(sys.modules[__name__], "PARTIALS", PARTIALS[2:3])

        def start() -> Server:
            server = SteppedServer(self.mktemp())
            self.addCleanup(lambda: now(server.store.stop()))
            return server

        self.matrix(start)

    def test_large(self) -> None:
        """
        A message that really is large comes octet for octet, whole, in part and at its very end.
        """
        line = bytes(range(32, 127)) + b"\r\n"
        message = textMessage("large", line * (3 * SMALL_MESSAGE // len(line)) + b"the end")
        self.server.deliver(message.render())
        session = self.server.select()
        whole = message.render()
        far = SMALL_MESSAGE - 1
        for item, expected in (
            ("BODY.PEEK[]", whole),
            ("BODY.PEEK[TEXT]", message.body),
            ("BODY.PEEK[1]", message.body),
            ("BODY.PEEK[HEADER]", message.header),
            (f"BODY.PEEK[]<{far}.{SMALL_MESSAGE}>", whole[far : far + SMALL_MESSAGE]),
            (f"BODY.PEEK[]<{len(whole) - 3}.10>", b"end"),
            (f"BODY.PEEK[]<{len(whole)}.10>", b""),
        ):
            (value,) = self.fetched(session, f"FETCH 1 {item}").values()
            self.assertTrue(value == expected, item)


class HeaderFieldsTests(FetchTestCase):
    """
    HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 9051 §6.4.5.1).
    """

    HEADER = (
        b"Subject: one\r\n"
        b"X-Long: folded\r\n\tline\r\n  and line\r\n"
        b"received: first\r\n"
        b"To : with space\r\n"
        b"Received: second\r\n"
        b"no field at all\r\n"
        b"X-8bit: \xe4\xf6\xfc\r\n"
        b"\r\n"
    )

    def check(self) -> None:
        """
        Each way to ask.
        """
        inner = Entity(self.HEADER, b"inner")
        outer = multipart("b", enclosed(inner), header="From: outer@example.test\r\n")
        self.server.deliver(Entity(self.HEADER, b"body").render())
        self.server.deliver(outer.render())
        session = self.server.select()
        received = b"received: first\r\nReceived: second\r\n\r\n"
        for names, label, expected in (
            ("SUBJECT", "SUBJECT", b"Subject: one\r\n\r\n"),
            ("Received", "RECEIVED", received),
            ("x-long", "X-LONG", b"X-Long: folded\r\n\tline\r\n  and line\r\n\r\n"),
            # In the message's order, not that of the question.
            ("received SUBJECT", "RECEIVED SUBJECT", b"Subject: one\r\n" + received),
            ("subject subject", "SUBJECT SUBJECT", b"Subject: one\r\n\r\n"),
            ('"subject"', "SUBJECT", b"Subject: one\r\n\r\n"),
            ("to", "TO", b"To : with space\r\n\r\n"),
            ("x-8bit", "X-8BIT", b"X-8bit: \xe4\xf6\xfc\r\n\r\n"),
            ("absent", "ABSENT", b"\r\n"),
            ('""', '""', b"\r\n"),
            ('"sub ject"', '"SUB JECT"', b"\r\n"),
            ('"a\\"b"', '"A\\"B"', b"\r\n"),
            ("nil", '"NIL"', b"\r\n"),
            ("subj*", None, b""),
            ("]", '"]"', b"\r\n"),
        ):
            for number, section in ((1, ""), (2, "1.")):
                command = f"FETCH {number} BODY.PEEK[{section}HEADER.FIELDS ({names})]"
                if label is None:
                    self.assertIn(b"a BAD ", session.send(f"a {command}\r\n".encode()))
                    continue
                items = self.fetched(session, command)
                what = f"BODY[{section}HEADER.FIELDS ({label})]"
                self.assertEqual(items, {what: expected}, command)
                items = self.fetched(session, command + "<2.9>")
                self.assertEqual(items, {what + "<2>": expected[2:11]}, command)
        rest = self.HEADER.replace(b"Subject: one\r\n", b"").replace(b"To : with space\r\n", b"")
        for number, section in ((1, ""), (2, "1.")):
            what = f"BODY[{section}HEADER.FIELDS.NOT (SUBJECT TO ABSENT)]"
            command = f"FETCH {number} BODY.PEEK[{section}header.fields.not (subject To absent)]"
            self.assertEqual(self.fetched(session, command), {what: rest})

    def test_inMemory(self) -> None:
        """
        Fields come as stored, folds included, in the message's order, with a blank line behind
        them; names in any case and form.
        """
        self.check()

    def test_streamed(self) -> None:
        """
        The same of large messages.
        """
        self.patch(memory, "SMALL_MESSAGE", -1)
        self.check()

    def test_literalName(self) -> None:
        """
        A name may be a literal, as any astring; the response writes it as it can.
        """
        self.server.deliver()
        session = self.server.select()
        session.send(b"a FETCH 1 BODY.PEEK[HEADER.FIELDS ({7}\r\n")
        responses = splitResponses(session.send(b"Subject {2+}\r\n\xff\n)]\r\n"))
        self.assertEqual(
            responses[0],
            b"* 1 FETCH (BODY[HEADER.FIELDS (SUBJECT {2}\r\n\xff\n)] {30}\r\n"
            b"Subject: afternoon meeting\r\n\r\n)",
        )

    def test_noBlankLine(self) -> None:
        """
        A header without an end is given with one (RFC 9051 §6.4.5.1: the blank line is always
        there), so that fields can't run into what follows.
        """
        self.server.deliver(b"Subject: cut off")
        session = self.server.select()
        for what in ("BODY[HEADER.FIELDS (SUBJECT)]", "BODY[HEADER.FIELDS.NOT (TO)]"):
            items = self.fetched(session, f"FETCH 1 ({what} RFC822.SIZE FLAGS)")
            self.assertEqual(items[what], b"Subject: cut off\r\n\r\n")
        self.assertEqual(
            self.fetched(session, "FETCH 1 BODY[HEADER]"), {"BODY[HEADER]": b"Subject: cut off"}
        )


class SeenTests(FetchTestCase):
    """
    C{\\Seen} (RFC 3501 §6.4.5, §7.4.2).
    """

    def test_whichSetIt(self) -> None:
        """
        BODY[...], RFC822 and RFC822.TEXT set it and tell the flags; BODY.PEEK[...], RFC822.HEADER
        and everything else don't.
        """
        for item, sets in (
            ("BODY[]", True),
            ("BODY[]<0.1>", True),
            ("BODY[TEXT]", True),
            ("BODY[HEADER]", True),
            ("BODY[HEADER.FIELDS (TO)]", True),
            ("BODY[1]", True),
            ("BODY[1.MIME]", True),
            ("BODY[77]", True),
            ("RFC822", True),
            ("RFC822.TEXT", True),
            ("(UID BODY.PEEK[HEADER] BODY[TEXT])", True),
            ("BODY.PEEK[]", False),
            ("BODY.PEEK[HEADER.FIELDS (TO)]", False),
            ("RFC822.HEADER", False),
            ("BODY", False),
            ("FULL", False),
            ("(BODYSTRUCTURE RFC822.SIZE)", False),
        ):
            self.server = Server()
            self.server.deliver(flags=["\\Flagged"])
            session = self.server.select()
            items = self.fetched(session, f"FETCH 1 {item}")
            self.assertEqual(self.flags()[1], "\\Flagged \\Seen" if sets else "\\Flagged", item)
            if sets:
                self.assertEqual(items["FLAGS"], ["\\Recent", "\\Flagged", "\\Seen"], item)
                # Told once: it is no news later, nor a second time.
                self.assertEqual(session.send(b"a NOOP\r\n"), b"a OK NOOP completed\r\n")
                self.assertNotIn("FLAGS", self.fetched(session, f"FETCH 1 {item}"))

    def test_readOnly(self) -> None:
        """
        EXAMINE: nothing sets it, and nothing is told.
        """
        self.server.deliver()
        session = self.server.select(command="EXAMINE")
        for item in ("BODY[]", "RFC822", "RFC822.TEXT", "BODY[1]"):
            self.assertEqual(list(self.fetched(session, f"FETCH 1 {item}")), [item])
        self.assertEqual(self.flags(), {1: ""})

    def test_toldToOthers(self) -> None:
        """
        Other sessions are told.
        """
        self.server.deliver()
        session = self.server.select()
        other = self.server.select()
        session.send(b"a FETCH 1 BODY[]\r\n")
        other.check(r"""
            C: a NOOP
            S: * 1 FETCH (FLAGS (\Seen))
            S: a OK NOOP completed
        """)

    def test_takenAwayByOthers(self) -> None:
        """
        A message that another session marked unread a moment before is seen again: what the client
        was last told doesn't count.
        """
        self.server.deliver(flags=["\\Seen"])
        session = self.server.select()
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.storeFlags(NumberSet([(1, 1)]), FlagOperation.REMOVE, frozenset(["\\Seen"])))
        session.send(b"a FETCH 1 BODY[TEXT]\r\n")
        self.assertEqual(self.flags(), {1: "\\Seen"})

    def test_onlyWhatIsSent(self) -> None:
        """
        Messages of which nothing was sent, since they are gone, stop nothing.
        """
        for _ in range(3):
            self.server.deliver()
        session = self.server.select()
        self.expunge("2")
        responses = splitResponses(session.send(b"a FETCH 1:3 BODY[HEADER.FIELDS (TO)]\r\n"))
        self.assertEqual([parseFetch(each)[0] for each in responses[:2]], [1, 3])
        self.assertEqual(
            responses[2:], [b"a NO [EXPUNGEISSUED] Some of the messages were expunged"]
        )
        self.assertEqual(self.flags(), {1: "\\Seen", 3: "\\Seen"})


class ExpungedTests(FetchTestCase):
    """
    FETCH of messages that another session expunges (RFC 2180 §4.1).
    """

    def setUp(self) -> None:
        """Start a server with three messages."""
        super().setUp()
        for _ in range(3):
            self.server.deliver()

    def test_before(self) -> None:
        """
        What is left is sent, then NO (RFC 2180 §4.1.2); the EXPUNGE waits for a command that allows
        it (RFC 3501 §7.4.1), and numbers don't move until then.
        """
        session = self.server.select()
        self.expunge("2")
        session.check("""
            C: a FETCH 1:3 RFC822.SIZE
            S: * 1 FETCH (RFC822.SIZE 326)
            S: * 3 FETCH (RFC822.SIZE 326)
            S: a NO [EXPUNGEISSUED] Some of the messages were expunged
            C: b FETCH 2 ENVELOPE
            S: b NO [EXPUNGEISSUED] Some of the messages were expunged
            C: c FETCH 3 UID
            S: * 3 FETCH (UID 3)
            S: c OK FETCH completed
            C: d NOOP
            S: * 2 EXPUNGE
            S: d OK NOOP completed
            C: e FETCH 2 UID
            S: * 2 FETCH (UID 3)
            S: e OK FETCH completed
        """)

    def test_byUID(self) -> None:
        """
        UID FETCH ignores a UID that nobody has any more, and tells the EXPUNGE behind its
        responses.
        """
        session = self.server.select()
        self.expunge("2")
        session.check("""
            C: a UID FETCH 1:3 RFC822.SIZE
            S: * 1 FETCH (UID 1 RFC822.SIZE 326)
            S: * 3 FETCH (UID 3 RFC822.SIZE 326)
            S: * 2 EXPUNGE
            S: a OK UID FETCH completed
        """)

    def onSend(self, session: Conversation, action: Callable[[], None]) -> None:
        """
        Do something when the server first sends anything.
        """
        send = session.wire.send

        def hook(data: bytes) -> None:
            send(data)
            session.wire.send = send  # type: ignore[method-assign]
            action()

        session.wire.send = hook  # type: ignore[method-assign]

    def test_betweenSlices(self) -> None:
        """
        A message that goes while others are being sent is left out.
        """
        self.patch(fetch, "METADATA_SLICE", 1)
        fetch.compileItems.cache_clear()
        self.addCleanup(fetch.compileItems.cache_clear)
        session = self.server.select()
        self.onSend(session, lambda: self.expunge("2"))
        session.check("""
            C: a FETCH 1:3 RFC822.SIZE
            S: * 1 FETCH (RFC822.SIZE 326)
            S: * 3 FETCH (RFC822.SIZE 326)
            S: a NO [EXPUNGEISSUED] Some of the messages were expunged
        """)

    def test_largeBeforeItIsOpened(self) -> None:
        """
        The same for a large message, which is opened after the others of its batch were read.
        """
        self.patch(memory, "SMALL_MESSAGE", len(MESSAGE))
        self.server.deliver(MESSAGE + b"more\r\n")
        session = self.server.select()
        inbox = type(now(self.server.account.openMailbox("INBOX")))
        opened = inbox.openMessage

        async def openMessage(mailbox: Any, uid: int) -> Any:
            self.expunge("4")
            return await opened(mailbox, uid)

        self.patch(inbox, "openMessage", openMessage)
        responses = splitResponses(session.send(b"a FETCH 3:4 BODY[TEXT]\r\n"))
        self.assertEqual(parseFetch(responses[0])[0], 3)
        self.assertEqual(
            responses[1:], [b"a NO [EXPUNGEISSUED] Some of the messages were expunged"]
        )

    def test_inTheMiddleOfABody(self) -> None:
        """
        A message whose octets are gone while they are sent: they were promised, so nothing else can
        be sent instead, and the connection is closed.
        """
        server = SteppedServer(self.mktemp())
        self.server = server
        large = MESSAGE + b"x" * 2 * SMALL_MESSAGE + b"\r\n"
        server.deliver(large)
        session = server.select()
        self.onSend(session, lambda: self.expunge("1"))
        answer = session.send(b"a FETCH 1 BODY.PEEK[]\r\n")
        start = b"* 1 FETCH (BODY[] {%d}\r\n" % len(large)
        self.assertTrue(answer.startswith(start + large[: fetch.WINDOW]))
        self.assertLess(len(answer), len(start) + len(large))
        self.assertTrue(session.wire.lost)
        self.assertTrue(session.finished)

    def test_inTheMiddleOfABodyThatStays(self) -> None:
        """
        Where the store keeps the octets for who reads them, they are sent to the end.
        """
        large = MESSAGE + b"x" * 2 * SMALL_MESSAGE + b"\r\n"
        self.server.deliver(large)
        session = self.server.select()
        self.onSend(session, lambda: self.expunge("4"))
        responses = splitResponses(session.send(b"a UID FETCH 4 BODY.PEEK[]\r\n"))
        self.assertTrue(parseFetch(responses[0])[1]["BODY[]"] == large)
        self.assertEqual(responses[1:], [b"* 4 EXPUNGE", b"a OK UID FETCH completed"])


class FailingStoreTests(FetchTestCase):
    """
    A store that fails while FETCH sends.
    """

    def start(self, *messages: bytes) -> tuple[Conversation, FaultyStore]:
        """
        @return: a session over a store that may fail.
        """
        store = FaultyStore(memory.MemoryMailStore())
        self.server = Server(store=cast(IMailStore, store))
        for data in messages:
            self.server.deliver(data)
        session = self.server.select()
        self.server.account = cast(Any, self.server.account).wrapped
        store.calls.clear()
        return session, store

    def test_flagsAreTold(self) -> None:
        """
        If a large message can't be opened after its C{\\Seen} was stored, the answer is NO, and the
        flags are told all the same.
        """
        large = MESSAGE + b"x" * SMALL_MESSAGE
        session, store = self.start(MESSAGE, large, MESSAGE)
        store.failAt(3, TemporaryFailure)
        answer = splitResponses(session.send(b"a FETCH 1:3 BODY[]\r\n"))
        self.assertEqual(store.calls[2], "IMailbox.openMessage")
        self.assertEqual(parseFetch(answer[0])[1]["BODY[]"], MESSAGE)
        self.assertEqual(
            answer[1:],
            [
                rb"* 2 FETCH (FLAGS (\Recent \Seen))",
                rb"* 3 FETCH (FLAGS (\Recent \Seen))",
                b"a NO [UNAVAILABLE] Temporary failure, try again later",
            ],
        )

    def test_readFails(self) -> None:
        """
        If it can't be read to its end, the connection is closed rather than something else sent in
        place of octets that were promised.
        """
        large = MESSAGE + b"x" * 2 * SMALL_MESSAGE
        session, store = self.start(large)
        store.failAt(4, TemporaryFailure)
        answer = session.send(b"a FETCH 1 BODY.PEEK[]\r\n")
        self.assertEqual(store.calls[-2:], ["IMessageContent.read"] * 2)
        self.assertTrue(answer.endswith(b"}\r\n" + large[: fetch.WINDOW]))
        self.assertTrue(session.wire.lost)

    def test_firstReadFails(self) -> None:
        """
        If nothing of it can be read, the answer is NO and the session goes on; the flags are told.
        """
        large = MESSAGE + b"x" * 2 * SMALL_MESSAGE
        session, store = self.start(large)
        store.failAt(4, TemporaryFailure)
        session.check(r"""
            C: b FETCH 1 BODY[TEXT]
            S: * 1 FETCH (FLAGS (\Recent \Seen))
            S: b NO [UNAVAILABLE] Temporary failure, try again later
            C: c NOOP
            S: c OK NOOP completed
        """)
        self.assertEqual(store.calls[3], "IMessageContent.read")

    def test_defect(self) -> None:
        """
        The same for an error that should never be; it is logged.
        """
        large = MESSAGE + b"x" * 2 * SMALL_MESSAGE
        session, store = self.start(large)
        store.failAt(3)
        answer = session.send(b"a FETCH 1 BODY.PEEK[TEXT]\r\n")
        self.assertEqual(answer, b"a NO [SERVERBUG] internal error, try later\r\n")
        store.failAt(4)
        answer = session.send(b"b FETCH 1 BODY.PEEK[TEXT]\r\n")
        self.assertNotIn(b"b NO", answer)
        self.assertTrue(session.wire.lost)
        self.assertEqual(len(self.flushLoggedErrors(Fault)), 2)


class DamagedTests(FetchTestCase):
    """
    Messages of the SQL store whose octets are gone from the disk.
    """

    def setUp(self) -> None:
        """Damage a small message, and two large ones: at the beginning and further on."""
        super().setUp()
        self.server = server = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(server.store.stop()))
        large = MESSAGE + b"x" * 4 * SMALL_MESSAGE
        for data in (MESSAGE, MESSAGE, large, MESSAGE, large):
            server.deliver(data)
        execute = server.store.writer.connection.execute
        pieces = [piece for (piece,) in execute("SELECT piece FROM chunk ORDER BY piece")]
        size = len(pieces) // 2 - 1
        # 1, 2, the first large one, 4, the second large one.
        for at in (1, 2, 3 + size + 2):
            execute("DELETE FROM chunk WHERE piece = ?", (pieces[at],))
        self.session = server.select()

    def test_others(self) -> None:
        r"""
        They don't hide the others: those are sent, and then the answer is NO; C{\Seen} that was
        set is told.
        """
        responses = splitResponses(self.session.send(b"a FETCH 1:4 BODY[]\r\n"))
        found = [parseFetch(each) for each in responses[:-1]]
        self.assertEqual([number for number, items in found if "BODY[]" in items], [1, 4])
        self.assertEqual(
            sorted(number for number, items in found if "FLAGS" in items), [1, 2, 3, 4]
        )
        self.assertTrue(responses[-1].startswith(b"a NO [CORRUPTION] "), responses[-1])
        answer = self.session.send(b"b UID FETCH 2:3 BODY.PEEK[]\r\n")
        self.assertTrue(answer.startswith(b"b NO [CORRUPTION] "), answer)

    def test_whatIsKnown(self) -> None:
        """
        What is stored elsewhere can be had.
        """
        responses = splitResponses(self.session.send(b"a FETCH 1:5 (ENVELOPE RFC822.SIZE)\r\n"))
        self.assertEqual(len(responses), 6)

    def test_furtherOn(self) -> None:
        """
        One that breaks off is closed where it breaks off.
        """
        answer = self.session.send(b"a FETCH 5 BODY.PEEK[]\r\n")
        self.assertTrue(answer.startswith(b"* 5 FETCH (BODY[] {"), answer[:50])
        self.assertGreater(len(answer), fetch.WINDOW)
        self.assertTrue(self.session.wire.lost)

    def test_structure(self) -> None:
        """
        One whose structure is unreadable is no half a response: the answer is NO.
        """
        self.server.store.writer.connection.execute(
            "UPDATE content SET structure = x'00' WHERE content = 4"
        )
        answer = splitResponses(self.session.send(b"a FETCH 1,4 (UID BODY.PEEK[] BODY[TEXT])\r\n"))
        self.assertEqual(parseFetch(answer[0])[0], 1)
        self.assertEqual(
            answer[1:],
            [
                rb"* 4 FETCH (FLAGS (\Recent \Seen))",
                b"a NO [SERVERBUG] internal error, try later",
            ],
        )
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_search(self) -> None:
        """
        Nor do they keep others from being found.
        """
        self.session.check("""
            C: a SEARCH SUBJECT meeting NOT TEXT nothing
            S: * SEARCH 1 4
            S: a OK SEARCH completed
        """)


class BoundTests(FetchTestCase):
    """
    A peer that doesn't read what it asked for.
    """

    def follow(self, session: Conversation) -> list[int]:
        """
        Block the connection with everything that is sent.

        @return: how much each time.
        """
        sizes = []

        def send(data: bytes) -> None:
            sizes.append(len(data))
            session.wire.sent += data
            session.stream.setBlocked(True)

        session.wire.send = send  # type: ignore[method-assign]
        return sizes

    def readOn(self, session: Conversation) -> bytes:
        """
        @return: all that comes when the peer reads on.
        """
        data = session.wire.take()
        while True:
            session.stream.setBlocked(False)
            session.settle()
            more = session.wire.take()
            if not more:
                return data
            data += more

    def test_large(self) -> None:
        """
        Of a large message one window is read and sent at a time; all of it comes in the end.
        """
        large = MESSAGE + b"x" * 8 * SMALL_MESSAGE
        self.server.deliver(large)
        session = self.server.select()
        sizes = self.follow(session)
        session.stream.received(b"a FETCH 1 BODY.PEEK[]\r\n")
        session.settle()
        self.assertLess(sum(sizes), 2 * fetch.WINDOW)
        responses = splitResponses(self.readOn(session))
        self.assertTrue(parseFetch(responses[0])[1]["BODY[]"] == large)
        self.assertLess(max(sizes), 2 * fetch.WINDOW)
        self.assertEqual(responses[1:], [b"a OK FETCH completed"])

    def test_many(self) -> None:
        """
        Of many messages one slice is read and sent at a time.
        """
        self.patch(fetch, "METADATA_SLICE", 10)
        self.patch(fetch, "CONTENT_SLICE", 5)
        fetch.compileItems.cache_clear()
        self.addCleanup(fetch.compileItems.cache_clear)
        for _ in range(50):
            self.server.deliver()
        session = self.server.select()
        for command, bound in ((b"FLAGS", 500), (b"ENVELOPE", 4000), (b"BODY.PEEK[]", 2000)):
            sizes = self.follow(session)
            session.stream.received(b"a FETCH 1:* %b\r\n" % command)
            session.settle()
            self.assertLess(sum(sizes), bound, command)
            responses = splitResponses(self.readOn(session))
            self.assertEqual(len(responses), 51, command)
            self.assertLess(max(sizes), bound)

    def test_manyWays(self) -> None:
        """
        One small message asked for in thousands of ways isn't held as often.
        """
        data = MESSAGE + b"x" * 20_000
        self.server.deliver(data)
        session = self.server.select()
        sizes = self.follow(session)
        items = " ".join(f"BODY.PEEK[]<{first}.20000>" for first in range(300))
        session.stream.received(f"a FETCH 1 ({items})\r\n".encode())
        session.settle()
        self.assertLess(sum(sizes), 2 * fetch.BATCH)
        responses = splitResponses(self.readOn(session))
        self.assertLess(max(sizes), 2 * fetch.BATCH)
        values = parseFetch(responses[0])[1]
        self.assertEqual(len(values), 300)
        self.assertTrue(values["BODY[]<299>"] == data[299:20_299])

    def test_gone(self) -> None:
        """
        If it goes away, the session is over.
        """
        self.server.deliver(MESSAGE + b"x" * 8 * SMALL_MESSAGE)
        session = self.server.select()
        self.follow(session)
        session.stream.received(b"a FETCH 1 BODY.PEEK[]\r\n")
        session.settle()
        self.assertFalse(session.finished)
        session.disconnect()
        self.assertTrue(session.finished)
        self.assertIsNone(session.failure)

    def test_timeout(self) -> None:
        """
        If it never reads, it is disconnected after the time that a session may be idle, with no
        BYE where octets of the message are due.
        """
        self.server.deliver(MESSAGE + b"x" * 8 * SMALL_MESSAGE)
        session = self.server.select()
        self.follow(session)
        session.stream.received(b"a FETCH 1 BODY.PEEK[]\r\n")
        session.settle()
        session.clock.advance(1800)
        session.settle()
        self.assertTrue(session.finished)
        self.assertTrue(session.wire.lost)
        self.assertNotIn(b"BYE", session.wire.sent)

    def test_timeoutBetweenResponses(self) -> None:
        """
        Where a response has ended BYE can be said.
        """
        self.patch(fetch, "METADATA_SLICE", 1)
        fetch.compileItems.cache_clear()
        self.addCleanup(fetch.compileItems.cache_clear)
        for _ in range(2):
            self.server.deliver()
        session = self.server.select()
        self.follow(session)
        session.stream.received(b"a FETCH 1:2 FLAGS\r\n")
        session.settle()
        session.clock.advance(1800)
        session.settle()
        self.assertTrue(session.finished)
        responses = splitResponses(session.wire.sent)
        self.assertEqual(len(responses), 2)
        self.assertTrue(responses[1].startswith(b"* BYE "), responses)
