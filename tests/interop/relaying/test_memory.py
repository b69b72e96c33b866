"""
Large messages on their way through the server.
"""

from __future__ import annotations

import os
import smtplib
import ssl
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.interop.harness import PASSWORD, looseTLS
from tests.interop.relaying.servers import MailHost, Network, text
from twisted_mailstack.net.tls import selfSigned

MEGABYTE = 1024 * 1024
#: It fills what SQLite keeps of pages, 16 MB a connection, whatever they are of.
WARM = 40 * MEGABYTE
LARGE = 100 * MEGABYTE


def peak(host: MailHost) -> int:
    """
    @return: the most memory that a server's process has had, octets.
    """
    assert host.process is not None
    status = Path(f"/proc/{host.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


class MemoryTests(SynchronousTestCase):
    """
    What a message costs that is larger than what anybody wants to hold.
    """

    def test_large(self) -> None:
        """
        A message of 100 MB is received over TLS and passed on to two peers, over TLS in chunks and
        in the clear with dots stuffed, and the memory grows by less than 2 MB, whether it came by
        DATA or in one chunk.
        """
        if not os.path.exists("/proc/self/status"):
            raise SkipTest("no /proc")
        network = Network()
        self.addCleanup(network.close)
        host = network.server("a.test", smtp__max_message_size=2 * LARGE)
        place = Path(self.mktemp())
        place.mkdir()
        certificate = selfSigned(place, "peer.test")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate.certificate, certificate.key)
        peers = [
            network.peer("chunks.test", extensions=["PIPELINING", "CHUNKING"], tls=tls),
            network.peer("dots.test", extensions=["PIPELINING"]),
        ]
        host.start()
        line = b"." + b"x" * 900 + b"\r\n"
        message = text("large", body=line * (LARGE // len(line)))
        warm = text("warm", body=line * (WARM // len(line)))
        before = 0
        for octets, inOneChunk in ((warm, False), (warm, True), (message, False), (message, True)):
            before = before or (peak(host) if octets is message else 0)
            self.send(host, octets, inOneChunk)
            host.drained()
            for peer in peers:
                (taken,) = peer.taken
                peer.taken.clear()
                self.assertEqual(taken.secure, peer is peers[0])
                self.assertTrue(taken.octets.endswith(octets))
            if octets is message:
                self.assertLess(peak(host) - before, 2 * MEGABYTE)
        self.assertEqual(host.inbox(), [])

    def send(self, host: MailHost, octets: bytes, inOneChunk: bool) -> None:
        """
        Submit a message.
        """
        with smtplib.SMTP("127.0.0.1", host.ports["submission"], timeout=300) as client:
            client.starttls(context=looseTLS())
            client.login(host.user(), PASSWORD)
            client.mail(host.user(), [f"SIZE={len(octets)}"])
            for domain in ("chunks.test", "dots.test"):
                self.assertEqual(client.rcpt(f"x@{domain}")[0], 250)
            if inOneChunk:
                assert client.sock is not None
                client.sock.sendall(b"BDAT %d LAST\r\n" % len(octets))
                client.sock.sendall(octets)
                code, said = client.getreply()
            else:
                code, said = client.data(octets)
            self.assertEqual(code, 250, said)
