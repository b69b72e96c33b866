"""
Whose a token is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_mailstack.auth.tokens import Introspection, SignedTokens
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import ITokenVerifier

NOW = 1_800_000_000.0


class Web:
    """
    A web server that says what it is told to.

    @ivar asked: what it was.
    """

    def __init__(self, status: int = 200, answer: Any = None) -> None:
        self.status = status
        self.answer = answer
        self.asked: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.waiting: Deferred[None] | None = None

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """See L{twisted_mailstack.auth.tokens.Fetch}."""
        self.asked.append((method, url, headers, body))
        if self.waiting is not None:
            await self.waiting
        if self.answer is None:
            raise TemporaryFailure()
        answer = self.answer
        return self.status, answer if isinstance(answer, bytes) else json.dumps(answer).encode()


class IntrospectionTests(SynchronousTestCase):
    """
    RFC 7662.
    """

    def setUp(self) -> None:
        """A server that says that a token is Alice's."""
        self.clock = Clock()
        self.clock.advance(NOW)
        self.web = Web(answer={"active": True, "username": "alice@x.test", "scope": "a mail"})
        self.verifier = self.make()

    def make(self, **options: Any) -> Introspection:
        """
        @return: a verifier with these options.
        """
        return Introspection(self.web, "https://x.test/i", self.clock, **options)

    def verify(self, token: bytes = b"token") -> bytes | None:
        """
        @return: whose it is.
        """
        return self.successResultOf(ensureDeferred(self.verifier.verify(token)))

    def test_asked(self) -> None:
        """The token goes in a form, with who asks (RFC 7662 §2.1, RFC 6749 §2.3.1)."""
        verifyObject(ITokenVerifier, self.verifier)
        self.verifier = self.make(client="ma:il", secret="p w")
        self.assertEqual(self.verify(b"a+b/c="), b"alice@x.test")
        ((method, url, headers, body),) = self.web.asked
        self.assertEqual((method, url), ("POST", "https://x.test/i"))
        self.assertEqual(body, b"token=a%2Bb%2Fc%3D&token_type_hint=access_token")
        self.assertEqual(headers["Content-Type"], "application/x-www-form-urlencoded")
        self.assertEqual(headers["Authorization"], "Basic bWElM0FpbDpwK3c=")

    def test_known(self) -> None:
        """What was learnt holds for a minute, and no longer than the token."""
        self.verify()
        self.web.answer = {"active": False}
        self.clock.advance(59)
        self.assertEqual(self.verify(), b"alice@x.test")
        self.assertIs(self.verify(b"another"), None)
        self.clock.advance(1)
        self.assertIs(self.verify(), None)
        self.web.answer = {"active": True, "sub": "bob@x.test", "exp": self.clock.seconds() + 5}
        self.assertEqual(self.verify(), b"bob@x.test")
        self.clock.advance(5)
        self.assertIs(self.verify(), None)

    def test_nobody(self) -> None:
        """One that isn't active, has expired, says nobody, or somebody who wasn't verified."""
        for answer in (
            *(
                {"active": False, "username": "a"},
                {"username": "a"},
                {"active": "true", "sub": "a"},
            ),
            *({"active": True, "username": "a", "exp": NOW}, {"active": True}),
            *({"active": True, "username": 1}, {"active": True, "username": ""}),
            {"active": True, "email": "a", "email_verified": False},
        ):
            self.web.answer = answer
            self.assertIs(self.verify(), None, answer)
        self.web.answer = {"active": True, "email": "a", "email_verified": False, "sub": "b"}
        self.assertEqual(self.verify(), b"b")

    def test_purpose(self) -> None:
        """It has to be for us, and good for mail, where that is wanted."""
        for options, more, right in (
            *(({"scope": "mail"}, {}, True), ({"scope": "mail a"}, {}, True)),
            *(({"scope": "b"}, {}, False), ({"scope": "mail"}, {"scope": "mailx"}, False)),
            *(({"audience": "us"}, {}, False), ({"audience": "us"}, {"aud": "us"}, True)),
            ({"audience": "us"}, {"aud": ["them", "us"]}, True),
            ({"audience": "us"}, {"aud": ["them"]}, False),
        ):
            self.web.answer = {"active": True, "username": "x", "scope": "a mail", **more}
            self.verifier = self.make(**options)
            self.assertIs(self.verify() is not None, right, (options, more))

    def test_down(self) -> None:
        """A server that can't tell makes no token wrong."""
        for status, answer in ((500, {}), (200, b"<html>"), (200, []), (401, {}), (200, None)):
            self.web.status, self.web.answer = status, answer
            self.failureResultOf(ensureDeferred(self.verifier.verify(b"t")), TemporaryFailure)
        self.flushLoggedErrors()


