"""
PREVIEW: C{twisted_mailstack.imap.extensions.preview}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server


class PreviewTests(SynchronousTestCase):
    """
    RFC 8970.
    """

    def setUp(self) -> None:
        """A plain message, an empty one, one in French, a long one."""
        self.server = Server()
        self.server.deliver(b"Subject: x\r\n\r\nPreview text!\r\nMore\r\n")
        self.server.deliver(b"Subject: x\r\n\r\n")
        self.server.deliver(
            b"Content-Type: text/plain; charset=iso-8859-1\r\n"
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9\r\n"
        )
        self.server.deliver(b"Content-Type: text/html\r\n\r\n<p>" + b"word " * 500)
        self.client = self.server.select()

    def test_capability(self) -> None:
        """It is told."""
        self.assertRegex(self.client.send(b"a CAPABILITY\r\n"), rb" PREVIEW[ \r]")

    def test_examples(self) -> None:
        """§5, with and without LAZY, which makes no difference as previews are always there."""
        self.client.check(
            """
            C: A2 FETCH 1 (RFC822.SIZE PREVIEW)
            S: * 1 FETCH (RFC822.SIZE 35 PREVIEW "Preview text! More")
            S: A2 OK FETCH completed
            C: B1 FETCH 1:2 (PREVIEW (LAZY) UID)
            S: * 1 FETCH (UID 1 PREVIEW "Preview text! More")
            S: * 2 FETCH (UID 2 PREVIEW "")
            S: B1 OK FETCH completed
            C: B2 FETCH 2 preview (lazy lazy)
            S: * 2 FETCH (PREVIEW "")
            S: B2 OK FETCH completed
            C: B3 FETCH 2 (PREVIEW PREVIEW (LAZY))
            S: * 2 FETCH (PREVIEW "")
            S: B3 OK FETCH completed
            """
        )

    def test_seen(self) -> None:
        """Nobody has read a message of which a list showed the beginning."""
        self.client.send(b"a FETCH 1 PREVIEW\r\n")
        self.assertIn(b"FLAGS (\\Recent)", self.client.send(b"b FETCH 1 FLAGS\r\n"))

    def test_format(self) -> None:
        """§3.3: UTF-8, not transfer encoded, no markup, at most 200 characters."""
        self.assertIn(b"PREVIEW {5}\r\ncaf\xc3\xa9)", self.client.send(b"a FETCH 3 PREVIEW\r\n"))
        answer = self.client.send(b"a FETCH 4 PREVIEW\r\n")
        text = answer.partition(b'"')[2].partition(b'"')[0]
        self.assertTrue(150 < len(text) <= 200)
        self.assertEqual(set(text.split()), {b"word"})

    def test_malformed(self) -> None:
        """BAD."""
        for item in (b"PREVIEW ()", b"PREVIEW (EAGER)", b"PREVIEW (LAZY", b"PREVIEW (LAZY )"):
            self.assertRegex(self.client.send(b"a FETCH 1 " + item + b"\r\n"), b"^a BAD ")
