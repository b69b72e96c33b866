"""
ANNOTATE-EXPERIMENT-1 (RFC 5257): C{twisted_mailstack.imap.extensions.annotate}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from tests.imap.test_capabilities import PlainStore
from twisted_mailstack.imap.extensions.annotate import MAX_ENTRIES, MAX_NAME, MAX_VALUE
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.records import AnnotationKey
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.testing.faulty import FaultyStore

PARTS = (
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\n\r\none\r\n--x\r\n\r\ntwo\r\n--x--\r\n"
)
COMMENT = "/comment"
SUBJECT = "/altsubject"
LABEL = "/vendor/foobar/label"


class AnnotateTestCase(SynchronousTestCase):
    """
    INBOX with three messages, selected.
    """

    def makeServer(self) -> Server:
        """
        @return: the server.
        """
        return Server()

    def setUp(self) -> None:
        """Deliver, and log in."""
        self.server = self.makeServer()
        for _ in range(3):
            self.server.deliver()
        # Takes what is recent.
        self.server.select()
        self.client = self.server.select()

    def enable(self, what: str, parameters: str = "") -> None:
        """
        Begin again, with something enabled before INBOX is selected.
        """
        self.client = self.server.login()
        self.assertIn(b"x OK ", self.send(f"ENABLE {what}"))
        self.assertIn(b"x OK ", self.send(f"SELECT INBOX{parameters}"))

    def check(self, script: str) -> None:
        """
        See L{Conversation.check}.
        """
        self.client.check(script)

    def mailbox(self, name: str = "INBOX", account: Any = None) -> Any:
        """
        @return: a mailbox of the storage.
        """
        return now((account or self.server.account).openMailbox(name))

    def put(
        self,
        uid: int,
        entry: str,
        private: bytes | None = None,
        shared: bytes | None = None,
        mailbox: str = "INBOX",
    ) -> None:
        """
        Set an entry as another session would.
        """
        values: dict[AnnotationKey, bytes | None] = {}
        if private is not None:
            values[entry, True] = private
        if shared is not None:
            values[entry, False] = shared
        opened = self.mailbox(mailbox)
        now(opened.storeAnnotations(NumberSet.of([uid]), values, 1000))

    def stored(self, mailbox: str = "INBOX") -> list[tuple[Any, ...]]:
        """
        @return: what the owner sees: UID, entry, private, value.
        """
        everything = NumberSet([(1, 100)])
        return [tuple(each) for each in now(self.mailbox(mailbox).annotations(everything))]

    def send(self, command: str | bytes) -> bytes:
        """
        @return: what is said to a command.
        """
        text = command if isinstance(command, bytes) else command.encode("utf-8")
        return self.client.send(b"x " + text + b"\r\n")

    def assertBad(self, *commands: str | bytes) -> None:
        """
        None of these is right, and nothing is done.
        """
        before = self.stored()
        for command in commands:
            self.assertRegex(self.send(command), rb"\Ax BAD ", command)
        self.assertEqual(self.stored(), before)


class SelectTests(AnnotateTestCase):
    """
    §4.1, §4.2.
    """

    def test_capability(self) -> None:
        """It is told once it is known whose mailboxes these are."""
        self.assertIn(b" ANNOTATE-EXPERIMENT-1 ", self.send("CAPABILITY"))
        self.assertNotIn(b"ANNOTATE", self.server.connect().send(b"a CAPABILITY\r\n"))

    def test_without(self) -> None:
        """A store that has no annotations has no capability, and no response code."""
        server = Server(store=PlainStore(MemoryMailStore()))
        server.deliver()
        client = server.login()
        self.assertNotIn(b"ANNOTATE", client.send(b"a CAPABILITY\r\n"))
        self.assertNotIn(b"ANNOTATIONS", client.send(b"a SELECT INBOX (ANNOTATE)\r\n"))
        client.check(
            """
            C: b FETCH 1 (ANNOTATION (/comment (value.priv size.shared)))
            S: * 1 FETCH (UID 1 ANNOTATION (/comment (value.priv NIL size.shared "0")))
            S: b OK FETCH completed
            C: c SEARCH ANNOTATION * value ""
            S: * SEARCH
            S: c OK SEARCH completed
            C: d SORT (ANNOTATION /comment value.priv) UTF-8 ALL
            S: * SORT 1
            S: d OK SORT completed
            C: e STORE 1 ANNOTATION (/comment (value.priv "x"))
            S: e NO [CANNOT] Messages of this mailbox have no annotations
            C: f APPEND INBOX ANNOTATION (/comment (value.priv "x")) {1+}
            C: x
            S: f NO [CANNOT] Messages of that mailbox have no annotations
            """
        )

    def test_level(self) -> None:
        """SELECT says how large a value may be, EXAMINE that none can be changed."""
        self.assertIn(b"* OK [ANNOTATIONS %d] " % MAX_VALUE, self.send("SELECT INBOX"))
        self.assertIn(b"* OK [ANNOTATIONS READ-ONLY] ", self.send("EXAMINE INBOX"))
        self.assertIn(b"* OK [ANNOTATIONS %d] " % MAX_VALUE, self.send("SELECT INBOX (ANNOTATE)"))
        self.assertGreaterEqual(MAX_VALUE, 1024)
        self.assertGreaterEqual(MAX_ENTRIES, 10)
        self.assertBad("SELECT INBOX (ANNOTATE x)", "SELECT INBOX (ANNOTATE ANNOTATE)")

    def test_examined(self) -> None:
        """What was opened by EXAMINE is not changed."""
        self.send("EXAMINE INBOX")
        self.assertIn(
            b"x NO [READ-ONLY] ", self.send('STORE 1 ANNOTATION (/comment (value.priv "x"))')
        )
        self.assertEqual(self.stored(), [])


class FetchTests(AnnotateTestCase):
    """
    §4.3, §4.4.
    """

    def fetched(self, arguments: str, command: str = "FETCH 1") -> str:
        """
        @return: the annotations that are told of the first message.
        """
        answer = self.send(f"{command} (FLAGS ANNOTATION ({arguments}))").decode("latin-1")
        head, end = "* 1 FETCH (FLAGS ()", ")\r\nx OK FETCH completed\r\n"
        self.assertTrue(answer.startswith(head) and answer.endswith(end), answer)
        return answer[len(head) : -len(end)].removeprefix(" ANNOTATION ")

    def test_examples(self) -> None:
        """The RFC's own examples."""
        self.put(1, COMMENT, b"My comment", b"Group note")
        self.assertEqual(
            self.fetched("/comment value"),
            '(/comment (value.priv "My comment" value.shared "Group note"))',
        )
        self.put(1, SUBJECT, b"Rhinoceroses!", b"Patches?")
        self.put(1, f"{LABEL}.priv", b"label43")
        self.assertEqual(
            self.fetched("/* (value.priv size.priv)"),
            '(/altsubject (value.priv "Rhinoceroses!" size.priv "13")'
            ' /comment (value.priv "My comment" size.priv "10")'
            ' /vendor/foobar/label.priv (value.priv "label43" size.priv "7"))',
        )
        self.assertEqual(
            self.fetched("/% value.shared"),
            '(/altsubject (value.shared "Patches?") /comment (value.shared "Group note"))',
        )
        self.assertEqual(
            self.fetched("(/comment /altsubject) value.priv"),
            '(/comment (value.priv "My comment") /altsubject (value.priv "Rhinoceroses!"))',
        )

    def test_missing(self) -> None:
        """What isn't there is NIL, and its size 0."""
        self.put(1, COMMENT, b"My comment")
        self.assertEqual(
            self.fetched("/comment (value size)"),
            '(/comment (value.priv "My comment" value.shared NIL size.priv "10" size.shared "0"))',
        )
        self.assertEqual(
            self.fetched("(/altsubject /1/comment) (size value.priv)"),
            '(/altsubject (size.priv "0" size.shared "0" value.priv NIL)'
            ' /1/comment (size.priv "0" size.shared "0" value.priv NIL))',
        )

    def test_wildcards(self) -> None:
        """% stops at a slash; what isn't there at all is not told, and never twice."""
        self.put(1, "/vendor/a/b", b"1")
        self.put(1, "/vendor/a", b"2")
        self.put(1, COMMENT, None, b"3")
        one, two = '/vendor/a (value.priv "2")', '/vendor/a/b (value.priv "1")'
        self.assertEqual(self.fetched("* value.priv"), f"({one} {two})")
        self.assertEqual(self.fetched("/vendor/% value.priv"), f"({one})")
        self.assertEqual(self.fetched("/%/%/% value.priv"), f"({two})")
        self.assertEqual(self.fetched('("/vendor/*b" /vendor/a /*) value.priv'), f"({two} {one})")
        self.assertEqual(self.fetched("/% value.priv"), "")
        self.assertEqual(self.fetched("/flags/* value"), "")

    def test_alone(self) -> None:
        """A response has always something in it."""
        self.put(2, COMMENT, b"x")
        self.check(
            """
            C: a FETCH 1:2 ANNOTATION (/* value.priv)
            S: * 1 FETCH (UID 1)
            S: * 2 FETCH (UID 2 ANNOTATION (/comment (value.priv "x")))
            S: a OK FETCH completed
            C: b UID FETCH 1:2 (ANNOTATION (/* value.priv) FLAGS BODY.PEEK[]<0.4>)
            S: * 1 FETCH (UID 1 FLAGS () BODY[]<0> {4}
            S: Date)
            S: * 2 FETCH (UID 2 FLAGS () ANNOTATION (/comment (value.priv "x")) BODY[]<0> {4}
            S: Date)
            S: b OK UID FETCH completed
            """
        )
        self.enable("UIDONLY")
        self.check(
            """
            C: d UID FETCH 1:2 (ANNOTATION (/* value.priv))
            S: * 1 UIDFETCH (FLAGS ())
            S: * 2 UIDFETCH (FLAGS () ANNOTATION (/comment (value.priv "x")))
            S: d OK UID FETCH completed
            """
        )

    def test_parts(self) -> None:
        """A part that isn't there is BAD (§3.2.1), and hides nothing of messages that have it."""
        self.server.deliver(PARTS)
        self.send("NOOP")
        self.put(4, "/2/comment", b"x")
        self.check(
            """
            C: a FETCH 4 (ANNOTATION (/2/comment value.priv))
            S: * 4 FETCH (UID 4 ANNOTATION (/2/comment (value.priv "x")))
            S: a OK FETCH completed
            C: b UID FETCH 3:4 (ANNOTATION (/2/comment value.priv))
            S: * 3 FETCH (UID 3)
            S: * 4 FETCH (UID 4 ANNOTATION (/2/comment (value.priv "x")))
            S: b BAD Some messages have no such part
            C: c FETCH 3:4 (ANNOTATION (/2/* value.priv))
            S: * 3 FETCH (UID 3)
            S: * 4 FETCH (UID 4 ANNOTATION (/2/comment (value.priv "x")))
            S: c OK FETCH completed
            """
        )

    def test_octets(self) -> None:
        """Values come back as they were stored: NULs in a literal8, 8-bit octets in a literal."""
        for value, written in (
            (b"", b'""'),
            (b'a"\\', b'"a\\"\\\\"'),
            (b"\xc3\xbc\r\n", b"{4}\r\n\xc3\xbc\r\n"),
            (b"\0\xff", b"~{2}\r\n\0\xff"),
            (b"NIL", b'"NIL"'),
        ):
            self.put(1, COMMENT, value)
            answer = self.send("FETCH 1 (FLAGS ANNOTATION (/comment (value.priv size.priv)))")
            self.assertIn(
                b'(/comment (value.priv %b size.priv "%d"))' % (written, len(value)), answer
            )

    def test_names(self) -> None:
        """Names may be strings, and are told apart by case."""
        self.put(1, "/vendor/a b/X", b"1")
        self.assertEqual(
            self.fetched('"/vendor/a b/X" ("value.priv")'), '("/vendor/a b/X" (value.priv "1"))'
        )
        self.assertEqual(
            self.fetched('"/vendor/a b/x" value.priv'), '("/vendor/a b/x" (value.priv NIL))'
        )

    def test_expunged(self) -> None:
        """A message that is gone is told to be (RFC 2180 §4.1.2)."""
        self.put(2, COMMENT, b"x")
        now(self.mailbox().expunge(NumberSet.of([1]), False))
        self.check(
            """
            C: a UID FETCH 1:2 (ANNOTATION (/comment value.priv))
            S: * 2 FETCH (UID 2 ANNOTATION (/comment (value.priv "x")))
            S: * 1 EXPUNGE
            S: a OK UID FETCH completed
            """
        )

    def test_bad(self) -> None:
        """Invalid names, attributes that there aren't, and what isn't the grammar, are BAD."""
        self.assertBad(
            *(
                f"FETCH 1 (ANNOTATION ({arguments}))"
                for arguments in (
                    *("/comment foo", "/comment VALUE", "/comment value.", "/comment value.priv."),
                    *("/comment value.priv.x", "comment value", "/comment/ value", "//x value"),
                    *("/a//b value", "/ value", '"" value', '"/a\x7f" value', '"/ü" value'),
                    *("/0/comment value", "/1..2/comment value", "/1.MIME/comment value"),
                    *("/1 value", "/1./comment value", "/comment", "() value", "/comment ()"),
                    *("/comment value ", "(/comment ) value", f"/{'x' * MAX_NAME} value"),
                    *("/comment value x", '/comment "value\\"'),
                )
            ),
            "FETCH 1 ANNOTATION",
            "FETCH 1 ANNOTATION /comment value",
            "FETCH 1 (ANNOTATION(/comment value))",
            f"FETCH 1 (ANNOTATION (({' '.join(f'/vendor/a/{n}' for n in range(101))}) value))",
            b"FETCH 1 (ANNOTATION ({3+}\r\n/\0a value))",
        )


