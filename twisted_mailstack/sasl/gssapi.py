# -*- test-case-name: tests.sasl.test_gssapi -*-
"""
GSSAPI (RFC 4752): a ticket of Kerberos V5. Where the library C{gssapi} is installed. Both halves.

No security layer is offered or taken: TLS is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

from zope.interface import implementer

from twisted_mailstack.errors import AuthenticationFailed, ProofRefused, SyntaxProblem
from twisted_mailstack.interfaces import (
    IClientMechanism,
    ISASLClientExchange,
    ISASLExchange,
    IServerMechanism,
)
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import ProvenIdentity, TicketCredentials, WrongCredentials

#: RFC 4752 §3.1: the bit of "no security layer", and a buffer of no octets, which goes with it.
NO_LAYER = 1
_OFFER = bytes((NO_LAYER, 0, 0, 0))
#: Challenges after which a context that isn't complete never will be.
MAX_STEPS = 8


class SecurityContext(Protocol):
    """
    One end of a GSS-API context (RFC 2743). Each of its functions raises L{AuthenticationFailed} if
    the other end isn't who it should be, or doesn't follow the protocol.
    """

    @property
    def complete(self) -> bool:
        """Whether both ends know each other."""

    @property
    def initiator(self) -> str:
        """Who began it: a principal."""

    def step(self, token: bytes | None) -> bytes | None:
        """Take the other end's token, C{None} at first; give ours, if there is one."""

    def wrap(self, data: bytes) -> bytes:
        """Protect data against changes."""

    def unwrap(self, data: bytes) -> bytes:
        """What the other end has protected."""


class _Context:
    """
    A L{SecurityContext} of the library.
    """

    def __init__(self, context: Any, problem: type[Exception]) -> None:
        self._context = context
        self._problem = problem

    @property
    def complete(self) -> bool:
        return bool(self._context.complete)

    @property
    def initiator(self) -> str:
        return str(self._context.initiator_name)

    def step(self, token: bytes | None) -> bytes | None:
        found: bytes | None = self._call(self._context.step, token)
        return found

    def wrap(self, data: bytes) -> bytes:
        wrapped: bytes = self._call(self._context.wrap, data, False).message
        return wrapped

    def unwrap(self, data: bytes) -> bytes:
        unwrapped: bytes = self._call(self._context.unwrap, data).message
        return unwrapped

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (self._problem, ValueError):
            raise AuthenticationFailed() from None


def acceptor(keytab: str = "") -> Callable[[], SecurityContext]:
    """
    @param keytab: the file with the keys of the server's principals, such as
        C{imap/host.example.org}; by default the system's.
    @return: makes the server's ends of contexts.
    @raise ImportError: if the library isn't there.
    """
    library: Any = import_module("gssapi")
    store = {"keytab": keytab} if keytab else None

    def make() -> SecurityContext:
        problem = library.exceptions.GSSError
        try:
            key = library.Credentials(usage="accept", store=store)
            return _Context(library.SecurityContext(creds=key, usage="accept"), problem)
        except problem:
            raise AuthenticationFailed() from None

    return make


def initiator(service: str) -> SecurityContext:
    """
    @param service: as C{imap@host.example.org}.
    @return: the client's end of a context. Its first step may have to ask the KDC, and waits for
        that.
    @raise ImportError: if the library isn't there.
    """
    library: Any = import_module("gssapi")
    flags = library.RequirementFlag
    name = library.Name(service, library.NameType.hostbased_service)
    context = library.SecurityContext(
        name=name,
        mech=library.MechType.kerberos,
        flags=flags.mutual_authentication | flags.integrity,
        usage="initiate",
    )
    return _Context(context, library.exceptions.GSSError)


def accountNames(realms: Mapping[str, str]) -> Callable[[str], bytes | None]:
    """
    @param realms: of Kerberos, and the mail domain of each.
    @return: gives the name of the account of a principal, C{None} if it has none: it is of another
        realm, or has more parts than a name.
    """

    def find(principal: str) -> bytes | None:
        name, _, realm = principal.rpartition("@")
        domain = realms.get(realm)
        if not domain or not name or any(each in name for each in "/@\\"):
            return None
        return f"{name}@{domain}".encode()

    return find


