"""
MULTIAPPEND: C{twisted_mailstack.imap.extensions.multiappend}.
"""

from __future__ import annotations

from tests.imap.support import MESSAGE, now
from tests.imap.test_append import DATE, AppendTestCase
from twisted_mailstack.imap.commands import append
from twisted_mailstack.model.address import Address
from twisted_mailstack.storage.memory import MemoryStaged


class MultiAppendTests(AppendTestCase):
    """
    RFC 3502 §6.3.11.
    """

    def test_capability(self) -> None:
        """It is told."""
        self.assertIn(b" MULTIAPPEND ", self.client.send(b"a CAPABILITY\r\n"))

    def test_example(self) -> None:
        """
        The RFC's example: two messages, each with options of its own, and APPENDUID with both UIDs.
        """
        now(self.server.account.createMailbox("saved-messages"))
        self.client.check(
            r"""
            C: A003 APPEND saved-messages (\Seen) {40}
            S: + Ready
            C: Subject: afternoon meeting
            C:
            C: Hello Joe
            C:  (\Seen) " 7-Feb-1994 22:43:04 -0800" {10}
            S: + Ready
            C: 3:30 is fi
            S: A003 OK [APPENDUID 7 1:2] APPEND completed
            C: A004 APPEND bogusname (\Flagged) {1023}
            S: A004 NO [TRYCREATE] No such mailbox
            """.replace("{40}", "{41}").replace("{10}", "{10}")
        )
        seen = frozenset({"\\Seen"})
        self.assertEqual(
            self.stored("saved-messages"),
            [
                (b"Subject: afternoon meeting\r\n\r\nHello Joe\r\n", seen, DATE, 0),
                (b"3:30 is fi", seen, 760689784, -480),
            ],
        )

    def test_chunks(self) -> None:
        """However it comes, with the mailbox as a literal too."""
        command = (
            b"a APPEND {5+}\r\nINBOX (\\Seen k) {10+}\r\n12345\r\n890 {3+}\r\nabc () {1}\r\nx\r\n"
            b"b NOOP\r\n"
        )
        for size in (1, 2, 7, len(command)):
            self.setUp()
            said = b""
            for at in range(0, len(command), size):
                said += self.client.send(command[at : at + size])
            self.assertEqual(
                said,
                b"+ Ready\r\na OK [APPENDUID 1 1:3] APPEND completed\r\nb OK NOOP completed\r\n",
            )
            self.assertEqual([each[0] for each in self.stored()], [b"12345\r\n890", b"abc", b"x"])
            self.assertEqual(
                [each[1] for each in self.stored()],
                [frozenset({"\\Seen", "k"}), frozenset(), frozenset()],
            )

    def test_cancelled(self) -> None:
        """
        "A zero-length message literal argument is an error, and MUST return a NO. This can be used
        to cancel the append."
        """
        for last in (b" {0}\r\n", b" {0+}\r\n\r\n", b" (\\Seen) {0+}\r\n {3+}\r\nabc\r\n"):
            said = self.client.send(b"a APPEND INBOX {3+}\r\nabc" + last + b"b NOOP\r\n")
            self.assertEqual(
                said,
                b"a NO An empty message can't be appended\r\nb OK NOOP completed\r\n",
            )
        self.assertEqual(self.stored(), [])

    def test_allOrNothing(self) -> None:
        """
        "no partial appending is permitted", whatever is wrong with one of them, and whichever.
        """
        alice = Address("alice", "example.test")
        now(self.server.store.directory.setQuota(alice, len(MESSAGE) + 3, None))
        good = b" {%d+}\r\n" % len(MESSAGE) + MESSAGE
        for bad, answer in (
            (b" {4+}\r\nabcd", rb"NO \[OVERQUOTA\]"),
            (b" {100001+}\r\n" + b"x" * 100_001, rb"NO \[TOOBIG\]"),
            (b" {3+}\r\na\0b", rb"NO \[CANNOT\]"),
            (b" (\\Recent) {3+}\r\nabc", b"BAD"),
            (b" {3+}\r\nabc ", b"BAD"),
            (b" {3+}\r\nabc x", b"BAD"),
            (b" {3+}\r\nabc {x}", b"BAD"),
            (b' "nonsense" {3+}\r\nabc', b"BAD"),
            (b"{3+}\r\nabc", b"BAD"),
        ):
            for command in (good + bad, bad + good):
                answered = self.client.send(b"a APPEND INBOX" + command + b"\r\nb NOOP\r\n")
                self.assertRegex(
                    answered, b"^a " + answer + rb"[^\r]*\r\nb OK NOOP completed\r\n$", bad
                )
                self.assertEqual(self.stored(), [])

    def test_quotaBeforeItIsSent(self) -> None:
        """The RFC's last example: what doesn't fit with those before isn't asked for."""
        alice = Address("alice", "example.test")
        now(self.server.store.directory.setQuota(alice, 10, None))
        self.client.check(
            """
            C: A005 APPEND INBOX (\\Flagged) {9}
            S: + Ready
            C: hmm....
            C:  {2}
            S: A005 NO [OVERQUOTA] The account is over its quota
            """
        )

    def test_keywords(self) -> None:
        """The keywords of all of them count."""
        self.patch(append, "MAX_KEYWORDS", 2)
        self.assertEqual(
            self.client.send(b"a APPEND INBOX (k1 k2) {1+}\r\na (k3) {1+}\r\nb\r\n"),
            b"a NO [LIMIT] The mailbox has too many keywords\r\n",
        )
        self.assertEqual(self.stored(), [])

    def test_limits(self) -> None:
        """A bounded number of them, and of octets that may have to be held, LIMIT beyond."""
        self.patch(append, "MAX_MESSAGES", 3)
        many = b"a APPEND INBOX" + b" {1+}\r\nx" * 4 + b"\r\n"
        self.assertEqual(self.client.send(many), b"a NO [LIMIT] Too many messages at once\r\n")
        self.assertEqual(self.stored(), [])
        self.patch(append, "MAX_HELD", 10)
        self.assertEqual(
            self.client.send(b"a APPEND INBOX {11+}\r\n12345678901 {1}\r\n"),
            b"a NO [LIMIT] Too many messages at once\r\n",
        )

    def test_selected(self) -> None:
        """All are told at once."""
        self.client.send(b"a SELECT INBOX\r\n")
        self.assertEqual(
            self.client.send(b"a APPEND INBOX {1+}\r\nx {1+}\r\ny\r\n"),
            b"* 2 EXISTS\r\n* 2 RECENT\r\na OK [APPENDUID 1 1:2] APPEND completed\r\n",
        )

    def test_gone(self) -> None:
        """A client that goes in the midst of the last leaves nothing."""
        made: list[str] = []
        discard = MemoryStaged.discard

        def discarded(staged: MemoryStaged) -> None:
            made.append("discarded")
            discard(staged)

        self.patch(MemoryStaged, "discard", discarded)
        self.client.send(b"a APPEND INBOX {1+}\r\nx {1+}\r\nx {3+}\r\ny")
        self.client.disconnect()
        self.assertEqual(self.stored(), [])
        self.assertEqual(made, ["discarded"] * 2)
