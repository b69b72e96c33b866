"""
What a SASL exchange ends in, to be shown to a portal; and what a client begins one with.
"""

from __future__ import annotations

from twisted.cred.credentials import IAnonymous, ICredentials, IUsernamePassword, UsernamePassword
from zope.interface import Attribute, implementer

from twisted_mailstack.errors import SyntaxProblem


class WrongCredentials(SyntaxProblem):
    """A client's mechanism is for credentials of another kind."""

    text = "The mechanism is for other credentials"


@implementer(IUsernamePassword)
class PasswordCredentials(UsernamePassword):
    """
    A name and a password (RFC 4616).

    @ivar username: the authentication identity, UTF-8.
    @ivar password: UTF-8.
    @ivar authorizationIdentity: whom to act as, C{None} for the same.
    """

    username: bytes
    password: bytes

    def __init__(
        self, username: bytes, password: bytes, authorizationIdentity: bytes | None = None
    ) -> None:
        super().__init__(username, password)
        self.authorizationIdentity = authorizationIdentity


class IProvenIdentity(ICredentials):
    """
    A client that the mechanism has verified: what is left to find out is whether there is such an
    account and it may be used.
    """

    username: bytes = Attribute("The authentication identity, UTF-8.")
    authorizationIdentity: bytes | None = Attribute("Whom to act as, C{None} for the same.")
    credentialId: str | None = Attribute(
        "Of the account's credential that it was verified by; C{None}: by none of the account's."
    )


@implementer(IProvenIdentity)
class ProvenIdentity:
    """
    See L{IProvenIdentity}. Made by mechanisms alone, of what they have verified.
    """

    def __init__(
        self,
        username: bytes,
        authorizationIdentity: bytes | None = None,
        credentialId: str | None = None,
    ) -> None:
        self.username = username
        self.authorizationIdentity = authorizationIdentity
        self.credentialId = credentialId


@implementer(IAnonymous)
class AnonymousCredentials:
    """
    Nobody in particular (RFC 4505).

    @ivar trace: what the client says of itself, UTF-8: an address or any text, for the log.
    """

    def __init__(self, trace: bytes = b"") -> None:
        self.trace = trace

    @property
    def username(self) -> bytes:
        """What the log shows."""
        return b"anonymous " + self.trace if self.trace else b"anonymous"


class TokenCredentials:
    """
    What a client of OAUTHBEARER or XOAUTH2 begins with.

    @ivar username: the account, UTF-8.
    @ivar token: an OAuth 2.0 access token.
    @ivar host: of the server as the client knows it, C{""} to say nothing of it; C{port} likewise,
        0 to say nothing.
    """

    def __init__(self, username: bytes, token: bytes, host: str = "", port: int = 0) -> None:
        self.username = username
        self.token = token
        self.host = host
        self.port = port


class CertificateCredentials:
    """
    What a client of EXTERNAL begins with: its certificate says who it is.

    @ivar authorizationIdentity: whom to act as, C{None} for the account of the certificate.
    """

    def __init__(self, authorizationIdentity: bytes | None = None) -> None:
        self.authorizationIdentity = authorizationIdentity


class TicketCredentials:
    """
    What a client of GSSAPI begins with: it has a ticket, or can get one.

    @ivar service: the server's name as Kerberos has it, C{imap@host.example.org}.
    @ivar authorizationIdentity: whom to act as, C{None} for the same.
    """

    def __init__(self, service: str, authorizationIdentity: bytes | None = None) -> None:
        self.service = service
        self.authorizationIdentity = authorizationIdentity
