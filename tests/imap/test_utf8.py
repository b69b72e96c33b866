"""
UTF8=ACCEPT: C{twisted_mailstack.imap.extensions.utf8}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server

MESSAGE = "From: Gérard <gé@example.test>\r\nSubject: été\r\n\r\nText\r\n".encode()


class UTF8Tests(SynchronousTestCase):
    """
    RFC 6855.
    """

    def setUp(self) -> None:
        """A session before it has enabled anything, and one that has."""
        self.server = Server()
        self.old = self.server.login()
        self.new = self.server.login()
        self.assertEqual(
            self.new.send(b"e ENABLE UTF8=ACCEPT\r\n"),
            b"* ENABLED UTF8=ACCEPT\r\ne OK ENABLE completed\r\n",
        )

    def test_capability(self) -> None:
        """§3; never with UTF8=ONLY."""
        answer = self.old.send(b"a CAPABILITY\r\n")
        self.assertRegex(answer, rb" UTF8=ACCEPT[ \r]")
        self.assertNotIn(b"UTF8=ONLY", answer)

    def test_append(self) -> None:
        """§4: the UTF8 form of APPEND; RFC 9755 does without it."""
        for form in (
            b"UTF8 (~{%d+}\r\n%b)",
            b"utf8 (~{%d+}\r\n%b)",
            b"~{%d+}\r\n%b",
            b"{%d+}\r\n%b",
        ):
            answer = self.new.send(
                b"a APPEND INBOX (\\Seen) " + form % (len(MESSAGE), MESSAGE) + b"\r\n"
            )
            self.assertRegex(answer, rb"^a OK \[APPENDUID 1 \d\] ")
        self.new.send(b"s SELECT INBOX\r\n")
        self.assertIn(MESSAGE, self.new.send(b"f FETCH 1 BODY.PEEK[]\r\n"))

    def test_appendBefore(self) -> None:
        """
        §4: "the server MUST reject, with a "NO" response, an "APPEND" command that includes any
        8-bit character in message header fields", of who didn't enable it. Bodies may have them.
        """
        latin = b"Subject: \xe9t\xe9\r\n\r\nx"
        long = b"X: " + b"a" * 100_000 + b"\r\n" + MESSAGE
        for data in (MESSAGE, latin, long, b"Subject: \xe9"):
            for form in (b"UTF8 (~{%d+}\r\n%b)", b"~{%d+}\r\n%b", b"{%d+}\r\n%b"):
                answer = self.old.send(b"a APPEND INBOX " + form % (len(data), data) + b"\r\n")
                self.assertRegex(answer, rb"^a NO Say ENABLE UTF8=ACCEPT ")
        body = b"Subject: x\r\n\r\n\xc3\xa9t\xe9"
        answer = self.old.send(b"a APPEND INBOX {%d+}\r\n%b\r\n" % (len(body), body))
        self.assertRegex(answer, b"^a OK ")

    def test_catenate(self) -> None:
        """§4: the same form as a part of a message put together."""
        answer = self.new.send(
            b"a APPEND INBOX CATENATE (TEXT {3+}\r\nX:  UTF8 (~{%d+}\r\n%b) TEXT {1+}\r\nx)\r\n"
            % (len(MESSAGE), MESSAGE)
        )
        self.assertRegex(answer, b"^a OK ")
        self.new.send(b"s SELECT INBOX\r\n")
        self.assertIn(b"X: " + MESSAGE + b"x", self.new.send(b"f FETCH 1 BODY.PEEK[]\r\n"))

    def test_malformed(self) -> None:
        """BAD."""
        for form in (
            b"UTF8", b"UTF8 ()", b"UTF8 ({1+}\r\nx)", b"UTF8 ~{1+}\r\nx", b"UTF8 (~{1+}\r\nx",
            b"UTF8 (~{1+}\r\nx ~{1+}\r\ny)", b'UTF8 ("x")', b"UTF8(~{1+}\r\nx)",
        ):  # fmt: skip
            answer = self.new.send(b"a APPEND INBOX " + form + b"\r\nb NOOP\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r]*\r\nb OK ", form)

    def test_quoted(self) -> None:
        """§3: UTF-8 in quoted strings; what isn't UTF-8 is BAD."""
        self.assertRegex(self.new.send('a CREATE "Entwürfe"\r\n'.encode()), b"^a OK ")
        self.assertIn("Entwürfe".encode(), self.new.send(b'l LIST "" *\r\n'))
        self.assertIn(b"Entw&APw-rfe", self.old.send(b'l LIST "" *\r\n'))
        self.new.send(b"s SELECT INBOX\r\n")
        for text in (b"\xff", b"\xc3", b"\xe9t\xe9", b"\xed\xa0\x80"):
            for command in (b"CREATE", b"SEARCH SUBJECT", b"STATUS"):
                answer = self.new.send(b"a " + command + b' "' + text + b'"\r\n')
                self.assertRegex(answer, b"^a BAD ", text)

    def test_searchCharset(self) -> None:
        """§3: "it SHOULD reject the command with a "BAD" response"."""
        for client, answer in ((self.old, b"OK"), (self.new, b"BAD")):
            client.send(b"s SELECT INBOX\r\n")
            self.assertRegex(
                client.send(b"a SEARCH CHARSET UTF-8 ALL\r\n"), rb"(?m)^a " + answer + b" "
            )

    def test_shownToAll(self) -> None:
        """
        A message with UTF-8 in its header is the same message for everyone: as literals, never in
        quoted strings.
        """
        self.server.deliver(MESSAGE)
        subject = "été".encode()
        for client in (self.old, self.new):
            client.send(b"s SELECT INBOX\r\n")
            answer = client.send(b"f FETCH 1 (RFC822.SIZE ENVELOPE BODY.PEEK[HEADER])\r\n")
            self.assertIn(b"RFC822.SIZE %d" % len(MESSAGE), answer)
            self.assertIn(b"{5}\r\n" + subject, answer)
            self.assertIn(MESSAGE.partition(b"Text")[0], answer)
            self.assertNotRegex(answer, b'"[^"\r\n]*[\x80-\xff]')
