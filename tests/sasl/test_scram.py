"""
SCRAM (RFC 5802, RFC 7677).
"""

from __future__ import annotations

from base64 import b64encode
from binascii import a2b_base64
from functools import cache
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.sasl.support import BOUND, Bound, Secrets
from twisted_mailstack.errors import AuthenticationFailed, ProofRefused, SyntaxProblem
from twisted_mailstack.interfaces import IClientMechanism, IServerMechanism
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials, ProvenIdentity
from twisted_mailstack.sasl.scram import (
    SCHEMES,
    Scram,
    ScramClient,
    Verifier,
    saltFor,
)
from twisted_mailstack.sasl.scram import makeVerifier as makeSlowly
from twisted_mailstack.testing.contracts.mechanism import (
    INFO,
    ClientMechanismContract,
    MechanismContract,
    settled,
)

#: RFC 5802 §5, RFC 7677 §3: the scheme, the salt, the client's and the server's nonce, the
#: messages.
EXAMPLES = (
    (
        "scram-sha-1",
        a2b_base64(b"QSXCR+Q6sek8bf92"),
        b"fyko+d2lbbFgONRv9qkxdawL",
        b"3rfcNHYJY1ZVvWVs7j",
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    (
        "scram-sha-256",
        a2b_base64(b"W22ZaJ0SNY7soEsUEjb6gQ=="),
        b"rOprNGfwEbeRWgbNEkqO",
        b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
)
# It is meant to take its time.
makeVerifier = cache(makeSlowly)
NAME, PASSWORD = "j\u00f6rg,=@example.test".encode(), "p\u00e4ss\u2168".encode()


def secrets(scheme: str, name: bytes = NAME, password: bytes = PASSWORD) -> Secrets:
    """
    @return: the verifier of one account.
    """
    verifier = makeVerifier(scheme, password, 4096, b"a salt of 16 oct")
    return Secrets({(name, scheme): [str(verifier)]})


class ExampleTests(SynchronousTestCase):
    """
    The RFCs' exchanges, octet for octet, on both sides.
    """

    def test_server(self) -> None:
        """The server's messages, and the identity in the end."""
        for scheme, salt, _, nonce, first, challenge, final, success in EXAMPLES:
            source = Secrets(
                {(b"user", scheme): [str(makeVerifier(scheme, b"pencil", 4096, salt))]}
            )
            exchange = Scram(scheme, source, nonce=lambda nonce=nonce: nonce).begin(INFO)
            self.assertEqual(exchange.respond(None), b"")
            self.assertEqual(settled(exchange.respond(first)), challenge)
            self.assertEqual(exchange.respond(final), success)
            found = exchange.respond(b"")
            self.assertEqual(
                (found.username, found.authorizationIdentity, found.credentialId),
                (b"user", None, "C1"),
            )

    def test_client(self) -> None:
        """The client's messages, and that it knows the server."""
        for scheme, _, nonce, _, first, challenge, final, success in EXAMPLES:
            client = ScramClient(scheme, nonce=lambda nonce=nonce: nonce)
            exchange = client.begin(PasswordCredentials(b"user", b"pencil"), INFO)
            self.assertEqual(exchange.respond(None), first)
            self.assertEqual(exchange.respond(challenge), final)
            self.assertRaises(AuthenticationFailed, exchange.accepted)
            self.assertEqual(exchange.respond(success), b"")
            exchange.accepted()


class ScramTests(MechanismContract, SynchronousTestCase):
    """
    The server's half, without channel binding.
    """

    scheme = "scram-sha-256"
    client = (EXAMPLES[1][4], EXAMPLES[1][6], b"")
    secrets = (b"pencil",)

    def makeMechanism(self) -> IServerMechanism:
        """See L{MechanismContract}."""
        _, salt, _, nonce, *_ = EXAMPLES[1]
        verifier = makeVerifier(self.scheme, b"pencil", 4096, salt)
        source = Secrets({(b"user", self.scheme): [str(verifier)]})
        return Scram(self.scheme, source, nonce=lambda: nonce)

    def test_names(self) -> None:
        """They are called as they are registered, and fit for TLS only."""
        for scheme in SCHEMES:
            for plus in (False, True):
                mechanism = Scram(scheme, Secrets({}), plus=plus)
                wanted = scheme.upper() + "-PLUS" * plus
                self.assertEqual((mechanism.name.decode(), mechanism.needsTLS), (wanted, True))

    def test_first(self) -> None:
        """What isn't a client-first-message by the grammar of RFC 5802 §7 is none."""
        for message in (
            *(b"", b"n", b"n,,", b",,n=user,r=x", b"n,n=user,r=x", b"x,,n=user,r=x"),
            *(b"p=,,n=user,r=x", b"p=tls-exporter,,n=user,r=x", b"n,,n=,r=x", b"n,,n=user,r="),
            *(b"n,,r=x,n=user", b"n,,m=ext,n=user,r=x", b"n,,n=user,r=x,m=1", b"n,,n=us=er,r=x"),
            *(b"n,,n=us=2cer,r=x", b"n,,n=user,r=a b", b"n,,n=user,r=\xc3\xa4", b"n,,n=us\0er,r=x"),
            *(b"n,user,n=user,r=x", b"n,a=,n=user,r=x", b"n,,n=\xff,r=x", b"n,,n=user,r=x,yy"),
            *(b"n,,n=\xc2\xad,r=x", b"N,,n=user,r=x", b"n,,n=user,r=" + b"x" * 9000),
        ):
            exchange = self.begin()
            error = self.assertRaises(SyntaxProblem, exchange.respond, message)
            self.assertEqual(error.smtpCode, 501)

    def test_extensions(self) -> None:
        """Those that aren't mandatory are ignored (RFC 5802 §5.1)."""
        (challenge,) = self.exchange(b"n,,n=user,r=x,a=1,Z=more")
        self.assertTrue(challenge.startswith(b"r=x%hv"))

    def test_final(self) -> None:
        """What isn't a client-final-message is none; a proof of another exchange is wrong."""
        final = self.client[1]
        proof = final[final.index(b",p=") :]
        nonce = final[final.index(b"r=") : final.index(b",p=")]
        for message, kind in (
            *((b"", SyntaxProblem), (b"c=biws", SyntaxProblem), (final[:-1], SyntaxProblem)),
            (final.replace(b"biws", b"biw"), SyntaxProblem),
            (final + b",x=1", SyntaxProblem),
            (final.replace(b"c=biws,", b""), SyntaxProblem),
            (b"c=biws," + nonce + b",p=AAAA", SyntaxProblem),
            (b"c=biws," + nonce + b",m=x" + proof, SyntaxProblem),
            (final.replace(b"biws", b"eSws"), ProofRefused),
            (final.replace(b"biws", b64encode(b"n,a=x,")), ProofRefused),
            (b"c=biws,r=other" + proof, ProofRefused),
            (b"c=biws," + nonce + b",x=1" + proof, ProofRefused),
            (b"c=biws," + nonce + b",p=" + b64encode(b"x" * 32), ProofRefused),
        ):
            exchange = self.begin()
            settled(exchange.respond(self.client[0]))
            error: Any = self.assertRaises(kind, exchange.respond, message)
            if kind is ProofRefused:
                self.assertEqual(error.username, b"user")
            # It is over, whatever comes.
            self.assertRaises(SyntaxProblem, exchange.respond, final)

    def test_last(self) -> None:
        """The client has nothing to say to the server's last message."""
        exchange = self.begin()
        for message in self.client[:2]:
            settled(exchange.respond(message))
        self.assertRaises(SyntaxProblem, exchange.respond, b"x")
        self.assertRaises(SyntaxProblem, exchange.respond, b"")

    def test_unknown(self) -> None:
        """
        A name that isn't known goes the same way, to the same refusal, with a salt that is the same
        each time.
        """
        challenges = []
        for _ in range(2):
            exchange = self.begin()
            challenge = settled(exchange.respond(b"n,,n=nobody,r=x"))
            nonce, salt, iterations = challenge.split(b",")
            challenges.append((salt, iterations))
            message = b"c=biws,%b,p=%b" % (nonce, b64encode(b"x" * 32))
            error = self.assertRaises(ProofRefused, exchange.respond, message)
            self.assertEqual(error.username, b"nobody")
            self.assertEqual(error.text, AuthenticationFailed().text)
        self.assertEqual(challenges[0], challenges[1])

    def test_nobodys(self) -> None:
        """The right proof for a secret that is nobody's is wrong all the same."""
        source = Secrets({})
        verifier = str(makeVerifier(self.scheme, b"pencil", 4096, b"salt"))

        async def secretsFor(name: bytes, scheme: str, peer: str = "") -> Any:
            found = await Secrets({(b"user", scheme): [verifier]}).secretsFor(name, scheme)
            return [each._replace(credentialId="") for each in found]

        source.secretsFor = secretsFor  # type: ignore[method-assign]
        client = ScramClient(self.scheme).begin(PasswordCredentials(b"user", b"pencil"), INFO)
        exchange = Scram(self.scheme, source).begin(INFO)
        final = client.respond(settled(exchange.respond(client.respond(None))))
        self.assertRaises(ProofRefused, exchange.respond, final)

    def test_several(self) -> None:
        """Of several passwords with the same salt each is good, and it is told which it was."""
        salt = saltFor(self.scheme, "user")
        texts = [str(makeVerifier(self.scheme, each, 4096, salt)) for each in (b"one", b"two")]
        other = str(makeVerifier(self.scheme, b"three", 4096, b"another"))
        source = Secrets({(b"user", self.scheme): ["damaged", *texts, other]})
        for password, credentialId in ((b"one", "C2"), (b"two", "C3"), (b"three", None)):
            client = ScramClient(self.scheme).begin(PasswordCredentials(b"user", password), INFO)
            exchange = Scram(self.scheme, source).begin(INFO)
            final = client.respond(settled(exchange.respond(client.respond(None))))
            if credentialId is None:
                self.assertRaises(ProofRefused, exchange.respond, final)
            else:
                client.respond(exchange.respond(final))
                client.accepted()
                self.assertEqual(exchange.respond(b"").credentialId, credentialId)

    def test_downgrade(self) -> None:
        """
        A client that could bind and was kept from knowing that the server can too is refused (RFC
        5802 §6); where the server can't, it isn't.
        """
        message = self.client[0].replace(b"n,,", b"y,,")
        for plusOffered, info, refused in (
            *((True, BOUND, True), (True, INFO, False), (False, BOUND, False)),
        ):
            mechanism = Scram(self.scheme, secrets(self.scheme), plusOffered=plusOffered)
            exchange = mechanism.begin(info)
            if refused:
                error = self.assertRaises(ProofRefused, exchange.respond, message)
                self.assertEqual(error.username, b"user")
            else:
                settled(exchange.respond(message))

    def test_garbage(self) -> None:
        """Whatever a client says that doesn't know the password, it isn't let in."""
        random = Random(5802)
        pieces = (
            *(b"n,,", b"y,,", b"p=tls-exporter,,", b"n=user,", b"r=", b"x", b",", b"c=biws,"),
            *(b"p=", b64encode(b"\0" * 32), b"v=", b"", b"\0", b"a=user", b"e=other-error"),
            b"r=x%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        )
        for _ in range(2000):
            exchange = self.begin()
            message = b"n,,n=user,r=x" if random.random() < 0.7 else b""
            for _ in range(6):
                try:
                    answer = settled(exchange.respond(message))
                except (SyntaxProblem, AuthenticationFailed):
                    break
                self.assertIsInstance(answer, bytes)
                self.assertFalse(answer.startswith(b"v="))
                message = b"".join(random.choices(pieces, k=random.randrange(6)))


class PlusTests(MechanismContract, SynchronousTestCase):
    """
    The server's half with channel binding.
    """

    info = BOUND
    secrets = (PASSWORD,)

    @property
    def client(self) -> tuple[bytes, ...]:  # type: ignore[override]
        """The messages of our own client, of which other tests know that it is right."""
        client = ScramClient("scram-sha-512", plus=True, nonce=lambda: b"client")
        exchange = client.begin(PasswordCredentials(NAME, PASSWORD), self.info)
        server = self.begin()
        first = exchange.respond(None) or b""
        final = exchange.respond(settled(server.respond(first))) or b""
        return first, final, b""

    def makeMechanism(self) -> IServerMechanism:
        """See L{MechanismContract}."""
        scheme = "scram-sha-512"
        return Scram(scheme, secrets(scheme), plus=True, nonce=lambda: b"server")

    def test_available(self) -> None:
        """It is there where there is something to bind to, of whatever type."""
        mechanism = Scram("scram-sha-1", Secrets({}), plus=True)
        for channel, available in (
            *((None, False), (Bound({}), False), (Bound({"tls-unique": b"x"}), False)),
            *((Bound({"tls-server-end-point": b"x"}), True), (Bound({"tls-exporter": b"x"}), True)),
        ):
            info = INFO._replace(channel=channel)
            self.assertIs(mechanism.isAvailable(info), available)

    def test_flags(self) -> None:
        """It has to be bound, to something that there is (RFC 5802 §6)."""
        rest = b",,n=user,r=x"
        for flag in (b"n", b"y", b"p=", b"p=a b", b"p"):
            self.assertRaises(SyntaxProblem, self.begin().respond, flag + rest)
        for flag in (b"p=tls-unique", b"p=TLS-EXPORTER", b"p=none"):
            self.assertRaises(ProofRefused, self.begin().respond, flag + rest)
        for flag in (b"p=tls-exporter", b"p=tls-server-end-point"):
            settled(self.begin().respond(flag + rest))

    def test_otherChannel(self) -> None:
        """Somebody in the middle has another channel with each of them, and doesn't get in."""
        for kind in ("tls-exporter", "tls-server-end-point"):
            ours = INFO._replace(channel=Bound({kind: b"of the client and the middle"}))
            theirs = INFO._replace(channel=Bound({kind: b"of the middle and the server"}))
            client = ScramClient("scram-sha-512", plus=True)
            exchange = client.begin(PasswordCredentials(NAME, PASSWORD), ours)
            server = self.makeMechanism().begin(theirs)
            final = exchange.respond(settled(server.respond(exchange.respond(None))))
            self.assertRaises(ProofRefused, server.respond, final)


class ScramClientTests(ClientMechanismContract, SynchronousTestCase):
    """
    The client's half.
    """

    scheme = "scram-sha-1"
    plus = False
    secrets = (PASSWORD,)

    def makeClient(self) -> IClientMechanism:
        """See L{ClientMechanismContract}."""
        return ScramClient(self.scheme, plus=self.plus)

    def makeServer(self) -> IServerMechanism:
        """See L{ClientMechanismContract}."""
        return Scram(self.scheme, secrets(self.scheme), plus=self.plus)

    def makeCredentials(self) -> PasswordCredentials:
        """See L{ClientMechanismContract}."""
        return PasswordCredentials(NAME, PASSWORD, b"bob,=@example.test")

    def makeFound(self) -> ProvenIdentity:
        """See L{ClientMechanismContract}."""
        return ProvenIdentity(NAME, b"bob,=@example.test", "C1")

    def challenged(self, challenge: bytes) -> AuthenticationFailed:
        """
        @return: why the client doesn't take the server's first message.
        """
        client = ScramClient(self.scheme, nonce=lambda: b"mine")
        exchange = client.begin(self.makeCredentials(), INFO)
        exchange.respond(None)
        return self.assertRaises(AuthenticationFailed, exchange.respond, challenge)

    def test_challenges(self) -> None:
        """
        A nonce that isn't longer than ours and begins with it, few iterations, more than one can
        compute, mandatory extensions: the client gives up.
        """
        for challenge in (
            *(b"", b"r=mine", b"r=mine,s=AAAA,i=4096", b"r=other,s=AAAA,i=4096"),
            *(b"r=minex,s=,i=4096", b"r=minex,s=AAA,i=4096", b"r=minex,s=AAAA,i=4095"),
            *(b"r=minex,s=AAAA,i=600001", b"r=minex,s=AAAA,i=0x1000", b"r=minex,s=AAAA,i=-4096"),
            *(b"m=x,r=minex,s=AAAA,i=4096", b"r=minex,s=AAAA,i=4096,m=x", b"r=minex,i=4096,s=AAAA"),
            *(b"r=mine x,s=AAAA,i=4096", b"r=mine\xff,s=AAAA,i=4096", b"e=no-resources"),
        ):
            self.challenged(challenge)

    def test_impostor(self) -> None:
        """A server that doesn't know the password isn't taken for the right one."""
        for final in (
            *(b"", b"v=", b"v=AAAA", b"v=" + b64encode(b"\0" * 20), b"e=other-error", b"x=1"),
        ):
            exchange = self.begin()
            server = self.makeServer().begin(self.info)
            exchange.respond(settled(server.respond(exchange.respond(None))))
            self.assertRaises(AuthenticationFailed, exchange.respond, final)
            self.assertRaises(AuthenticationFailed, exchange.accepted)
            self.assertRaises(AuthenticationFailed, exchange.respond, b"")

    def test_wrong(self) -> None:
        """A wrong password is refused, one that was typed in another form isn't (RFC 4013)."""
        for password, right in (("p\u00e4ssIX", True), ("pa\u0308ss\u2168", True), ("pass", False)):
            credentials = PasswordCredentials(NAME, password.encode())
            exchange = self.makeClient().begin(credentials, self.info)
            server = self.makeServer().begin(self.info)
            final = exchange.respond(settled(server.respond(exchange.respond(None))))
            if right:
                exchange.respond(server.respond(final))
                exchange.accepted()
            else:
                self.assertRaises(ProofRefused, server.respond, final)

    def test_unsayable(self) -> None:
        """What SASLprep forbids isn't sent."""
        for name, password in ((b"", b"x"), (b"x", b""), (b"a\0", b"x"), (b"x", b"\x07")):
            credentials = PasswordCredentials(name, password)
            self.assertRaises(SyntaxProblem, self.makeClient().begin, credentials, self.info)


class PlusClientTests(ScramClientTests):
    """
    The client's half with channel binding.
    """

    scheme = "scram-sha-512"
    plus = True
    info = BOUND

    def test_preferred(self) -> None:
        """It binds to the very connection if it can, else to the server's certificate."""
        for bindings, kind in (
            ({"tls-exporter": b"x", "tls-server-end-point": b"y"}, b"tls-exporter"),
            ({"tls-server-end-point": b"y"}, b"tls-server-end-point"),
        ):
            info = INFO._replace(channel=Bound(bindings))
            first = self.makeClient().begin(self.makeCredentials(), info).respond(None) or b""
            self.assertTrue(first.startswith(b"p=%b,a=bob=2C=3D@" % kind), first)

    def test_nothing(self) -> None:
        """There may be nothing to bind to."""
        self.assertRaises(SyntaxProblem, self.makeClient().begin, self.makeCredentials(), INFO)


class FlagTests(SynchronousTestCase):
    """
    What a client that doesn't bind tells the server.
    """

    def flag(self, names: set[bytes], info: ConnectionInfo) -> bytes | None:
        """
        @return: C{None} if the mechanism can't be used.
        """
        found = ScramClient("scram-sha-1").against(names, info)
        first = found and found.begin(PasswordCredentials(b"x", b"y"), info).respond(None)
        return first[:1] if first else None

    def test_flag(self) -> None:
        """C{y} if it could and the server doesn't offer to, else C{n} (RFC 5802 §6)."""
        plus = {b"SCRAM-SHA-1", b"SCRAM-SHA-1-PLUS"}
        self.assertEqual(self.flag({b"SCRAM-SHA-1"}, BOUND), b"y")
        self.assertEqual(self.flag(plus, BOUND), b"n")
        self.assertEqual(self.flag({b"SCRAM-SHA-1"}, INFO), b"n")
        self.assertEqual(self.flag(plus, INFO), b"n")
        self.assertIs(ScramClient("scram-sha-1", plus=True).against(plus, INFO), None)


class VerifierTests(SynchronousTestCase):
    """
    What is stored.
    """

    def test_text(self) -> None:
        """It is text, and comes back from that; the password doesn't."""
        verifier = makeVerifier("scram-sha-256", b"pencil", 4096, b"salt")
        text = str(verifier)
        self.assertEqual(Verifier.parse(text), verifier)
        self.assertTrue(text.startswith("4096,c2FsdA==,"))
        for wrong in (
            "",
            "4096",
            "x,AAAA,AAAA,AAAA",
            "0,AAAA,AAAA,AAAA",
            "1,,AAAA,AAAA",
            text + ",",
        ):
            self.assertRaises(ValueError, Verifier.parse, wrong)

    def test_password(self) -> None:
        """What can't be a password has no verifier."""
        for password in (b"", b"\xff", b"\x07"):
            self.assertRaises(SyntaxProblem, makeVerifier, "scram-sha-1", password, 4096, b"salt")

    def test_salt(self) -> None:
        """An account has the same salt for all of its passwords, another one another."""
        found = {saltFor(scheme, name) for scheme in SCHEMES for name in ("a@b.test", "c@b.test")}
        self.assertEqual(len(found), 6)
        self.assertEqual(saltFor("scram-sha-1", "A@b.test"), saltFor("scram-sha-1", "a@B.test"))
        self.assertEqual({len(each) for each in found}, {16})
