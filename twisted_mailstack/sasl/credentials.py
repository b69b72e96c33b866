"""
What a SASL exchange that sends a password ends in (RFC 4616).
"""

from __future__ import annotations

from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from zope.interface import implementer


@implementer(IUsernamePassword)
class PasswordCredentials(UsernamePassword):
    """
    A name and a password, to be shown to a portal.

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
