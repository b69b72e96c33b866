# -*- test-case-name: tests.sasl.test_scram -*-
"""
SCRAM-SHA-1 (RFC 5802), SCRAM-SHA-256 (RFC 7677), SCRAM-SHA-512, and their -PLUS forms. Both halves.

The password isn't sent, and the server keeps nothing by which one could log in. Both sides show
that they know it. The -PLUS forms also show that nobody sits between them: both have the same TLS
connection (RFC 9266, RFC 5929 §4).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from binascii import Error, a2b_base64
from collections.abc import Awaitable, Callable, Collection
from typing import Any, NamedTuple

from zope.interface import implementer

from twisted_mailstack.errors import AuthenticationFailed, ProofRefused, SyntaxProblem
from twisted_mailstack.interfaces import (
    IClientMechanism,
    IConditionalMechanism,
    INegotiatingMechanism,
    ISASLClientExchange,
    ISASLExchange,
    ISecretSource,
)
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials, ProvenIdentity, WrongCredentials
from twisted_mailstack.sasl.saslprep import saslprep

#: The families, as their verifiers are stored, and the hash function of each.
SCHEMES = {"scram-sha-1": "sha1", "scram-sha-256": "sha256", "scram-sha-512": "sha512"}
#: The types of channel binding that are known, the best one first.
BINDINGS = ("tls-exporter", "tls-server-end-point")
#: What a client of ours computes: fewer make the password easy to guess (RFC 7677 §4), more would
#: take seconds.
LEAST_ITERATIONS = 4096
MOST_ITERATIONS = 600_000
SALT_OCTETS = 16
#: Octets of a message; RFC 5802 sets no bound.
MAX_MESSAGE = 8192

#   printable = %x21-2B / %x2D-7E        ;; Printable ASCII except ","
_NONCE = re.compile(rb"[\x21-\x2b\x2d-\x7e]+\Z")
#   saslname = 1*(value-safe-char / "=2C" / "=3D")
_NAME = re.compile(rb"(?:[^\0=,]|=2C|=3D)+\Z")
#   cb-name = 1*(ALPHA / DIGIT / "." / "-")
_BINDING = re.compile(rb"[A-Za-z0-9.-]+\Z")
#   attr-val = ALPHA "=" value
_EXTENSION = re.compile(rb"[A-Za-z]=[^\0,]+\Z")
_NUMBER = re.compile(rb"[1-9][0-9]{0,9}\Z")


class Verifier(NamedTuple):
    """
    What a server keeps of a password (RFC 5802 §3).

    @ivar iterations: of the hash function.
    @ivar storedKey: what a client's proof is checked against.
    @ivar serverKey: by which the server shows that it knows the password.
    """

    iterations: int
    salt: bytes
    storedKey: bytes
    serverKey: bytes

    def __str__(self) -> str:
        parts = (b64encode(each).decode("ascii") for each in self[1:])
        return ",".join((str(self.iterations), *parts))

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """
        @param text: as C{str} makes it.
        @raise ValueError: if it is none.
        """
        iterations, *parts = text.split(",")
        salt, storedKey, serverKey = (a2b_base64(each, strict_mode=True) for each in parts)
        if not iterations.isascii() or int(iterations) < 1 or not salt:
            raise ValueError("no verifier")
        return cls(int(iterations), salt, storedKey, serverKey)


def makeVerifier(scheme: str, password: bytes, iterations: int, salt: bytes) -> Verifier:
    """
    @param scheme: of L{SCHEMES}.
    @param password: UTF-8.
    @return: its verifier. Takes 10 to 20 ms of CPU for 65,536 iterations where it is called.
    @raise SyntaxProblem: if it can't be a password.
    """
    return verifierOf(scheme, _prepare(password), iterations, salt)


def verifierOf(scheme: str, password: bytes, iterations: int, salt: bytes) -> Verifier:
    """
    As L{makeVerifier}, of a password that is prepared, or is to be taken as it is.
    """
    algorithm = SCHEMES[scheme]
    salted = hashlib.pbkdf2_hmac(algorithm, password, salt, iterations)
    clientKey, serverKey = _keys(algorithm, salted)
    return Verifier(iterations, salt, hashlib.new(algorithm, clientKey).digest(), serverKey)


def saltFor(scheme: str, name: str) -> bytes:
    """
    A client is told one salt for its name, before it has shown which of the account's passwords it
    has: so all of an account have the same. And so that it can't be told from that of a name that
    isn't known, it is made of the name. That is no secret: everybody can ask for it.

    @param name: the account's address.
    """
    text = f"{scheme}\0{name.casefold()}".encode("utf-8", "replace")
    return hashlib.sha256(b"salt\0" + text).digest()[:SALT_OCTETS]


def _keys(algorithm: str, salted: bytes) -> tuple[bytes, bytes]:
    return (
        hmac.digest(salted, b"Client Key", algorithm),
        hmac.digest(salted, b"Server Key", algorithm),
    )


def _prepare(text: bytes) -> bytes:
    try:
        return saslprep(text.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("It is not UTF-8") from None


def _newNonce() -> bytes:
    return secrets.token_urlsafe(24).encode("ascii")


def _xor(first: bytes, second: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(first, second, strict=True))


def _decode(value: bytes) -> bytes:
    try:
        if value and len(value) % 4 == 0:
            return a2b_base64(value, strict_mode=True)
    except Error:
        pass
    raise SyntaxProblem("Malformed SCRAM message: not base64")


def _unescape(name: bytes) -> bytes:
    if not _NAME.match(name):
        raise SyntaxProblem("Malformed SCRAM message: no name")
    return name.replace(b"=2C", b",").replace(b"=3D", b"=")


def _escape(name: bytes) -> bytes:
    return name.replace(b"=", b"=3D").replace(b",", b"=2C")


def _attribute(part: bytes, letter: bytes) -> bytes:
    if not part.startswith(letter + b"="):
        raise SyntaxProblem(f"Malformed SCRAM message: {letter.decode('ascii')}= expected")
    return part[2:]


def _checkExtensions(parts: list[bytes]) -> None:
    # RFC 5802 §5.1: "m=" is mandatory, and none is known; what else there may be is ignored.
    for part in parts:
        if not _EXTENSION.match(part) or part.startswith(b"m="):
            raise SyntaxProblem("Malformed SCRAM message: unknown extension")


def _checkText(message: bytes) -> None:
    if len(message) > MAX_MESSAGE:
        raise SyntaxProblem("Malformed SCRAM message: too long")
    try:
        message.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("Malformed SCRAM message: not UTF-8") from None


# --- the server's half -------------------------------------------------------------------------


@implementer(ISASLExchange)
class ScramExchange:
    """One attempt."""

    def __init__(self, mechanism: Scram, info: ConnectionInfo) -> None:
        self._mechanism = mechanism
        self._info = info
        self._step: Callable[[bytes], Any] = self._first
        self._header = b""
        self._bare = b""
        self._serverFirst = b""
        self._nonce = b""
        self._bound = b""
        self._name = b""
        self._identity: bytes | None = None
        self._verifiers: list[tuple[str, Verifier]] = []
        self._proven: ProvenIdentity | None = None

    def respond(self, response: bytes | None) -> Any:
        """See L{ISASLExchange}."""
        if response is None:
            return b""
        _checkText(response)
        return self._step(response)

    def _first(self, message: bytes) -> Awaitable[bytes]:
        #   client-first-message = gs2-header client-first-message-bare
        #   gs2-header = gs2-cbind-flag "," [ authzid ] ","
        #   client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
        parts = message.split(b",")
        if len(parts) < 4:
            raise SyntaxProblem("Malformed SCRAM message")
        flag, identity, username, nonce, *extensions = parts
        if identity:
            self._identity = _prepareName(_unescape(_attribute(identity, b"a")))
        self._name = _prepareName(_unescape(_attribute(username, b"n")))
        nonce = _attribute(nonce, b"r")
        if not _NONCE.match(nonce):
            raise SyntaxProblem("Malformed SCRAM message: no nonce")
        _checkExtensions(extensions)
        self._bound = self._bind(flag)
        self._header = b",".join((flag, identity, b""))
        self._bare = message[len(self._header) :]
        self._nonce = nonce + self._mechanism.nonce()
        self._step = self._over
        return self._challenge()

    def _bind(self, flag: bytes) -> bytes:
        """
        @return: the channel binding data that the client has to repeat.
        """
        mechanism, channel = self._mechanism, self._info.channel
        if mechanism.plus:
            # RFC 5802 §6
            kind = flag.removeprefix(b"p=")
            if kind == flag or not _BINDING.match(kind):
                raise SyntaxProblem("Malformed SCRAM message: channel binding expected")
            name = kind.decode("ascii")
            bound = channel.binding(name) if channel is not None and name in BINDINGS else None
            if bound is None:
                raise ProofRefused(self._name)
            return bound
        if flag == b"y":
            # "If the flag is set to "y" and the server supports channel binding, the server MUST
            # fail authentication": somebody has kept our offer from the client.
            if mechanism.plusOffered and canBind(self._info):
                raise ProofRefused(self._name)
        elif flag != b"n":
            raise SyntaxProblem("Malformed SCRAM message: n or y expected")
        return b""

    async def _challenge(self) -> bytes:
        mechanism = self._mechanism
        found = await mechanism.source.secretsFor(self._name, mechanism.scheme, self._info.peer)
        for each in found:
            try:
                self._verifiers.append((each.credentialId, Verifier.parse(each.text)))
            except ValueError:
                # One that somebody else has written.
                continue
        if not self._verifiers:
            raise ProofRefused(self._name)
        # One salt is told, so what has another can't be meant.
        first = self._verifiers[0][1]
        self._verifiers = [
            (credentialId, each) for credentialId, each in self._verifiers if each[:2] == first[:2]
        ]
        self._serverFirst = b"r=%b,s=%b,i=%d" % (
            self._nonce,
            b64encode(first.salt),
            first.iterations,
        )
        self._step = self._final
        return self._serverFirst

    def _final(self, message: bytes) -> bytes:
        #   client-final-message-without-proof = channel-binding "," nonce ["," extensions]
        #   client-final-message = client-final-message-without-proof "," proof
        self._step = self._over
        without, _, last = message.rpartition(b",")
        parts = without.split(b",")
        if len(parts) < 2:
            raise SyntaxProblem("Malformed SCRAM message")
        bound = _decode(_attribute(parts[0], b"c"))
        nonce = _attribute(parts[1], b"r")
        _checkExtensions(parts[2:])
        proof = _decode(_attribute(last, b"p"))
        algorithm = SCHEMES[self._mechanism.scheme]
        if len(proof) != hashlib.new(algorithm).digest_size:
            raise SyntaxProblem("Malformed SCRAM message: no proof")
        expected = self._header + self._bound
        if not hmac.compare_digest(bound, expected) or not hmac.compare_digest(nonce, self._nonce):
            raise ProofRefused(self._name)
        message = b",".join((self._bare, self._serverFirst, without))
        for credentialId, verifier in self._verifiers:
            signature = hmac.digest(verifier.storedKey, message, algorithm)
            key = hashlib.new(algorithm, _xor(proof, signature)).digest()
            if hmac.compare_digest(key, verifier.storedKey) and credentialId:
                self._proven = ProvenIdentity(self._name, self._identity, credentialId)
                self._step = self._end
                return b"v=" + b64encode(hmac.digest(verifier.serverKey, message, algorithm))
        # "a server implementation MAY conclude the SASL exchange with a failure without sending the
        # server-final-message" (RFC 5802 §5.1).
        raise ProofRefused(self._name)

    def _end(self, message: bytes) -> ProvenIdentity:
        # None of the protocols can send data with its success, so it was a challenge, to which the
        # response is empty (RFC 4422 §3.1; RFC 4954 §4).
        self._step = self._over
        if message or self._proven is None:
            raise SyntaxProblem("Malformed SCRAM message: nothing expected")
        return self._proven

    def _over(self, message: bytes) -> bytes:
        raise SyntaxProblem("The exchange is over")


def _prepareName(name: bytes) -> bytes:
    # RFC 5802 §5.1: "n:" ... MUST prepare the username by SASLprep; the server likewise. A name
    # that has nothing left is none of an account.
    return _prepare(name)


def canBind(info: ConnectionInfo) -> bool:
    """
    @return: whether there is anything on this connection to bind a mechanism to.
    """
    channel = info.channel
    return channel is not None and any(channel.binding(kind) is not None for kind in BINDINGS)


@implementer(IConditionalMechanism)
class Scram:
    """
    See the module.

    @ivar scheme: of L{SCHEMES}.
    @ivar plus: with channel binding.
    @ivar plusOffered: of one without: whether that with channel binding is offered beside it, where
        that is possible.
    """

    needsTLS = True

    def __init__(
        self,
        scheme: str,
        source: ISecretSource,
        *,
        plus: bool = False,
        plusOffered: bool = False,
        covers: Callable[[], bool] = lambda: True,
        nonce: Callable[[], bytes] = _newNonce,
    ) -> None:
        """
        @param covers: whether everybody who has a password can log in so.
        @param nonce: makes unguessable printable text without commas.
        """
        self.name = scheme.upper().encode("ascii") + (b"-PLUS" if plus else b"")
        self.scheme = scheme
        self.source = source
        self.plus = plus
        self.plusOffered = plusOffered
        self.nonce = nonce
        self._covers = covers

    def isAvailable(self, info: ConnectionInfo) -> bool:
        """See L{IConditionalMechanism}."""
        return self._covers() and (not self.plus or canBind(info))

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism<twisted_mailstack.interfaces.IServerMechanism>}."""
        return ScramExchange(self, info)