class StoreTests(AnnotateTestCase):
    """
    §4.5.
    """

    def test_examples(self) -> None:
        """The RFC's own examples; a STORE is silent."""
        self.check(
            """
            C: a STORE 1 ANNOTATION (/comment (value.priv "My new comment"))
            S: a OK STORE completed
            C: b STORE 1 ANNOTATION (/comment (value.shared "x"))
            S: b OK STORE completed
            C: c STORE 1 ANNOTATION (/comment (value.shared NIL))
            S: c OK STORE completed
            """
        )
        self.assertEqual(self.stored(), [(1, COMMENT, True, b"My new comment")])
        self.check(
            """
            C: a UID STORE 1:2 ANNOTATION (/comment (value.priv "Get tix Tuesday") /altsubject (value.priv "Wots On"))
            S: a OK UID STORE completed
            C: b STORE 3 ANNOTATION (/comment (value.priv "My new comment" value.shared "foo's bar"))
            S: b OK STORE completed
            """  # noqa: E501
        )
        self.assertEqual(
            self.stored(),
            [
                (1, SUBJECT, True, b"Wots On"),
                (1, COMMENT, True, b"Get tix Tuesday"),
                (2, SUBJECT, True, b"Wots On"),
                (2, COMMENT, True, b"Get tix Tuesday"),
                (3, COMMENT, False, b"foo's bar"),
                (3, COMMENT, True, b"My new comment"),
            ],
        )

    def test_octets(self) -> None:
        """Values may be literals, also with NULs."""
        self.assertIn(
            b"x OK ",
            self.send(
                b"STORE 1 ANNOTATION ({8+}\r\n/comment (value.priv {4+}\r\n\r\n\xff)"
                b" value.shared ~{2+}\r\n\0)))"
            ),
        )
        self.assertEqual(
            self.stored(), [(1, COMMENT, False, b"\0)"), (1, COMMENT, True, b"\r\n\xff)")]
        )

    def test_parts(self) -> None:
        """Parts that are there can be annotated; their flags are 1, 0 or NIL (§3.2.1)."""
        self.server.deliver(PARTS)
        self.send("NOOP")
        self.check(
            """
            C: a STORE 4 ANNOTATION (/2/comment (value.priv "x") /1/flags/seen (value.shared "1"))
            S: a OK STORE completed
            C: b STORE 4 ANNOTATION (/1/flags/seen (value.shared "0") /1/flags/forwarded (value.priv NIL))
            S: b OK STORE completed
            C: c STORE 1 ANNOTATION (/1/vendor/x/y (value.priv "z"))
            S: c OK STORE completed
            C: d STORE 4 ANNOTATION (/1/flags/seen (value.shared "2"))
            S: d NO [CANNOT] Flags are 0, 1 or NIL
            """  # noqa: E501
        )
        self.assertEqual(
            self.stored(),
            [
                (1, "/1/vendor/x/y", True, b"z"),
                (4, "/1/flags/seen", False, b"0"),
                (4, "/2/comment", True, b"x"),
            ],
        )
        self.assertBad(
            'STORE 4 ANNOTATION (/3/comment (value.priv "x"))',
            'STORE 1:4 ANNOTATION (/2/comment (value.priv "x"))',
            'STORE 4 ANNOTATION (/1.1/comment (value.priv "x"))',
        )

    def test_unregistered(self) -> None:
        """Entries that are no registered ones, and sizes, can't be set (§3.2.1, §3.5)."""
        for entry in (
            *("/flags", "/flags/seen", "/foo", "/comment/x", "/vendor", "/1/foo", "/1/altsubject"),
            *("/1/flags", "/1/flags/deleted"),
        ):
            self.assertEqual(
                self.send(f'STORE 1 ANNOTATION ({entry} (value.priv "1"))'),
                b"x NO [CANNOT] There is no such entry\r\n",
                entry,
            )
        self.assertIn(b"x NO [CANNOT] ", self.send('STORE 1 ANNOTATION (/comment (size.priv "1"))'))
        self.assertEqual(self.stored(), [])

    def test_tooBig(self) -> None:
        """A value that is too large is refused, before it is sent if it comes as a literal."""
        most = "x" * MAX_VALUE
        self.assertIn(b"x OK ", self.send(f'STORE 1 ANNOTATION (/comment (value.priv "{most}"))'))
        refused = b"x NO [ANNOTATE TOOBIG] The annotation is too large\r\n"
        self.assertEqual(
            self.send(f'STORE 2 ANNOTATION (/comment (value.priv "{most}x"))'), refused
        )
        for number in (MAX_VALUE + 1, 10**9):
            for command in ("", "UID "):
                self.assertEqual(
                    self.send(f"{command}STORE 2 ANNOTATION (/comment (value.priv {{{number}}}"),
                    refused,
                )
        size = MAX_VALUE + 1
        self.assertEqual(
            self.send(f"STORE 2 ANNOTATION (/comment (value.shared {{{size}+}}\r\n{'x' * size}))"),
            refused,
        )
        self.assertEqual([row[:3] for row in self.stored()], [(1, COMMENT, True)])

    def test_tooMany(self) -> None:
        """More than a message may have are refused."""
        for number in range(MAX_ENTRIES):
            self.put(1, f"/vendor/x/{number}", b"1")
        self.assertEqual(
            self.send('STORE 1:3 ANNOTATION (/comment (value.priv "x"))'),
            b"x NO [ANNOTATE TOOMANY] Too many annotations\r\n",
        )
        self.assertEqual({row[0] for row in self.stored()}, {1})
        self.assertIn(
            b"x OK ",
            self.send(
                'STORE 1 ANNOTATION (/comment (value.priv "x") /vendor/x/0 (value.priv NIL))'
            ),
        )

    def test_bad(self) -> None:
        """Without saying whether private or shared, and what isn't the grammar."""
        self.assertBad(
            *(
                f"STORE 1 ANNOTATION {arguments}"
                for arguments in (
                    *('(/comment (value "x"))', '(/comment (foo.priv "x"))', "()", "(/comment ())"),
                    *("(/comment (value.priv))", "(/comment (value.priv x))", "/comment", ""),
                    *('/comment (value.priv "x")', '(/comment value.priv "x")', "(/comment)"),
                    *('(/comment* (value.priv "x"))', '("/com%t" (value.priv "x"))'),
                    *('(/comment (value.priv "x") )', '(/comment (value.priv "x" ))'),
                    *('(/comment (value.priv "x")) y', '(/comment/ (value.priv "x"))'),
                    *('(/comment (value.priv "x" value.priv "y"))', "(/comment (value.priv ~))"),
                    *('(/comment (value.priv "x") /comment (value.priv "y"))',),
                )
            ),
            'STORE 1 +ANNOTATION (/comment (value.priv "x"))',
            'STORE 1 ANNOTATION.SILENT (/comment (value.priv "x"))',
            'STORE 4 ANNOTATION (/comment (value.priv "x"))',
            b"STORE 1 ANNOTATION (/comment (value.priv {1+}\r\n\0))",
        )
        many = " ".join(f'/vendor/a/{number} (value.priv "")' for number in range(101))
        self.assertBad(f"STORE 1 ANNOTATION ({many})")

    def test_expunged(self) -> None:
        """Messages that are gone don't keep it from the others."""
        now(self.mailbox().expunge(NumberSet.of([1]), False))
        answer = self.send('STORE 1:2 ANNOTATION (/comment (value.priv "x"))')
        self.assertRegex(answer, rb"x NO \[EXPUNGEISSUED\] ")
        self.assertEqual(self.stored(), [(2, COMMENT, True, b"x")])
        self.assertIn(b"x OK ", self.send('UID STORE 1,9 ANNOTATION (/comment (value.priv "x"))'))

    def test_failing(self) -> None:
        """A store that fails at any call is answered, and nothing is done by half."""
        store = FaultyStore(MemoryMailStore())
        server = Server(store=store)
        server.deliver()
        client = server.select()
        commands = (
            'STORE 1 ANNOTATION (/1/comment (value.priv "x"))',
            "FETCH 1 (ANNOTATION (/* value))",
            "SEARCH ANNOTATION * value x",
            "SORT (ANNOTATION /comment value.priv) UTF-8 ALL",
            'APPEND INBOX ANNOTATION (/comment (value.priv "x")) {4+}\r\na: b',
        )
        for command in commands:
            before = len(store.calls)
            self.assertIn(b"x OK ", client.send(f"x {command}\r\n".encode()))
            for number in range(len(store.calls) - before):
                store.failAt(number + 1)
                answer = client.send(f"x {command}\r\n".encode())
                self.assertRegex(answer, rb"(?m)^x (?:NO \[SERVERBUG\]|OK) ")
                store.heal()
                self.flushLoggedErrors()
        self.assertIn(b"y OK ", client.send(b"y NOOP\r\n"))


