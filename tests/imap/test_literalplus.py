"""
LITERAL+ (RFC 7888): C{twisted_mailstack.imap.extensions.literalplus}. How the stream is cut is
tested with C{imap.framing}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server


class LiteralPlusTests(SynchronousTestCase):
    """
    Literals that are sent without being asked for.
    """

    def test_example(self) -> None:
        """RFC 7888 §3's example, semantically the same with and without."""
        server = Server()
        server.addAccount("fred", "fat man")
        for command in (
            b"A001 LOGIN {17+}\r\nfred@example.test {7+}\r\nfat man\r\n",
            b'A001 LOGIN "fred@example.test" "fat man"\r\n',
        ):
            client = server.connect()
            client.wire.take()
            self.assertRegex(client.send(command), rb"^A001 OK [^\r]*\r\n$")

    def test_alwaysOffered(self) -> None:
        """In every state, and LITERAL- never with it (§5)."""
        server = Server()
        for client in (server.connect(), server.login()):
            client.wire.take()
            answer = client.send(b"a CAPABILITY\r\n")
            self.assertIn(b" LITERAL+ ", answer)
            self.assertNotIn(b" LITERAL- ", answer)

    def test_tooLarge(self) -> None:
        """§4: what is too large is read past and answered, or the connection ends with a reason."""
        client = Server().login()
        answer = client.send(b"a LIST {200000+}\r\n" + b"x" * 200_000 + b" *\r\nb NOOP\r\n")
        self.assertEqual(
            answer, b"a BAD [LIMIT] The literal is too long\r\nb OK NOOP completed\r\n"
        )
        answer = client.send(b"a LIST {2000000000+}\r\n")
        self.assertEqual(answer, b"* BYE [TOOBIG] refused, and too large to be read past\r\n")
        self.assertTrue(client.finished)
