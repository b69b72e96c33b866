"""
DANE (RFC 7672) with a resolver that validates: mail for domains whose zones are signed goes to the
servers that their TLSA records name, through TLS, and to nobody else.
"""

from __future__ import annotations

import atexit
import hashlib
import ssl
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.relaying.nameserver import TTL
from tests.interop.relaying.peer import Peer
from tests.interop.relaying.servers import MailHost, Network, text, waitFor
from tests.interop.relaying.signedzones import UNSIGNED, SignedZones, exchanger
from twisted_mailstack.net.tls import selfSigned

#: A digest of nothing.
WRONG = "ab" * 32


class Places:
    """
    A server of ours that sends, another that takes mail, peers, and their zones.

    @ivar peers: by domain.
    """

    def __init__(self) -> None:
        self.zones = SignedZones()
        atexit.register(self.zones.close)
        self.network = Network()
        atexit.register(self.network.close)
        self.place = Path(mkdtemp(prefix="mailstack-dane-"))
        made = selfSigned(self.place, "mx.good.test")
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(made.certificate, made.key)
        certificate = x509.load_pem_x509_certificate(Path(made.certificate).read_bytes())
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.digest = hashlib.sha256(key).hexdigest()
        self.sender = self.network.server(
            "a.test",
            relay__resolvers=[f"127.0.0.1:{self.zones.resolver}"],
            relay__trust_resolvers=True,
        )
        self.taker = self.network.server(
            "good.test", tls__certificate=str(made.certificate), tls__key=str(made.key)
        )
        self.peers: dict[str, Peer] = {}
        zones, port = self.zones, self.network.port
        for domain in ("good.test", "wrong.test"):
            digest = self.digest if domain == "good.test" else WRONG
            zones.add(*exchanger(domain, self.taker.address, port, [digest]))
        self._peer("clear.test", self.digest)
        self._peer("forged.test", self.digest, tls=self.tls)
        self._peer("moved.test", self.digest, tls=self.tls)
        self._peer(f"secure.{UNSIGNED}", WRONG, tls=self.tls)
        self._peer(f"clear.{UNSIGNED}", WRONG)
        # Somebody interferes: with a TLSA record, and with where mail goes.
        forged = f"_{port}._tcp.mx.forged.test.\t{TTL}\tIN\tTLSA\t3 1 1 "
        zones.spoil(forged + self.digest, forged + WRONG)
        zones.spoil("\tMX\t10 mx.moved.test.", "\tMX\t10 mx.clear.test.")
        zones.start()
        self.taker.start()
        self.sender.start()
        self.taker.addAccounts("alice@wrong.test")

    def _peer(self, domain: str, digest: str, tls: ssl.SSLContext | None = None) -> None:
        address, port = self.network.address(), self.network.port
        self.peers[domain] = peer = Peer(address, port, name=f"mx.{domain}", tls=tls)
        atexit.register(peer.stop)
        self.zones.add(*exchanger(domain, address, port, [digest]))


@cache
def shared() -> Places:
    """
    @return: all of it, running.
    """
    return Places()


class DANETests(SynchronousTestCase):
    """
    One message, to each of the domains.
    """

    def setUp(self) -> None:
        """All of it."""
        self.places = shared()
        self.a: MailHost = self.places.sender

    def failed(self, domain: str, times: int = 2) -> str:
        """
        Wait until it was tried so often and in vain.

        @return: what was said then.
        """
        waitFor(
            lambda: len(self.a.lines(f"{domain}: unreachable")) >= times, f"{domain} is tried again"
        )
        return self.a.lines(f"{domain}: unreachable")[-1]

    def takes(self, peer: Peer) -> None:
        """
        Wait until a peer has a message.
        """
        waitFor(lambda: peer.taken, f"{peer.name} takes it")

    def test_right(self) -> None:
        """
        The server whose key the TLSA record names gets the mail, whoever issued its certificate.
        """
        self.a.submit("alice@good.test", text("right"))
        (octets,) = self.places.taker.mail(1)
        self.assertIn(b" with ESMTPS ", b" ".join(octets.split()))
        self.assertEqual(self.a.tlsReport("good.test"), {"tlsa": (1, 0, [])})

    def test_wrong(self) -> None:
        """
        A server with another key gets nothing, though it would take it; the mail waits (§2.2).
        """
        self.a.submit("alice@wrong.test", text("wrong"))
        self.assertIn("no TLSA record matches", self.failed("wrong.test"))
        self.assertEqual(self.places.taker.inbox("alice@wrong.test"), [])
        self.assertIn("alice@wrong.test", self.waiting())

    def test_clear(self) -> None:
        """Nor does one that offers no TLS: the record says that there must be (§2.2)."""
        self.a.submit("x@clear.test", text("clear"))
        self.assertIn("STARTTLS", self.failed("clear.test"))
        self.assertEqual(self.places.peers["clear.test"].taken, [])
        self.assertEqual(self.places.peers["clear.test"].attempts, 0)
        self.assertIn("x@clear.test", self.waiting())

    def test_unsigned(self) -> None:
        """
        In a zone that isn't signed TLSA records mean nothing (§2.1.1): mail goes through TLS where
        there is TLS, whatever the key, and in the clear where there is none.
        """
        domains = {f"secure.{UNSIGNED}": True, f"clear.{UNSIGNED}": False}
        self.a.submit([f"x@{domain}" for domain in domains], text("unsigned"))
        for domain, secure in domains.items():
            peer = self.places.peers[domain]
            self.takes(peer)
            self.assertEqual([each.secure for each in peer.taken], [secure], domain)

    def test_forged(self) -> None:
        """
        Where somebody has changed what is signed nothing is believed: neither other TLSA records
        (§2.1.2) nor other mail exchangers. Mail waits until the true ones are there, and arrives.
        """
        places = self.places
        self.a.submit(["x@forged.test", "x@moved.test"], text("forged"))
        self.assertIn(
            "TLSA records of mx.forged.test can't be looked up", self.failed("forged.test")
        )
        self.assertIn("DNS lookup of moved.test failed", self.failed("moved.test"))
        peers = [places.peers[f"{name}.test"] for name in ("forged", "moved")]
        for peer in (*peers, places.peers["clear.test"]):
            self.assertEqual(peer.taken, [])
        places.zones.mend()
        for peer in peers:
            self.takes(peer)
            self.assertEqual([each.secure for each in peer.taken], [True])

    def waiting(self) -> list[str]:
        """
        @return: the addresses for which mail waits.
        """
        return [each["address"] for message in self.a.queued() for each in message["recipients"]]