class CondstoreTests(AnnotateTestCase):
    """
    RFC 7162 with annotations.
    """

    def setUp(self) -> None:
        """A client that wants modSeqs."""
        super().setUp()
        self.enable("CONDSTORE")

    def test_modSeq(self) -> None:
        """§4.5: an untagged FETCH response with MODSEQ is sent, without values; others are told."""
        other = self.client
        self.enable("CONDSTORE")
        self.check(
            """
            C: a STORE 1 ANNOTATION (/comment (value.priv "x"))
            S: * 1 FETCH (UID 1 MODSEQ (11))
            S: a OK STORE completed
            C: b STORE 1 ANNOTATION (/comment (value.priv "x"))
            S: b OK STORE completed
            C: c FETCH 1:3 (FLAGS) (CHANGEDSINCE 10)
            S: * 1 FETCH (FLAGS () MODSEQ (11))
            S: c OK FETCH completed
            C: d SEARCH MODSEQ 11
            S: * SEARCH 1 (MODSEQ 11)
            S: d OK SEARCH completed
            """
        )
        self.assertIn(b"* 1 FETCH (UID 1 FLAGS () MODSEQ (11))\r\n", other.send(b"x NOOP\r\n"))

    def test_unchangedSince(self) -> None:
        """Who doesn't know the annotation as it is changes nothing; flags don't matter."""
        self.put(1, COMMENT, b"theirs")
        mailbox = self.mailbox()
        now(mailbox.storeFlags(NumberSet.of([2]), FlagOperation.ADD, frozenset({"\\Seen"})))
        self.send("NOOP")
        self.check(
            """
            C: a STORE 1:3 (UNCHANGEDSINCE 10) ANNOTATION (/comment (value.priv "mine"))
            S: * 2 FETCH (UID 2 MODSEQ (13))
            S: * 3 FETCH (UID 3 MODSEQ (13))
            S: a OK [MODIFIED 1] Conditional STORE failed
            C: b UID STORE 1 (UNCHANGEDSINCE 11) ANNOTATION (/comment (value.priv "mine"))
            S: * 1 FETCH (UID 1 MODSEQ (14))
            S: b OK UID STORE completed
            C: c STORE 1 (UNCHANGEDSINCE 0) ANNOTATION (/comment (value.priv "x"))
            S: c OK [MODIFIED 1] Conditional STORE failed
            C: d STORE 1 (UNCHANGEDSINCE 0) ANNOTATION (/comment (value.shared "x"))
            S: * 1 FETCH (UID 1 MODSEQ (15))
            S: d OK STORE completed
            C: e STORE 1 (UNCHANGEDSINCE 14) ANNOTATION (/comment (value.priv "mine"))
            S: * 1 FETCH (UID 1 MODSEQ (15))
            S: e OK STORE completed
            """
        )

    def test_qresync(self) -> None:
        """QRESYNC tells that a message changed of which an annotation did (§2 of RFC 7162)."""
        self.put(2, COMMENT, b"x")
        client = self.server.login()
        client.send(b"x ENABLE QRESYNC\r\n")
        valid = now(self.mailbox().status()).uidValidity
        answer = client.send(b"x SELECT INBOX (QRESYNC (%d 10) ANNOTATE)\r\n" % valid)
        self.assertIn(b"* 2 FETCH (UID 2 FLAGS () MODSEQ (11))\r\n", answer)