# --- the client's half -------------------------------------------------------------------------


@implementer(ISASLClientExchange)
class ScramClientExchange:
    """One attempt."""

    def __init__(
        self,
        algorithm: str,
        credentials: PasswordCredentials,
        password: bytes,
        header: bytes,
        bound: bytes,
        nonce: bytes,
    ) -> None:
        self._algorithm = algorithm
        self._password = password
        self._header = header
        self._bound = bound
        self._nonce = nonce
        self._bare = b"n=%b,r=%b" % (_escape(_prepareName(credentials.username)), nonce)
        self._signature = b""
        self._step = self._first
        self._proven = False

    def respond(self, challenge: bytes | None) -> bytes | None:
        """See L{ISASLClientExchange}."""
        if challenge is None:
            return self._header + self._bare
        try:
            _checkText(challenge)
            return self._step(challenge)
        except SyntaxProblem as problem:
            self._step = self._over
            raise AuthenticationFailed(f"The server said: {problem.text}") from None

    def _first(self, message: bytes) -> bytes:
        #   server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count
        #                          ["," extensions]
        parts = message.split(b",")
        if len(parts) < 3:
            raise SyntaxProblem("Malformed SCRAM message")
        nonce = _attribute(parts[0], b"r")
        salt = _decode(_attribute(parts[1], b"s"))
        count = _attribute(parts[2], b"i")
        _checkExtensions(parts[3:])
        if not _NONCE.match(nonce) or not _NUMBER.match(count):
            raise SyntaxProblem("Malformed SCRAM message")
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise SyntaxProblem("Malformed SCRAM message: not our nonce")
        iterations = int(count)
        if not LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise SyntaxProblem(f"Malformed SCRAM message: {iterations} iterations")
        algorithm = self._algorithm
        salted = hashlib.pbkdf2_hmac(algorithm, self._password, salt, iterations)
        clientKey, serverKey = _keys(algorithm, salted)
        without = b"c=%b,r=%b" % (b64encode(self._header + self._bound), nonce)
        text = b",".join((self._bare, message, without))
        storedKey = hashlib.new(algorithm, clientKey).digest()
        proof = _xor(clientKey, hmac.digest(storedKey, text, algorithm))
        self._signature = hmac.digest(serverKey, text, algorithm)
        self._step = self._final
        return without + b",p=" + b64encode(proof)

    def _final(self, message: bytes) -> bytes:
        #   server-final-message = (server-error / verifier) ["," extensions]
        self._step = self._over
        first, *extensions = message.split(b",")
        if first.startswith(b"e="):
            raise SyntaxProblem(first[2:].decode("utf-8", "replace"))
        signature = _decode(_attribute(first, b"v"))
        _checkExtensions(extensions)
        if not hmac.compare_digest(signature, self._signature):
            raise SyntaxProblem("It doesn't know the password")
        self._proven = True
        return b""

    def _over(self, message: bytes) -> bytes:
        raise SyntaxProblem("Too much")

    def accepted(self) -> None:
        """See L{ISASLClientExchange}."""
        if not self._proven:
            raise AuthenticationFailed("The server hasn't shown that it knows the password")


