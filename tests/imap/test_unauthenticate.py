"""
UNAUTHENTICATE (RFC 8437): C{twisted_mailstack.imap.extensions.unauthenticate}.
"""

from __future__ import annotations

import zlib

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, capabilities
from tests.imap.test_compress import Compressed
from twisted_mailstack.errors import PlaintextInjected


class UnauthenticateTests(SynchronousTestCase):
    """
    §3 and §4.
    """

    def setUp(self) -> None:
        """Two accounts, alice's session with INBOX selected."""
        self.server = Server()
        self.server.addAccount("bob")
        self.server.deliver(flags=["\\Deleted"])
        self.client = self.server.select()

    def test_states(self) -> None:
        """§5: to the state after the greeting, with what it offers; then anybody may log in."""
        self.client.check(
            f"""
            C: a UNAUTHENTICATE
            S: a OK UNAUTHENTICATE completed
            C: b FETCH 1 FLAGS
            S: b BAD Not when not authenticated
            C: c CAPABILITY
            S: * CAPABILITY {capabilities(False)} AUTH=PLAIN AUTH=LOGIN
            S: c OK CAPABILITY completed
            C: d UNAUTHENTICATE
            S: d BAD Not when not authenticated
            C: e LOGIN bob@example.test secret
            S: e OK [CAPABILITY {capabilities(True)}] logged in
            C: f STATUS INBOX (MESSAGES)
            S: * STATUS INBOX (MESSAGES 0)
            S: f OK STATUS completed
            """
        )

    def test_pipelined(self) -> None:
        """§3: the next login may be sent along."""
        answer = self.client.send(
            b"a UNAUTHENTICATE\r\nb LOGIN bob@example.test secret\r\nc UNAUTHENTICATE\r\n"
            b"d AUTHENTICATE PLAIN AGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\ne SELECT INBOX\r\n"
        )
        self.assertRegex(
            answer,
            rb"^a OK [^\n]*\nb OK \[[^\n]*\nc OK [^\n]*\nd OK \[[^\n]*\n\* (?s:.*)\* 1 EXISTS\r\n"
            rb"(?s:.*)e OK \[READ-WRITE\]",
        )

    def test_nothingExpunged(self) -> None:
        """§3: "the mailbox ceases to be selected, but no expunge event is generated"."""
        other = self.server.select()
        other.send(b"x EXPUNGE\r\n")
        self.assertEqual(
            self.client.send(b"a UNAUTHENTICATE\r\n"), b"a OK UNAUTHENTICATE completed\r\n"
        )
        self.server.deliver(flags=["\\Deleted"])
        self.assertEqual(self.client.send(b"b NOOP\r\n"), b"b OK NOOP completed\r\n")
        other.check("C: y NOOP\nS: * 1 EXISTS\nS: * 1 RECENT\nS: y OK NOOP completed")

    def test_enabled(self) -> None:
        """§4.1: what was enabled is no more."""
        client = self.server.login()
        client.send(b"a ENABLE CONDSTORE METADATA\r\nb UNAUTHENTICATE\r\n")
        session = self.server.sessions[-1]
        self.assertEqual((session.enabled, session.named, session.listeners), (set(), set(), []))
        client.send(b"c LOGIN alice@example.test secret\r\n")
        self.server.login().send(b'x SETMETADATA "" (/private/x "y")\r\n')
        client.check(
            """
            C: d NOOP
            S: d OK NOOP completed
            C: e ENABLE CONDSTORE
            S: * ENABLED CONDSTORE
            S: e OK ENABLE completed
            """
        )

    def test_timeout(self) -> None:
        """Who is nobody again has the time that there is before login."""
        self.client.send(b"a UNAUTHENTICATE\r\n")
        self.client.clock.advance(self.server.settings.loginTimeout + 1)
        self.assertTrue(self.client.finished)
        self.assertIn(b"* BYE autologout", self.client.wire.take())

    def test_syntax(self) -> None:
        """§3: BAD for arguments; never NO."""
        self.assertRegex(self.client.send(b"a UNAUTHENTICATE x\r\n"), rb"^a BAD ")
        self.assertRegex(self.client.send(b"b FETCH 1 UID\r\n"), rb"^\* 1 FETCH ")

    def test_gone(self) -> None:
        """The realm hears that the account isn't used, once."""
        told: list[str] = []
        login = self.server.sessions[-1].login
        login._logout = lambda: told.append("out")
        self.client.send(b"a UNAUTHENTICATE\r\n")
        self.assertEqual(told, ["out"])
        self.client.disconnect()
        self.assertEqual(told, ["out"])


class CompressedTests(SynchronousTestCase):
    """
    §4.1: "the server terminates its outgoing compression layer after it sends the CRLF following
    the OK response. The client terminates its outgoing compression layer after the CRLF following
    the UNAUTHENTICATE command."
    """

    def setUp(self) -> None:
        """A compressed connection."""
        self.server = Server()
        self.client = self.server.login()
        self.client.send(b"c COMPRESS DEFLATE\r\n")
        self.packed = Compressed(self.client)

    def test_flushed(self) -> None:
        """The client's last flush is the end, and what follows is plain, in the same piece too."""
        for pipelined in (False, True):
            with self.subTest(pipelined=pipelined):
                self.setUp()
                wire = self.packed.deflate(b"a UNAUTHENTICATE\r\n")
                answer = self.client.send(wire + (b"b NOOP\r\n" if pipelined else b""))
                inflated = self.packed.inflater.decompress(answer)
                self.assertEqual(inflated, b"a OK UNAUTHENTICATE completed\r\n")
                self.assertTrue(self.packed.inflater.eof)
                rest = self.packed.inflater.unused_data
                self.assertEqual(rest, b"b OK NOOP completed\r\n" if pipelined else b"")
                self.client.check("C: d NOOP\nS: d OK NOOP completed")

    def test_finished(self) -> None:
        """A client may end its stream with the command, or behind it."""
        for mode in ("with", "behind"):
            with self.subTest(mode=mode):
                self.setUp()
                deflater = self.packed.deflater
                wire = deflater.compress(b"a UNAUTHENTICATE\r\n")
                if mode == "behind":
                    wire += deflater.flush(zlib.Z_SYNC_FLUSH)
                wire += deflater.flush()
                answer = self.client.send(wire + b"b NOOP\r\n")
                inflated = self.packed.inflater.decompress(answer)
                self.assertEqual(inflated, b"a OK UNAUTHENTICATE completed\r\n")
                self.assertEqual(self.packed.inflater.unused_data, b"b OK NOOP completed\r\n")

    def test_again(self) -> None:
        """The next account may compress again."""
        self.client.send(self.packed.deflate(b"a UNAUTHENTICATE\r\n"))
        self.client.send(b"b LOGIN alice@example.test secret\r\n")
        self.assertEqual(self.client.send(b"c COMPRESS DEFLATE\r\n"), b"c OK DEFLATE active\r\n")
        again = Compressed(self.client)
        self.assertEqual(again.send(b"d NOOP\r\n"), b"d OK NOOP completed\r\n")

    def test_compressedBehind(self) -> None:
        """A command that is compressed behind it isn't run: the connection is dropped."""
        wire = self.packed.deflate(b"a UNAUTHENTICATE\r\nb LOGIN alice@example.test secret\r\n")
        self.client.send(wire)
        assert self.client.failure is not None
        self.assertTrue(self.client.failure.check(PlaintextInjected))