class NewsTests(AnnotateTestCase):
    """
    §4.4: unsolicited responses.
    """

    def setUp(self) -> None:
        """A client that asked for them."""
        super().setUp()
        self.send("SELECT INBOX (ANNOTATE)")

    def told(self, command: str = "NOOP", client: Conversation | None = None) -> list[bytes]:
        """
        @return: the untagged responses to a command.
        """
        answer = (client or self.client).send(f"x {command}\r\n".encode())
        return answer.split(b"\r\n")[:-2]

    def test_changed(self) -> None:
        """Names of the entries that others changed or removed, without values; once."""
        self.put(1, COMMENT, b"x")
        self.put(3, COMMENT, b"x", b"y")
        self.put(3, SUBJECT, b"x")
        self.assertEqual(
            self.told(),
            [
                b"* 1 FETCH (ANNOTATION (/comment))",
                b"* 3 FETCH (ANNOTATION (/comment /altsubject))",
            ],
        )
        self.assertEqual(self.told(), [])
        now(self.mailbox().storeAnnotations(NumberSet.of([1]), {(COMMENT, True): None}, 9))
        self.assertEqual(self.told("CHECK"), [b"* 1 FETCH (ANNOTATION (/comment))"])

    def test_example(self) -> None:
        """The RFC's example: during a STORE of flags."""
        self.put(1, COMMENT, b"x")
        self.check(
            r"""
            C: a STORE 1 +FLAGS (\Seen)
            S: * 1 FETCH (FLAGS (\Seen))
            S: * 1 FETCH (ANNOTATION (/comment))
            S: a OK STORE completed
            """
        )

    def test_own(self) -> None:
        """What the session changed itself isn't told; what others changed at the same time is."""
        self.assertEqual(self.told('STORE 1 ANNOTATION (/comment (value.priv "x"))'), [])
        self.put(1, SUBJECT, b"x")
        self.assertEqual(
            self.told('STORE 1 ANNOTATION (/comment (value.priv "y"))'),
            [b"* 1 FETCH (ANNOTATION (/altsubject))"],
        )

    def test_notAsked(self) -> None:
        """Per mailbox: another SELECT without the parameter ends it (§4.2)."""
        other = self.server.select()
        self.put(1, COMMENT, b"x")
        self.assertEqual(self.told(client=other), [])
        self.send("SELECT INBOX")
        self.put(1, COMMENT, b"y")
        self.assertEqual(self.told(), [])

    def test_form(self) -> None:
        """With UID and MODSEQ where the client is aware of them."""
        self.enable("CONDSTORE", " (ANNOTATE)")
        self.put(2, COMMENT, b"x")
        self.assertEqual(
            self.told(),
            [
                b"* 2 FETCH (UID 2 FLAGS () MODSEQ (11))",
                b"* 2 FETCH (UID 2 MODSEQ (11) ANNOTATION (/comment))",
            ],
        )
        self.enable("UIDONLY", " (ANNOTATE)")
        self.put(2, COMMENT, b"y")
        self.assertEqual(self.told(), [b"* 2 UIDFETCH (ANNOTATION (/comment))"])

    def test_newMessages(self) -> None:
        """Of a message that is new to the client there is nothing to say but that it is there."""
        now(self.mailbox().copyMessages(NumberSet.of([1]), self.mailbox("Sent")))
        self.put(1, COMMENT, b"x", mailbox="Sent")
        now(self.mailbox("Sent").copyMessages(NumberSet.of([1]), self.mailbox()))
        self.assertEqual(self.told(), [b"* 4 EXISTS", b"* 1 RECENT"])
        self.put(4, COMMENT, b"y")
        self.assertEqual(self.told(), [b"* 4 FETCH (ANNOTATION (/comment))"])

    def test_expunged(self) -> None:
        """A message that is gone isn't talked about."""
        self.put(1, COMMENT, b"x")
        self.put(2, COMMENT, b"x")
        now(self.mailbox().expunge(NumberSet.of([1]), False))
        self.assertEqual(self.told(), [b"* 2 FETCH (ANNOTATION (/comment))", b"* 1 EXPUNGE"])

    def test_heldBack(self) -> None:
        """While EXPUNGE is held back the numbers are the client's."""
        now(self.mailbox().expunge(NumberSet.of([1]), False))
        self.put(3, COMMENT, b"x")
        self.assertEqual(
            self.told("FETCH 2 FLAGS"),
            [b"* 2 FETCH (FLAGS ())", b"* 3 FETCH (ANNOTATION (/comment))"],
        )
        self.assertEqual(self.told(), [b"* 1 EXPUNGE"])

    def test_searchContext(self) -> None:
        """An updated search sees changed annotations, and FETCH precedes it (RFC 5465 §5.1)."""
        self.send('SEARCH RETURN (UPDATE) ANNOTATION /comment value "x"')
        self.put(2, COMMENT, b"x")
        self.assertEqual(
            self.told(),
            [b"* 2 FETCH (ANNOTATION (/comment))", b'* ESEARCH (TAG "x") ADDTO (0 2)'],
        )
        self.send('CANCELUPDATE "x"')
        self.put(1, COMMENT, b"x")
        self.assertEqual(self.told(), [b"* 1 FETCH (ANNOTATION (/comment))"])

    def test_idle(self) -> None:
        """While idle, at once."""
        self.client.send(b"i IDLE\r\n")
        self.put(2, COMMENT, b"x")
        self.client.settle()
        self.assertEqual(self.client.wire.take(), b"* 2 FETCH (ANNOTATION (/comment))\r\n")


