# -*- test-case-name: tests.auth.test_certificates -*-
"""
Whose a client's certificate is, for EXTERNAL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from cryptography import x509


class CertificateAccounts:
    """
    The accounts of certificates: those that were said for it, else the mail addresses in it.
    """

    def __init__(self, accounts: Mapping[str, str], byAddress: bool = True) -> None:
        """
        @param accounts: by the SHA-256 fingerprint of a certificate, as hexadecimal digits with or
            without colons: the account that it is of.
        @param byAddress: whether a certificate that isn't among them is of the accounts whose
            addresses it is issued for (RFC 5280 §4.2.1.6, rfc822Name).
        """
        self._accounts = {
            fingerprint.replace(":", "").lower(): account
            for fingerprint, account in accounts.items()
        }
        self._byAddress = byAddress

    def __call__(self, certificate: bytes) -> Sequence[bytes]:
        """
        @param certificate: DER; that it is to be trusted was found out before.
        @return: the names of its accounts, UTF-8, maybe none.
        """
        account = self._accounts.get(sha256(certificate).hexdigest())
        if account is not None:
            return (account.encode("utf-8"),)
        if not self._byAddress:
            return ()
        try:
            found = x509.load_der_x509_certificate(certificate).extensions
            names = found.get_extension_for_class(x509.SubjectAlternativeName).value
            addresses = names.get_values_for_type(x509.RFC822Name)
        except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
            return ()
        return [each.encode("utf-8") for each in addresses]
