"""
Passwords as other servers and frameworks kept them. The hashes here were made by the programs named
with them, or are of the documents in which the schemes are defined.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from types import SimpleNamespace

from argon2 import PasswordHasher as Argon2
from argon2 import Type
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth import schemes
from twisted_mailstack.auth.md import md4
from twisted_mailstack.auth.schemes import (
    ALPHABET,
    chooseSecret,
    isAppPassword,
    isCurrent,
    makeSecrets,
    makeVerifier,
    newAppPassword,
    parseSecret,
    pureCrypt,
    verifySecret,
    withName,
)
from twisted_mailstack.errors import SyntaxProblem

SECRET = b"secret"


def salted(name: str, salt: bytes = b"salt", password: bytes = SECRET) -> str:
    """
    @return: base64 of a digest with its salt behind it.
    """
    return b64encode(hashlib.new(name, password + salt).digest() + salt).decode()


#: What is kept, of L{SECRET}, and the scheme that it is said to be.
KEPT = (
    # openssl passwd -6 -salt abc secret, and so on.
    (
        "{SHA512-CRYPT}$6$abc$IdWKNKTJEb8LxY7CGg8YBXlvtfZzFw7Mp/r6niK9YB2mdvgY.."
        "TKjv1T..8RadRt2qvUHYRLr/TsVArtr91iR1",
        "sha512-crypt",
    ),
    (
        "{CRYPT}$6$abc$IdWKNKTJEb8LxY7CGg8YBXlvtfZzFw7Mp/r6niK9YB2mdvgY.."
        "TKjv1T..8RadRt2qvUHYRLr/TsVArtr91iR1",
        "sha512-crypt",
    ),
    (
        "{CRYPT.HEX}" + b"$1$abc$iCQ2D3nhptRYi27fDYv2s1".hex(),
        "md5-crypt",
    ),
    ("{MD5.HEX}" + b"$1$abc$iCQ2D3nhptRYi27fDYv2s1".hex(), "md5-crypt"),
    ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "sha"),
    ("{SHA1}5en6G6MezRroT3XKqkdPOmY/BfQ=", "sha"),
    ("{SHA1.HEX}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4", "sha"),
    ("{SHA}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4", "sha"),
    ("{sha.b64}5en6G6MezRroT3XKqkdPOmY/BfQ", "sha"),
    (f"{{SHA256}}{salted('sha256', b'')}", "sha256"),
    (f"{{SHA512}}{salted('sha512', b'')}", "sha512"),
    (f"{{SSHA}}{salted('sha1')}", "ssha"),
    (f"{{SSHA256}}{salted('sha256')}", "ssha256"),
    (f"{{SSHA512}}{salted('sha512', b'longer salt')}", "ssha512"),
    (f"{{SMD5}}{salted('md5')}", "smd5"),
    ("{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69", "md5-digest"),
    ("{LDAP-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==", "md5-digest"),
    ("{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==", "md5-digest"),
    # doveadm pw -s CRAM-MD5 -p secret, and so on.
    (
        "{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56",
        "cram-md5",
    ),
    (
        "{HMAC-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56",
        "cram-md5",
    ),
    ("{CRAM-MD5.B64}zTun3qrW5cojRIukLjeXR6ng9/H7wAyKgbuqw5VzG1Y=", "cram-md5"),
    ("{DIGEST-MD5}alice:example.test:4842575394a190ef4c973253ba19099c", "digest-md5"),
    ("{DIGEST-MD5.B64}a:b:OdY/MBtRqxfpW5GBqf0e1w==", "digest-md5"),
    ("{DIGEST-MD5}alice::cc3a3506aba601d2feee7bf9b34237ce", "digest-md5"),
    ("{PLAIN-MD4}67d3dafef63ff00603aeef3769cfbf0d", "plain-md4"),
    ("{PLAIN-MD4.B64}Z9Pa/vY/8AYDru83ac+/DQ==", "plain-md4"),
    ("{PLAIN}secret", "plain"),
    ("{CLEARTEXT}secret", "plain"),
    ("{CLEARTEXT.b64}c2VjcmV0", "plain"),
)


class DovecotTests(SynchronousTestCase):
    """
    C{{SCHEME}text}.
    """

    def test_kept(self) -> None:
        """Each form is known by its name, and is the password's and nobody else's."""
        for text, scheme in KEPT:
            found, rest = parseSecret(text)
            self.assertEqual(found, scheme, text)
            self.assertTrue(verifySecret(found, rest, SECRET), text)
            for wrong in (b"Secret", b"secret ", b"secre", b"", b"\xff", text.encode()):
                self.assertFalse(verifySecret(found, rest, wrong), (text, wrong))

    def test_bcrypt(self) -> None:
        """bcrypt (BLF-CRYPT), whose passwords count up to 72 octets; not as hash of nothing."""
        text = schemes.bcrypt.hashpw(b"x" * 72, schemes.bcrypt.gensalt(4)).decode()
        for written in (text, "{BLF-CRYPT}" + text, "{CRYPT}" + text.replace("$2b$", "$2y$")):
            scheme, rest = parseSecret(written)
            self.assertEqual(scheme, "blf-crypt")
            self.assertTrue(verifySecret(scheme, rest, b"x" * 72))
            self.assertTrue(verifySecret(scheme, rest, b"x" * 90))
            self.assertFalse(verifySecret(scheme, rest, b"x" * 71))
        # Of the documentation of crypt_blowfish.
        known = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
        self.assertTrue(verifySecret("blf-crypt", known, b"U*U"))

    def test_argon2(self) -> None:
        """argon2 in its three kinds; not such as would take all memory."""
        for kind, name in ((Type.ID, "ARGON2ID"), (Type.I, "ARGON2I"), (Type.D, "ARGON2D")):
            text = Argon2(1, 64, 1, type=kind).hash("secret")
            for written in (text, f"{{{name}}}{text}"):
                scheme, rest = parseSecret(written)
                self.assertEqual(scheme, name.lower())
                self.assertTrue(verifySecret(scheme, rest, SECRET))
                self.assertFalse(verifySecret(scheme, rest, b"other"))
        asked: list[object] = []
        self.patch(schemes, "argon2", SimpleNamespace(verify=lambda *both: asked.append(both)))
        for cost in ("m=262145,t=1", "m=4194304,t=1", "m=262144,t=17", "m=8,t=1000000"):
            huge = f"$argon2id$v=19${cost},p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo"
            self.assertFalse(verifySecret("argon2id", huge, SECRET))
        self.assertEqual(asked, [])

    def test_pbkdf2(self) -> None:
        """PBKDF2 as Dovecot, PHC strings and Django have it."""
        for written in (
            "{PBKDF2}$1$salt$2$" + hashlib.pbkdf2_hmac("sha1", SECRET, b"salt", 2).hex(),
            "$pbkdf2-sha256$i=10,l=32$c2FsdA$"
            + b64encode(hashlib.pbkdf2_hmac("sha256", SECRET, b"salt", 10)).decode().rstrip("="),
            "$pbkdf2-sha512$10$c2FsdA$"
            + b64encode(hashlib.pbkdf2_hmac("sha512", SECRET, b"salt", 10))
            .decode()
            .rstrip("=")
            .replace("+", "."),
            "pbkdf2_sha256$10$salt$"
            + b64encode(hashlib.pbkdf2_hmac("sha256", SECRET, b"salt", 10)).decode(),
        ):
            scheme, rest = parseSecret(written)
            self.assertTrue(verifySecret(scheme, rest, SECRET), written)
            self.assertFalse(verifySecret(scheme, rest, b"other"), written)
        # RFC 6070 §2: password "password", 4096 iterations.
        known = "$1$salt$4096$4b007901b765489abead49d926f721d065a429c1"
        self.assertTrue(verifySecret("pbkdf2", known, b"password"))
        endless = "$1$salt$999999999999$4b007901b765489abead49d926f721d065a429c1"
        self.assertFalse(verifySecret("pbkdf2", endless, b"password"))

    def test_django(self) -> None:
        """Django's other hashers."""
        inner = hashlib.sha256(SECRET).hexdigest().encode()
        cheap = schemes.bcrypt.gensalt(4)
        for written in (
            "argon2" + Argon2(1, 64, 1).hash("secret"),
            "bcrypt$" + schemes.bcrypt.hashpw(SECRET, cheap).decode(),
            "bcrypt_sha256$" + schemes.bcrypt.hashpw(inner, cheap).decode(),
        ):
            scheme, rest = parseSecret(written)
            self.assertEqual(scheme, "django")
            self.assertTrue(verifySecret(scheme, rest, SECRET), written)
            self.assertFalse(verifySecret(scheme, rest, b"other"), written)

    def test_typed(self) -> None:
        """Others hash what was typed, ours hash its one form: both are tried."""
        decomposed, composed = "Gru\u0308\u00dfe".encode(), "Gr\u00fc\u00dfe".encode()
        for password in (decomposed, composed):
            text = salted("sha256", password=password)
            self.assertTrue(verifySecret("ssha256", text, password))
        self.assertFalse(verifySecret("ssha256", salted("sha256", password=decomposed), composed))

    def test_unknown(self) -> None:
        """What can't be verified is refused, naming the scheme and never the secret."""
        for written in (
            *("{PLAIN-TRUNC}abcdef", "{DIGEST-MD5}abcdef", "{OTP}abcdef", "{SHA.ROT13}abcdef"),
            *("{}abcdef", "abcdef", "{SHAabcdef", "{CLEARTEXT.b64}abcdef!"),
        ):
            error = self.assertRaises(SyntaxProblem, parseSecret, written)
            self.assertNotIn("abcdef", error.text)

    def test_named(self) -> None:
        """RFC 2831 §2.1.2.1: DIGEST-MD5 is of a name, too; it is put where it belongs."""
        digest = "4842575394a190ef4c973253ba19099c"
        for name, wanted in (
            ("alice@example.test", "{DIGEST-MD5}alice:example.test:" + digest),
            ("alice", "{DIGEST-MD5}alice::" + digest),
        ):
            named = withName("{DIGEST-MD5}" + digest, name)
            self.assertEqual(named, wanted)
            self.assertEqual(withName(named, "bob"), wanted)
        for other in ("{digest-md5.hex}" + digest, "{SHA}x", "$6$x", "{", ""):
            named = withName(other, "a@b")
            self.assertEqual(named, other.replace("}4", "}a:b:4"))
        self.assertFalse(verifySecret("digest-md5", "bob:example.test:" + digest, SECRET))

    def test_md4(self) -> None:
        """RFC 1320 appendix A.5; and what is as long as a block, or nearly."""
        for text, digest in (
            (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
            (b"a", "bde52cb31de33e46245e05fbdbd6fb24"),
            (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
            (b"message digest", "d9130a8164549fe818874806e1c7014b"),
            (b"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
            (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
        ):
            self.assertEqual(md4(text).hex(), digest)

    def test_longKey(self) -> None:
        """RFC 2104 §2: a key that is longer than a block is hashed first."""
        # doveadm pw -s CRAM-MD5 -p with 70 times x.
        text = "8103bb3a2a4b96a9ca9cce4efecc8d22ebe7163dff7401afb5aa16d4edcf9f1f"
        self.assertTrue(verifySecret("cram-md5", text, b"x" * 70))
        self.assertFalse(verifySecret("cram-md5", text, b"x" * 71))

    def test_damaged(self) -> None:
        """What is damaged is nobody's, and no exception."""
        for scheme in (*schemes.VERIFIERS, "no-such"):
            if scheme == "plain":
                continue
            for text in (
                *("", "$", "$$$$", "$1$", "x" * 100, "\0", "$6$", "=", "é", "1,2,3", "1,c2E=,x,y"),
                *(
                    "$1$a$b$c",
                    "-1,c2E=,c2E=,c2E=",
                    "$argon2id$",
                    "$2b$04$",
                    "$6$rounds=99999999$a$b",
                ),
                *("$1$salt$0$aa", "pbkdf2_sha256$x$y$z", "argon2$", "bcrypt$", "AAAA", "*0", "*1"),
            ):
                for password in (SECRET, b"", b"\xff", b"a\0b"):
                    self.assertFalse(verifySecret(scheme, text, password), (scheme, text))


class CryptTests(SynchronousTestCase):
    """
    C{crypt}, with the system's library and without.
    """

    #: As C{openssl passwd} makes them, with the password and salt of U. Drepper's document.
    VECTORS = (
        (
            b"Hello world!",
            "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
        ),
        (
            b"Hello world!",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI"
            "68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ),
        (
            b"secret",
            "$6$abc$IdWKNKTJEb8LxY7CGg8YBXlvtfZzFw7Mp/r6niK9YB2mdvgY..TKjv1T..8RadRt2qvUHYRLr/"
            "TsVArtr91iR1",
        ),
    )

    def test_vectors(self) -> None:
        """Known hashes are made where the system has no library."""
        self.patch(schemes, "_library", None)
        for password, text in self.VECTORS:
            self.assertEqual(pureCrypt(password, text), text.encode())
            scheme, rest = parseSecret(text)
            self.assertTrue(verifySecret(scheme, rest, password))
            self.assertFalse(verifySecret(scheme, rest, password + b"!"))

    def test_library(self) -> None:
        """Ours make the same as the system's, where there is one."""
        library = schemes._library
        if library is None:
            return
        for password in (b"", b"a", b"x" * 100, "Gr\u00fc\u00dfe".encode()):
            for setting in ("$1$abcdefgh", "$5$s", "$5$rounds=1400$saltstringsaltst", "$6$abc"):
                self.assertEqual(pureCrypt(password, setting), library(password, setting.encode()))

    def test_long(self) -> None:
        """A password that would cost too much work is nobody's, with the library and without."""
        for library in (schemes._library, None):
            self.patch(schemes, "_library", library)
            text = (pureCrypt(b"x" * 513, "$6$abc") or b"").decode()
            self.assertFalse(verifySecret("sha512-crypt", text, b"x" * 513))
            text = (pureCrypt(b"x" * 512, "$6$abc") or b"").decode()
            if library is None:
                self.assertTrue(verifySecret("sha512-crypt", text, b"x" * 512))

    def test_costs(self) -> None:
        """So is what is kept by a hash that would take minutes."""
        for text in (
            "$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$argon2id$v=19$m=262144,t=1000,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNo",
        ):
            self.assertFalse(verifySecret(*parseSecret(text), SECRET))

    def test_others(self) -> None:
        """A kind that only the system knows is nobody's without it."""
        self.assertIsNone(pureCrypt(SECRET, "$y$j9T$abc"))
        self.patch(schemes, "_library", None)
        self.assertFalse(verifySecret("crypt", "$y$j9T$abc$" + "d" * 43, SECRET))


class ScramTests(SynchronousTestCase):
    """
    SCRAM verifiers.
    """

    def test_vector(self) -> None:
        """RFC 7677 §3's exchange can be verified by what is made of its password."""
        salt = "W22ZaJ0SNY7soEsUEjb6gQ=="
        text = makeVerifier("scram-sha-256", b"pencil", schemes._base64(salt), 4096)
        iterations, kept, _stored, server = text.split(",")
        self.assertEqual((iterations, kept), ("4096", salt))
        message = (
            b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        )
        signature = hmac.digest(schemes._base64(server), message, "sha256")
        self.assertEqual(
            b64encode(signature).decode(), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        )
        self.assertTrue(verifySecret("scram-sha-256", text, b"pencil"))
        self.assertFalse(verifySecret("scram-sha-256", text, b"pencils"))
        self.assertTrue(verifySecret(*parseSecret("{SCRAM-SHA-256}" + text), b"pencil"))


class MakingTests(SynchronousTestCase):
    """
    What new passwords are kept as.
    """

    def setUp(self) -> None:
        """Make hashing cheap."""
        self.patch(schemes, "argon2", Argon2(time_cost=1, memory_cost=8, parallelism=1))

    def test_secrets(self) -> None:
        """In the schemes that are wanted, each of the one password."""
        made = makeSecrets(SECRET, ("argon2id", "scram-sha-1", "scram-sha-256", "plain"))
        self.assertEqual(list(made), ["argon2id", "scram-sha-1", "scram-sha-256", "plain"])
        for scheme, text in made.items():
            self.assertTrue(verifySecret(scheme, text, SECRET), scheme)
        self.assertEqual(chooseSecret(dict(reversed(made.items()))), ("argon2id", made["argon2id"]))
        self.assertIsNone(chooseSecret({"no-such": "x"}))
        self.assertRaises(SyntaxProblem, makeSecrets, b"a\0b")

    def test_current(self) -> None:
        """Ours are, as long as they cost what a new one does; others' aren't."""
        self.assertTrue(isCurrent(makeSecrets(SECRET)))
        for secrets in (
            *({}, {"plain": "secret"}, {"argon2id": "nonsense"}),
            {"argon2id": Argon2(1, 16, 1).hash("secret")},
        ):
            self.assertFalse(isCurrent(secrets))

    def test_appPassword(self) -> None:
        """A generated password: long, easily typed, each another; typed in any manner."""
        text, secrets = newAppPassword()
        self.assertEqual(len(text), 20)
        self.assertLessEqual(set(text), set(ALPHABET))
        self.assertNotEqual(newAppPassword()[0], text)
        for typed in (text, text.upper(), f"{text[:5]}-{text[5:12]} {text[12:]}"):
            self.assertTrue(isAppPassword(typed.encode(), secrets))
        for typed in (text[:-1], text + "a", "", text[::-1]):
            self.assertFalse(isAppPassword(typed.encode(), secrets))
        self.assertFalse(isAppPassword(text.encode(), {}))
        self.assertTrue(verifySecret("scram-sha-256", secrets["scram-sha-256"], text.encode()))
        self.assertNotIn(text, repr(secrets))