class CopyTests(AnnotateTestCase):
    """
    §4.6.
    """

    def test_copy(self) -> None:
        """COPY, UID COPY and MOVE take private and shared ones along."""
        self.put(1, COMMENT, b"mine", b"ours")
        for number, command in enumerate(("COPY 1 Sent", "UID COPY 1 Sent", "MOVE 1 Sent"), 1):
            self.assertIn(b"x OK ", self.send(command))
            self.assertEqual(
                [row[1:] for row in self.stored("Sent") if row[0] == number],
                [(COMMENT, False, b"ours"), (COMMENT, True, b"mine")],
            )
        self.assertEqual(self.stored(), [])


class AppendTests(AnnotateTestCase):
    """
    §4.7.
    """

    def test_example(self) -> None:
        """The RFC's own example; with flags and a date before it."""
        valid = now(self.mailbox("Drafts").status()).uidValidity
        self.check(
            f"""
            C: a APPEND drafts ANNOTATION (/comment (value.priv "Don't send until I say so")) {{4}}
            S: a NO [TRYCREATE] No such mailbox
            C: b APPEND Drafts ANNOTATION (/comment (value.priv "Don't send until I say so")) {{4}}
            S: + Ready
            C: a: b
            S: b OK [APPENDUID {valid} 1] APPEND completed
            """
        )
        self.assertEqual(self.stored("Drafts"), [(1, COMMENT, True, b"Don't send until I say so")])
        self.assertIn(
            b"x OK ",
            self.send(
                'APPEND Sent (\\Seen) "17-Jul-1996 02:44:25 -0700"'
                ' ANNOTATION (/comment (value.shared "x" value.priv NIL)) {4+}\r\na: b'
            ),
        )
        self.assertEqual(self.stored("Sent"), [(1, COMMENT, False, b"x")])

    def test_literals(self) -> None:
        """Names and values may be literals, among those of messages; each message has its own."""
        stream = (
            b"x APPEND Sent ANNOTATION ({8}\r\n/comment (value.priv ~{2}\r\n\0( value.shared"
            b" {1}\r\ns)) {4}\r\na: b () {4}\r\nc: d ANNOTATION (/altsubject (value.priv {1}\r\nz))"
            b" CATENATE (TEXT {4}\r\na: b)\r\n"
        )
        for chunks in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
            answer = b"".join(self.client.send(chunk) for chunk in chunks)
            self.assertRegex(answer, rb"x OK \[APPENDUID \d+ [\d:]+\] APPEND completed\r\n\Z")
        expected = [
            (1, COMMENT, False, b"s"),
            (1, COMMENT, True, b"\0("),
            (3, SUBJECT, True, b"z"),
        ]
        again = [(row[0] + 3, *row[1:]) for row in expected]
        self.assertEqual(self.stored("Sent"), expected + again)

    def test_replace(self) -> None:
        """REPLACE sets those it is given; those of the old message are gone."""
        self.put(1, COMMENT, b"old", b"old")
        self.assertIn(
            b"x OK ",
            self.send('REPLACE 1 INBOX ANNOTATION (/altsubject (value.priv "x")) {4+}\r\na: b'),
        )
        self.assertEqual(self.stored(), [(4, SUBJECT, True, b"x")])

    def test_parts(self) -> None:
        """Of parts that the new message has."""
        literal = f"{{{len(PARTS)}+}}\r\n{PARTS.decode()}"
        self.assertIn(
            b"x OK ",
            self.send(f'APPEND Sent ANNOTATION (/2/comment (value.priv "x")) {literal}'),
        )
        self.assertRegex(
            self.send(f'APPEND Sent ANNOTATION (/3/comment (value.priv "x")) {literal}'),
            rb"\Ax BAD ",
        )
        self.assertEqual(self.stored("Sent"), [(1, "/2/comment", True, b"x")])
        self.assertEqual(now(self.mailbox("Sent").status()).messages, 1)

    def test_refused(self) -> None:
        """What can't be stored is refused before the message is sent, and nothing is appended."""
        most = "x" * (MAX_VALUE + 1)
        many = " ".join(f'/vendor/a/{n} (value.priv "")' for n in range(MAX_ENTRIES + 1))
        for arguments, code in (
            (f'(/comment (value.priv "{most}"))', b"ANNOTATE TOOBIG"),
            (f"({many})", b"ANNOTATE TOOMANY"),
            ('(/foo (value.priv "x"))', b"CANNOT"),
            ('(/comment (size.priv "1"))', b"CANNOT"),
        ):
            self.assertIn(
                b"x NO [%b] " % code, self.send(f"APPEND Sent ANNOTATION {arguments} {{4}}")
            )
        for command in ("APPEND Sent", "REPLACE 1 Sent"):
            for tilde in ("", "~"):
                self.assertIn(
                    b"x NO [ANNOTATE TOOBIG] ",
                    self.send(f"{command} ANNOTATION (/comment (value.priv {tilde}{{{10**9}}}"),
                )
        for arguments in (
            '(/comment (value "x"))',
            '(/comment (value.priv "x")) ANNOTATION (/altsubject (value.priv "x"))',
            "/comment",
            "(/comment (value.priv ~x))",
        ):
            self.assertRegex(self.send(f"APPEND Sent ANNOTATION {arguments} {{4}}"), rb"\Ax BAD ")
        self.assertEqual(now(self.mailbox("Sent").status()).messages, 0)