class SignedTokensTests(SynchronousTestCase):
    """
    JWTs.
    """

    key = rsa.generate_private_key(65537, 2048)
    curve = ec.generate_private_key(ec.SECP256R1())

    def setUp(self) -> None:
        """An issuer with two keys."""
        self.clock = Clock()
        keys = [
            {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key())), "kid": "1"},
            {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.curve.public_key())), "kid": "2"},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "3"},
            {"kty": "weird", "kid": "4"},
        ]
        self.web = Web(answer={"keys": keys})
        self.verifier = self.make()

    def make(self, **options: Any) -> SignedTokens:
        """
        @return: a verifier with these options.
        """
        given = {"issuer": "https://i.test", "audience": "us", **options}
        return SignedTokens(self.web, "https://i.test/keys", self.clock, **given)

    def token(
        self, key: Any = None, kid: str | None = "1", alg: str = "RS256", **more: Any
    ) -> bytes:
        """
        @return: one of Alice's.
        """
        claims = {"iss": "https://i.test", "aud": "us", "exp": 2**33, "sub": "alice@x.test", **more}
        claims = {name: value for name, value in claims.items() if value is not None}
        headers = {} if kid is None else {"kid": kid}
        key = None if alg == "none" else key or self.key
        return jwt.encode(claims, key, alg, headers).encode()

    def verify(self, token: bytes) -> bytes | None:
        """
        @return: whose it is.
        """
        return self.successResultOf(ensureDeferred(self.verifier.verify(token)))

    def test_signed(self) -> None:
        """By either key, with its name or without; the keys are fetched once."""
        verifyObject(ITokenVerifier, self.verifier)
        for token in (
            *(self.token(), self.token(kid=None)),
            *(self.token(self.curve, "2", "ES256"), self.token(self.curve, None, "ES256")),
        ):
            self.assertEqual(self.verify(token), b"alice@x.test")
        self.assertEqual(len(self.web.asked), 1)
        self.assertEqual(self.web.asked[0][:2], ("GET", "https://i.test/keys"))

    def test_wrong(self) -> None:
        """
        Another's key, symmetric or no signatures, another issuer or audience, expired or not yet
        valid, without an end, and what is no JWT at all.
        """
        other = rsa.generate_private_key(65537, 2048)
        for token in (
            *(self.token(other), self.token(other, None), self.token(self.curve, "1", "ES256")),
            *(self.token("secret" * 9, "3", "HS256"), self.token("", None, "none")),
            *(self.token(iss="https://j.test"), self.token(aud="them"), self.token(aud=None)),
            *(self.token(exp=1), self.token(exp=None), self.token(iss=None)),
            *(self.token(nbf=2**33), self.token(sub=None), self.token(sub="")),
            *(b"", b"a.b.c", b"\xff", b"x" * 1000, self.token()[:-4] + b"AAAA"),
        ):
            self.assertIs(self.verify(token), None, token)
        self.verifier = self.make(scope="mail")
        self.assertIs(self.verify(self.token()), None)
        self.assertEqual(self.verify(self.token(scope="x mail")), b"alice@x.test")

    def test_renewed(self) -> None:
        """
        Keys are fetched again after an hour, and if one is missing, but not each time; while they
        can't be had those that are known hold.
        """
        self.verify(self.token())
        unknown = self.token(kid="9")
        self.assertIs(self.verify(unknown), None)
        self.assertEqual(len(self.web.asked), 1)
        self.clock.advance(30)
        self.assertIs(self.verify(unknown), None)
        self.assertIs(self.verify(unknown), None)
        self.assertEqual(len(self.web.asked), 2)
        self.web.answer = None
        self.clock.advance(3600)
        self.assertEqual(self.verify(self.token()), b"alice@x.test")
        self.assertEqual(len(self.web.asked), 3)
        self.flushLoggedErrors()

    def test_together(self) -> None:
        """Who comes while the keys are fetched waits for them."""
        self.web.waiting = Deferred()
        found = [ensureDeferred(self.verifier.verify(self.token())) for _ in range(3)]
        self.assertNoResult(found[2])
        self.web.waiting.callback(None)
        self.assertEqual([self.successResultOf(each) for each in found], [b"alice@x.test"] * 3)
        self.assertEqual(len(self.web.asked), 1)

    def test_down(self) -> None:
        """Without any keys nobody can tell."""
        for status, answer in ((500, {}), (200, b"x"), (200, {"keys": 1}), (200, None)):
            self.web.status, self.web.answer = status, answer
            self.verifier = self.make()
            waiting = ensureDeferred(self.verifier.verify(self.token()))
            self.failureResultOf(waiting, TemporaryFailure)
        self.flushLoggedErrors()
