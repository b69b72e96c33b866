"""
LMTP (RFC 2033) as another mail server hands mail over: over TCP and over a Unix socket, with a
client of the standard library.
"""

from __future__ import annotations

import imaplib
import smtplib

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import ALICE, BOB, PASSWORD, Server, freePorts, looseTLS

TEXT = b"Subject: x\r\n\r\n.\r\n..dots\r\n"


class LMTPTests(SynchronousTestCase):
    """
    A server that listens for it.
    """

    def serve(self, unix: bool) -> tuple[Server, str, int]:
        """
        @return: a server with two accounts, and where it speaks LMTP.
        """
        server = Server()
        self.addCleanup(server.close)
        host, port = (str(server.work / "lmtp"), 0) if unix else ("127.0.0.1", freePorts(1)[0])
        where = f"unix:{host}" if unix else f"tcp:{port}:interface={host}"
        server.arguments += ["--listen", f"lmtp={where}"]
        server.start()
        server.addAccounts(ALICE, BOB)
        return server, host, port

    def test_eachItsReply(self) -> None:
        """
        Each recipient that was accepted has a reply of its own (§4.2), and its mail when that is
        there; the next transaction is answered as usual.
        """
        for unix in (False, True):
            server, host, port = self.serve(unix)
            with smtplib.LMTP(host, port) as client:
                client.ehlo("mta.example.org")
                for _ in range(2):
                    self.assertEqual(client.mail("x@far.test")[0], 250)
                    codes = [client.rcpt(each)[0] for each in (ALICE, "no@example.test", BOB)]
                    self.assertEqual(codes, [250, 550, 250])
                    # It reads a single reply.
                    self.assertEqual([client.data(TEXT)[0], client.getreply()[0]], [250, 250])
                self.assertEqual(client.noop()[0], 250)
            for name in (ALICE, BOB):
                with imaplib.IMAP4_SSL(
                    "127.0.0.1", server.ports["imaps"], ssl_context=looseTLS()
                ) as reader:
                    reader.login(name, PASSWORD)
                    self.assertEqual(reader.select()[1], [b"2"])
                    (parts, _) = reader.fetch("1", "(BODY[])")[1]
                    assert isinstance(parts, tuple)
                    self.assertTrue(parts[1].endswith(TEXT), parts[1])
                    self.assertIn(f"Delivered-To: {name}\r\n".encode(), parts[1])
                    self.assertIn(b" with LMTP\r\n", parts[1])
            server.close()