class SearchTests(AnnotateTestCase):
    """
    §4.8.
    """

    def setUp(self) -> None:
        """Some annotations."""
        super().setUp()
        self.put(1, COMMENT, b"about IMAP4 and more")
        self.put(2, COMMENT, None, b"imap4")
        self.put(2, SUBJECT, b"Gr\xc3\xbc\xc3\x9fe")
        self.put(3, "/vendor/a/b", b"IMAP4", b"")

    def found(self, key: str, charset: str = "") -> list[int]:
        """
        @return: the messages that a search finds.
        """
        answer = self.send(f"SEARCH {charset}ANNOTATION {key}").decode()
        self.assertRegex(answer, r"\A\* SEARCH[ \d]*\r\nx OK SEARCH completed\r\n\Z")
        return [int(each) for each in answer.partition("\r\n")[0].split()[2:]]

    def test_examples(self) -> None:
        """The RFC's own examples: substrings, without regard to case."""
        self.assertEqual(self.found('/comment value "IMAP4"'), [1, 2])
        self.assertEqual(self.found('* value.priv "IMAP4"'), [1, 3])

    def test_keys(self) -> None:
        """Names, wildcards, attributes, values in all their forms."""
        self.assertEqual(self.found("/comment value.shared imap"), [2])
        self.assertEqual(self.found("/% value imap"), [1, 2])
        self.assertEqual(self.found("/vendor/%/b value.priv imap"), [3])
        self.assertEqual(self.found('* value.shared ""'), [2, 3])
        self.assertEqual(self.found('/comment value.priv ""'), [1])
        self.assertEqual(self.found("* value NIL"), [])
        self.assertEqual(self.found("/nothing value x"), [])
        self.assertEqual(self.found("* value {6+}\r\nGrÜSS"), [2])
        self.assertEqual(self.found("* value ~{5+}\r\nIMAP4"), [1, 2, 3])
        self.assertIn(b"* SEARCH 3\r\n", self.send("UID SEARCH NOT ANNOTATION /% value imap"))
        self.assertIn(
            b"* SEARCH 2\r\n",
            self.send(b"SEARCH CHARSET ISO-8859-1 ANNOTATION /altsubject value {2+}\r\n\xfc\xdf"),
        )
        self.assertIn(
            b"ALL 2:3", self.send('SEARCH RETURN (ALL) OR ANNOTATION * value.shared "" UID 99')
        )

    def test_bad(self) -> None:
        """Nothing but values can be searched; names have to be valid."""
        self.assertBad(
            *(
                f"SEARCH ANNOTATION {arguments}"
                for arguments in (
                    *("/comment size 1", "/comment size.priv 1", "/comment foo x", "/comment"),
                    *("/comment value", "comment value x", "/comment/ value x", '"" value x'),
                    *("/comment VALUE x", "/0/x value x", "(/comment) value x"),
                )
            ),
            b"SEARCH ANNOTATION /comment value {1+}\r\n\xff",
        )

    def test_notMine(self) -> None:
        """Somebody else's private ones are found by nobody else."""
        bob = self.server.addAccount("bob")
        values: dict[AnnotationKey, bytes | None] = {(COMMENT, True): b"secret"}
        now(self.mailbox().storeAnnotations(NumberSet.of([1]), values, 9, None, bob.accountId))
        self.assertEqual(self.found("* value secret"), [])

    def test_multisearch(self) -> None:
        """In other mailboxes (RFC 7377)."""
        self.send("COPY 2 Sent")
        answer = self.send("ESEARCH IN (personal) ANNOTATION * value.shared imap")
        self.assertRegex(answer, rb"MAILBOX INBOX UIDVALIDITY \d+\) UID ALL 2\r\n")
        self.assertRegex(answer, rb"MAILBOX Sent UIDVALIDITY \d+\) UID ALL 1\r\n")