@implementer(IClientMechanism, INegotiatingMechanism)
class ScramClient:
    """
    See the module.

    @ivar flag: of a mechanism without channel binding, what the server is told: C{n}, we can't
        bind; C{y}, we could, but it doesn't offer to (RFC 5802 §6).
    """

    needsTLS = True

    def __init__(
        self,
        scheme: str,
        *,
        plus: bool = False,
        flag: bytes = b"n",
        nonce: Callable[[], bytes] = _newNonce,
    ) -> None:
        self.name = scheme.upper().encode("ascii") + (b"-PLUS" if plus else b"")
        self.plus = plus
        self.flag = flag
        self._scheme = scheme
        self._nonce = nonce

    def against(self, names: Collection[bytes], info: ConnectionInfo) -> ScramClient | None:
        """See L{INegotiatingMechanism}."""
        if self.plus:
            return self if canBind(info) else None
        flag = b"y" if canBind(info) and self.name + b"-PLUS" not in names else b"n"
        return ScramClient(self._scheme, flag=flag, nonce=self._nonce)

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        if not isinstance(credentials, PasswordCredentials):
            raise WrongCredentials("SCRAM needs a password")
        flag, bound = self.flag, b""
        if self.plus:
            kind, bound = _binding(info)
            flag = b"p=" + kind
        identity = credentials.authorizationIdentity
        authzid = b"a=" + _escape(_prepareName(identity)) if identity else b""
        return ScramClientExchange(
            SCHEMES[self._scheme],
            credentials,
            _prepare(credentials.password),
            b"%b,%b," % (flag, authzid),
            bound,
            self._nonce(),
        )


def _binding(info: ConnectionInfo) -> tuple[bytes, bytes]:
    for kind in BINDINGS:
        bound = None if info.channel is None else info.channel.binding(kind)
        if bound is not None:
            return kind.encode("ascii"), bound
    raise SyntaxProblem("There is nothing to bind to on this connection")
