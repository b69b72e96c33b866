"""
ID (RFC 2971): C{twisted_mailstack.imap.extensions.id}.
"""

from __future__ import annotations

import gc
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server

REPLY = b'* ID ("name" "twisted_mailstack")\r\na023 OK ID completed\r\n'


class IdTests(SynchronousTestCase):
    """
    Who is talking.
    """

    def setUp(self) -> None:
        """A server."""
        self.server = Server()

    def test_examples(self) -> None:
        """§3.1's and §3.2's, in every state. The server tells its name and no version."""
        for client in (self.server.connect(), self.server.login(), self.server.select()):
            client.wire.take()
            for arguments in (
                b'("name" "sodr" "version" "19.34" "vendor" "Pink Floyd Music Limited")',
                b"NIL",
                b"nil",
                b"()",
                b'("os" NIL)',
                b'("os" "")',
                b'("date" {3+}\r\nNIL "NIL" nil)',
                b'({4+}\r\nname "a \\"b\\"")',
            ):
                self.assertEqual(client.send(b"a023 ID " + arguments + b"\r\n"), REPLY, arguments)

    def test_limits(self) -> None:
        """§3.3: at most 30 pairs, names of 30 octets, values of 1024."""
        client = self.server.login()
        for pair, times, fine in (
            (b'"n" "v"', 30, True),
            (b'"n" "v"', 31, False),
            (b'"%b" "v"' % (b"n" * 30), 1, True),
            (b'"%b" "v"' % (b"n" * 31), 1, False),
            (b'"n" "%b"' % (b"v" * 1024), 1, True),
            (b'"n" "%b"' % (b"v" * 1025), 1, False),
            (b'"n" {1025+}\r\n%b' % (b"v" * 1025), 1, False),
        ):
            answer = client.send(b"a023 ID (" + b" ".join([pair] * times) + b")\r\n")
            self.assertEqual(answer == REPLY, fine, pair)
            if not fine:
                self.assertRegex(answer, rb"^a023 BAD ")

    def test_malformed(self) -> None:
        """What isn't a list of pairs of strings is BAD."""
        client = self.server.login()
        for arguments in (
            b"", b" ", b" NILS", b" (name sodr)", b' ("name")', b' ("name" "x" "y")',
            b' ("name" x)',
            b' ("name"  "x")', b' ( "name" "x")', b' ("name" "x" )', b' ("name" "x"', b' (NIL "x")',
            b' ("name" "x") x', b' ("name" "x\0")', b' ("name" {2+}\r\na\0)', b' "name" "x"',
        ):  # fmt: skip
            answer = client.send(b"a ID" + arguments + b"\r\nb NOOP\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r]*\r\nb OK NOOP completed\r\n$", arguments)

    def test_notLogged(self) -> None:
        """Nobody can fill the log with it (§7), or put lines into it."""
        # What other tests left says its logout when it is collected.
        gc.collect()
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        client = self.server.connect()
        client.send(b'a ID ("name" {11+}\r\nx\r\nevil line)\r\n')
        client.send(b'a ID ("name" "y' + b"y" * 2000 + b'")\r\n')
        client.disconnect()
        self.assertEqual(events, [])