class SortTests(AnnotateTestCase):
    """
    §4.9.
    """

    def sorted(self, criteria: str) -> list[int]:
        """
        @return: the order.
        """
        answer = self.send(f"SORT ({criteria}) UTF-8 ALL").decode()
        self.assertRegex(answer, r"\A\* SORT[ \d]*\r\nx OK SORT completed\r\n\Z")
        return [int(each) for each in answer.partition("\r\n")[0].split()[2:]]

    def test_sort(self) -> None:
        """By values as texts, those without one first; other keys go on where these are equal."""
        self.put(1, SUBJECT, b"zebra", b"b")
        self.put(2, SUBJECT, b"\xc3\x89clair", b"B")
        self.put(3, SUBJECT, b"Eclipse")
        self.assertEqual(self.sorted("ANNOTATION /altsubject value.shared"), [3, 1, 2])
        self.assertEqual(self.sorted("REVERSE ANNOTATION /altsubject value.shared"), [1, 2, 3])
        self.assertEqual(self.sorted("ANNOTATION /altsubject value.priv"), [3, 2, 1])
        self.assertEqual(
            self.sorted("ANNOTATION /altsubject value.shared REVERSE ARRIVAL"), [3, 1, 2]
        )
        self.server.deliver(b"Subject: a\r\n\r\n", date=5)
        self.send("NOOP")
        self.assertEqual(
            self.sorted("ANNOTATION /altsubject value.shared REVERSE ARRIVAL SUBJECT"),
            [4, 3, 1, 2],
        )
        self.assertEqual(self.sorted("SUBJECT ANNOTATION /altsubject value.priv"), [4, 3, 2, 1])
        self.assertEqual(self.sorted("ANNOTATION /comment value.priv"), [1, 2, 3, 4])

    def test_bad(self) -> None:
        """Only a value, private or shared, of one entry."""
        self.assertBad(
            *(
                f"SORT (ANNOTATION {arguments}) UTF-8 ALL"
                for arguments in (
                    *("/comment value", "/comment size.priv", "/comment size", "/comment x"),
                    *("/* value.priv", '"/%" value.priv', "/comment", "comment value.priv", ""),
                    *("/comment value.priv value.shared",),
                )
            )
        )