@implementer(ISASLExchange)
class GSSAPIExchange:
    """One attempt."""

    def __init__(
        self,
        makeContext: Callable[[], SecurityContext],
        accountName: Callable[[str], bytes | None],
    ) -> None:
        self._make = makeContext
        self._context: SecurityContext | None = None
        self._accountName = accountName
        self._steps = 0
        self._offered = self._over = False

    def respond(self, response: bytes | None) -> bytes | ProvenIdentity:
        """See L{ISASLExchange}."""
        self._steps += 1
        if self._over or self._steps > MAX_STEPS:
            raise SyntaxProblem("The exchange is over")
        if response is None and self._context is None:
            return b""
        response = response or b""
        if self._context is None:
            self._context = self._make()
        context = self._context
        if self._offered:
            self._over = True
            return self._finish(context, response)
        if context.complete:
            # RFC 4752 §3.2: the client has nothing to say to our last token.
            if response:
                raise SyntaxProblem("Malformed GSSAPI message: nothing expected")
        else:
            if not response:
                raise SyntaxProblem("Malformed GSSAPI message: empty")
            token = context.step(response)
            if token or not context.complete:
                return token or b""
        self._offered = True
        return context.wrap(_OFFER)

    def _finish(self, context: SecurityContext, response: bytes) -> ProvenIdentity:
        chosen = context.unwrap(response)
        if len(chosen) < 4 or chosen[0] != NO_LAYER:
            raise SyntaxProblem("Malformed GSSAPI message: no security layer was offered")
        identity = chosen[4:]
        try:
            identity.decode("utf-8")
        except UnicodeDecodeError:
            raise SyntaxProblem("Malformed GSSAPI message: not UTF-8") from None
        name = self._accountName(context.initiator)
        if name is None:
            raise ProofRefused(context.initiator.encode("utf-8"))
        said = identity.decode("utf-8")
        if said and "@" not in said:
            said += "@" + context.initiator.rpartition("@")[2]
        if said and self._accountName(said) == name:
            # Clients say their principal here too, with its realm or without.
            identity = b""
        return ProvenIdentity(name, identity or None)


@implementer(IServerMechanism)
class GSSAPI:
    """See the module."""

    name = b"GSSAPI"
    needsTLS = False

    def __init__(
        self,
        makeContext: Callable[[], SecurityContext],
        accountName: Callable[[str], bytes | None],
    ) -> None:
        """
        @param makeContext: as L{acceptor} gives it.
        @param accountName: as L{accountNames} gives it.
        """
        self._makeContext = makeContext
        self._accountName = accountName

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        return GSSAPIExchange(self._makeContext, self._accountName)


@implementer(ISASLClientExchange)
class GSSAPIClientExchange:
    """One attempt."""

    def __init__(self, context: SecurityContext, identity: bytes) -> None:
        self._context = context
        self._identity = identity
        self._steps = 0
        self._over = False

    def respond(self, challenge: bytes | None) -> bytes | None:
        """See L{ISASLClientExchange}."""
        self._steps += 1
        if self._over or self._steps > MAX_STEPS:
            raise AuthenticationFailed("The server asks for more than GSSAPI has")
        context = self._context
        if not context.complete:
            return context.step(challenge) or b""
        offered = context.unwrap(challenge or b"")
        if len(offered) != 4 or not offered[0] & NO_LAYER:
            raise AuthenticationFailed("The server wants a security layer")
        self._over = True
        return context.wrap(_OFFER + self._identity)

    def accepted(self) -> None:
        """See L{ISASLClientExchange}."""
        if not self._over:
            raise AuthenticationFailed("The server hasn't shown who it is")


@implementer(IClientMechanism)
class GSSAPIClient:
    """See the module."""

    name = b"GSSAPI"
    needsTLS = False

    def __init__(self, makeContext: Callable[[str], SecurityContext] = initiator) -> None:
        """
        @param makeContext: as L{initiator}.
        """
        self._makeContext = makeContext

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        if not isinstance(credentials, TicketCredentials):
            raise WrongCredentials("GSSAPI needs a ticket")
        try:
            context = self._makeContext(credentials.service)
        except ImportError:
            raise SyntaxProblem("GSSAPI needs the library gssapi") from None
        return GSSAPIClientExchange(context, credentials.authorizationIdentity or b"")
