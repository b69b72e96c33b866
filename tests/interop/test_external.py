"""
EXTERNAL (RFC 4422 appendix A): curl logs in by its certificate.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import ALICE, BOB, Server, needs, run

NOW = datetime.now(UTC)


def issue(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey
) -> bytes:
    """
    @return: a certificate for a mail address, or an issuer's own.
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
    )
    if name != issuer:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.RFC822Name(name)]), critical=False
        )
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class ExternalTests(SynchronousTestCase):
    """
    The services of a real server.
    """

    def setUp(self) -> None:
        """A server that takes certificates of an issuer, and alice's."""
        needs("curl")
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir(parents=True)
        self.authority = ec.generate_private_key(ec.SECP256R1())
        (self.folder / "ca.pem").write_bytes(
            issue("Clients", self.authority, "Clients", self.authority)
        )
        self.server = Server(
            config=f'[tls]\nclient-authorities = "{self.folder}/ca.pem"\n'
            '[auth]\nmechanisms = ["EXTERNAL", "PLAIN"]\n'
        )
        self.addCleanup(self.server.close)
        self.server.start()
        self.server.addAccounts(ALICE, BOB)

    def curl(self, url: str, name: str, by: ec.EllipticCurvePrivateKey, status: int) -> bytes:
        """
        @param name: whose certificate is shown.
        @param status: of curl.
        @return: what it printed.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        (self.folder / "client.pem").write_bytes(
            issue(name, key, "Clients", by)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        arguments = ["--cert", f"{self.folder}/client.pem", "--login-options", "AUTH=EXTERNAL"]
        if url.startswith("smtp"):
            arguments += ["--request", "NOOP"]
        return run(["curl", "-sS", "-k", *arguments, "-u", f"{ALICE}:", url], status=status)

    def test_protocols(self) -> None:
        """By IMAP, POP3 and SMTP; who shows another's certificate, or none that counts, doesn't."""
        imap = f"imaps://127.0.0.1:{self.server.ports['imaps']}/"
        pop3 = f"pop3s://127.0.0.1:{self.server.ports['pop3s']}/"
        self.assertIn(b"INBOX", self.curl(imap, ALICE, self.authority, 0))
        self.curl(pop3, ALICE, self.authority, 0)
        submission = f"smtps://127.0.0.1:{self.server.ports['submissions']}/"
        self.curl(submission, ALICE, self.authority, 0)
        # 67: refused to log in.
        self.curl(imap, BOB, self.authority, 67)
        # 56: the handshake is refused, which TLS 1.3 tells when the client reads.
        stranger = ec.generate_private_key(ec.SECP256R1())
        self.curl(imap, ALICE, stranger, 56)
        for service in ("imaps", "pop3s", "submissions"):
            self.assertRegex(self.server.output(), f"{service}.*mechanism=EXTERNAL")