class SharedTests(AnnotateTestCase):
    """
    §3.4: in a mailbox of somebody else.
    """

    NAME = '"Other Users/alice@example.test"'

    def setUp(self) -> None:
        """Bob may read INBOX."""
        super().setUp()
        self.bob = self.server.addAccount("bob")
        self.put(1, COMMENT, b"alice's", b"ours")
        self.grant("lr")

    def grant(self, rights: str) -> None:
        """
        Replace Bob's rights.
        """
        now(
            self.server.store.sharing.change(
                self.mailbox().mailboxId,
                "bob@example.test",
                FlagOperation.REPLACE,
                frozenset(rights),
            )
        )

    def open(self, parameters: str = "") -> Conversation:
        """
        @return: Bob, in Alice's INBOX.
        """
        client = self.server.login("bob")
        answer = client.send(f"s SELECT {self.NAME}{parameters}\r\n".encode())
        self.assertIn(b"* OK [ANNOTATIONS %d] " % MAX_VALUE, answer)
        return client

    def test_private(self) -> None:
        """With r he has private ones of his own, and reads the shared ones; nothing else."""
        self.open().check(
            """
            C: a FETCH 1 (FLAGS ANNOTATION (/* value))
            S: * 1 FETCH (FLAGS () ANNOTATION (/comment (value.priv NIL value.shared "ours")))
            S: a OK FETCH completed
            C: b STORE 1 ANNOTATION (/comment (value.priv "bob's"))
            S: b OK STORE completed
            C: c STORE 1 ANNOTATION (/comment (value.shared "x"))
            S: c NO [NOPERM] Permission denied
            C: d STORE 1 ANNOTATION (/comment (value.shared "x" value.priv "y"))
            S: d NO [NOPERM] Permission denied
            C: e FETCH 1 (FLAGS ANNOTATION (/comment value))
            S: * 1 FETCH (FLAGS () ANNOTATION (/comment (value.priv "bob's" value.shared "ours")))
            S: e OK FETCH completed
            C: f SEARCH ANNOTATION * value.priv alice
            S: * SEARCH
            S: f OK SEARCH completed
            """
        )
        self.assertEqual(
            self.stored(), [(1, COMMENT, False, b"ours"), (1, COMMENT, True, b"alice's")]
        )

    def test_shared(self) -> None:
        """With n he changes the shared ones, and Alice is told; of his private ones she isn't."""
        self.grant("lrn")
        self.send("SELECT INBOX (ANNOTATE)")
        client = self.open(" (ANNOTATE)")
        client.check(
            """
            C: a STORE 2 ANNOTATION (/comment (value.shared "bob's"))
            S: a OK STORE completed
            C: b STORE 3 ANNOTATION (/comment (value.priv "bob's"))
            S: b OK STORE completed
            """
        )
        self.check(
            """
            C: a NOOP
            S: * 2 FETCH (ANNOTATION (/comment))
            S: a OK NOOP completed
            """
        )
        self.put(1, SUBJECT, b"alice's")
        self.assertEqual(client.send(b"a NOOP\r\n"), b"a OK NOOP completed\r\n")

    def test_append(self) -> None:
        """APPEND is refused if one of them may not be set."""
        client = self.server.login("bob")
        for rights, values, expected in (
            ("lrin", 'value.shared "x" value.priv "y"', b"OK [APPENDUID"),
            ("lri", 'value.priv "y"', b"OK [APPENDUID"),
            ("lri", 'value.shared "x"', b"NO [NOPERM]"),
            ("lin", 'value.priv "y"', b"NO [NOPERM]"),
            ("lin", 'value.shared "x"', b"OK [APPENDUID"),
        ):
            self.grant(rights)
            command = f"x APPEND {self.NAME} ANNOTATION (/comment ({values})) {{1+}}\r\nx\r\n"
            self.assertIn(b"x %b" % expected, client.send(command.encode()), (rights, values))
        self.assertEqual(now(self.mailbox().status()).messages, 6)

    def test_copy(self) -> None:
        """COPY takes what may be set there, and nobody else's private ones (§4.6)."""
        bobs = self.bob
        client = self.open()
        client.send(b'a STORE 1 ANNOTATION (/comment (value.priv "bob\'s"))\r\n')
        self.assertIn(b"b OK ", client.send(b"b COPY 1 INBOX\r\n"))
        inbox = self.mailbox("INBOX", bobs)
        everything = NumberSet([(1, 100)])
        self.assertEqual(
            [tuple(each) for each in now(inbox.annotations(everything))],
            [(1, COMMENT, False, b"ours"), (1, COMMENT, True, b"bob's")],
        )
        alice = self.server.account.accountId
        self.assertEqual(len(now(inbox.annotations(everything, None, alice))), 1)
        client.send(b"c SELECT INBOX\r\n")
        for rights, kinds in (
            ("lri", {True}),
            ("lrin", {True, False}),
            ("lin", {False}),
            ("li", set()),
        ):
            self.grant(rights)
            self.assertIn(b"d OK ", client.send(f"d COPY 1 {self.NAME}\r\n".encode()))
            last = now(self.mailbox().status()).uidNext - 1
            found = now(self.mailbox().annotations(NumberSet.of([last]), None, bobs.accountId))
            self.assertEqual({each.private for each in found}, kinds, rights)

    def test_noRights(self) -> None:
        """Who may not read any more learns nothing."""
        client = self.open()
        self.grant("l")
        answer = client.send(b"a FETCH 1 (ANNOTATION (/* value))\r\n")
        self.assertNotIn(b"ours", answer)
        self.assertRegex(answer, rb"a NO \[NOPERM\] ")


class SQL:
    """
    The same, with the SQL store.
    """

    def makeServer(self) -> Server:
        """See L{AnnotateTestCase.makeServer}."""
        case: Any = self
        server = SteppedServer(case.mktemp())
        case.addCleanup(lambda: now(server.store.stop()))
        return server


class SQLFetchTests(SQL, FetchTests):
    """FETCH."""


class SQLStoreTests(SQL, StoreTests):
    """STORE."""


class SQLCondstoreTests(SQL, CondstoreTests):
    """modSeqs."""


class SQLNewsTests(SQL, NewsTests):
    """News."""


class SQLCopyTests(SQL, CopyTests):
    """COPY."""


class SQLAppendTests(SQL, AppendTests):
    """APPEND."""


class SQLSearchTests(SQL, SearchTests):
    """SEARCH."""


class SQLSortTests(SQL, SortTests):
    """SORT."""


class SQLSharedTests(SQL, SharedTests):
    """Others' mailboxes."""
