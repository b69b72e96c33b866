"""
Whose a certificate is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth.certificates import CertificateAccounts


def certificate(*names: x509.GeneralName) -> bytes:
    """
    @return: a certificate that is issued for these names, DER.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "carol@x.test")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


class CertificateAccountsTests(SynchronousTestCase):
    """
    L{CertificateAccounts}.
    """

    def test_addresses(self) -> None:
        """The addresses that it is issued for, and nothing else of it."""
        find = CertificateAccounts({})
        both = certificate(
            x509.DNSName("x.test"), x509.RFC822Name("a@x.test"), x509.RFC822Name("b@x.test")
        )
        self.assertEqual(find(both), [b"a@x.test", b"b@x.test"])
        self.assertEqual(list(find(certificate())), [])
        self.assertEqual(list(find(certificate(x509.DNSName("x.test")))), [])
        self.assertEqual(list(find(b"none")), [])
        self.assertEqual(list(CertificateAccounts({}, byAddress=False)(both)), [])

    def test_said(self) -> None:
        """What was said of a certificate counts, not what is in it."""
        der = certificate(x509.RFC822Name("a@x.test"))
        plain = sha256(der).hexdigest()
        colons = ":".join(plain[at : at + 2] for at in range(0, 64, 2)).upper()
        for fingerprint in (plain, colons):
            find = CertificateAccounts({fingerprint: "carol@x.test"}, byAddress=False)
            self.assertEqual(list(find(der)), [b"carol@x.test"])
