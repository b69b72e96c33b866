# -*- test-case-name: tests.auth.test_schemes -*-
"""
The forms in which passwords are kept: ours (argon2id, RFC 9106), and those that other servers and
web frameworks wrote, so that accounts can move here with their passwords. One line each in
L{VERIFIERS}; the name of a scheme is what stands between the braces of C{{SCHEME}text}, in lower
case.

Nothing here waits or looks at a clock; a verification takes up to some hundred milliseconds of CPU
where it is called.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import hmac
import os
import re
import threading
from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from secrets import choice

import bcrypt
from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import Argon2Error

from twisted_mailstack.auth.md import hmacState, md4
from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.sasl import scram
from twisted_mailstack.sasl.saslprep import saslprep
from twisted_mailstack.sasl.scram import saltFor, verifierOf

#: The scheme of hashes that are made here.
OURS = "argon2id"
#: OWASP's recommendation: 19 MiB, two passes, one lane: 20 ms here, and 38 MiB for two workers.
argon2 = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)

#: SCRAM's hash functions, by scheme.
SCRAM = scram.SCHEMES

#: What a stored hash may cost, whoever wrote it: KiB of memory, and iterations.
MAX_MEMORY = 256 * 1024
MAX_ITERATIONS = 10_000_000
#: bcrypt's, each of which doubles it: seconds.
MAX_BCRYPT_COST = 16
#: Octets of a password for crypt, whose work grows with their square; as the system's has it.
MAX_CRYPT_PASSWORD = 512
#: Iterations of SCRAM verifiers that are made here if nothing else is said: 20 ms, as argon2 takes.
#: RFC 7677 §4 has 4096 as the least, which is little against who guesses offline.
SCRAM_ITERATIONS = 65536

#: Of app passwords: no letter or digit that is taken for another; 20 of them have 99 bits.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
APP_PASSWORD_LENGTH = 20


def prepare(password: bytes) -> str:
    """
    @param password: UTF-8.
    @return: the one form of what different keyboards write (RFC 4616 §2, RFC 6856 §2.2).
    @raise SyntaxProblem: if it can't be a password: it is empty, isn't UTF-8 or has characters
        that SASLprep forbids.
    """
    try:
        return saslprep(password.decode("utf-8"))
    except UnicodeDecodeError:
        raise SyntaxProblem("It is not UTF-8") from None


# --- telling them apart ------------------------------------------------------------------------

_BRACED = re.compile(r"\{([A-Za-z0-9.-]{1,40})\}(.*)\Z", re.DOTALL)
#: How hashes without braces begin.
_BEGINNINGS = (
    ("$argon2id$", OURS),
    ("$argon2i$", "argon2i"),
    ("$argon2d$", "argon2d"),
    ("$2a$", "blf-crypt"),
    ("$2b$", "blf-crypt"),
    ("$2x$", "crypt"),
    ("$2y$", "blf-crypt"),
    ("$6$", "sha512-crypt"),
    ("$5$", "sha256-crypt"),
    ("$1$", "md5-crypt"),
    ("$pbkdf2", "pbkdf2-phc"),
    ("pbkdf2_sha", "django"),
    ("argon2$", "django"),
    ("bcrypt", "django"),
    ("$", "crypt"),
)
_SAME = {
    "cleartext": "plain",
    "clear": "plain",
    "sha1": "sha",
    "ldap-md5": "md5-digest",
    "plain-md5": "md5-digest",
    "bcrypt": "blf-crypt",
    "des-crypt": "crypt",
    "hmac-md5": "cram-md5",
}


def parseSecret(text: str) -> tuple[str, str]:
    """
    @param text: as it stands in a password file: C{{SCHEME}text}, C{{SCHEME.ENCODING}text}, or a
        hash that tells by itself what it is.
    @return: its scheme, and what L{verifySecret} wants with it.
    @raise SyntaxProblem: if it is of no kind that is known; the text never quotes it.
    """
    match = _BRACED.match(text)
    if not match:
        for beginning, scheme in _BEGINNINGS:
            if text.startswith(beginning):
                return scheme, text
        raise SyntaxProblem("The scheme of the password isn't known: put {SCHEME} in front of it")
    name, text = match[1].lower(), match[2]
    name, _, encoding = name.partition(".")
    if encoding not in ("", "b64", "base64", "hex"):
        raise SyntaxProblem(f"{{{match[1]}}} has no encoding that is known")
    if name == "md5":
        # Two things go by that name.
        isCrypt = _decoded(text, encoding).startswith("$1$")
        name = "md5-crypt" if isCrypt else "md5-digest"
    name = _SAME.get(name, name)
    if name not in VERIFIERS:
        raise SyntaxProblem(f"Passwords of the scheme {{{match[1]}}} can't be verified here")
    if name == "digest-md5" and ":" not in text:
        raise SyntaxProblem(f"{{{match[1]}}} is of a name and a password: the name isn't known")
    if encoding and name not in _OF_OCTETS:
        text = _decoded(text, encoding)
        if not text:
            raise SyntaxProblem(f"{{{match[1]}}} isn't followed by what it says")
    if name == "crypt":
        name = next((s for b, s in _BEGINNINGS if text.startswith(b)), "crypt")
    return name, text


def _decoded(text: str, encoding: str) -> str:
    """
    @return: the text that is written in an encoding; empty if it is none.
    """
    if not encoding:
        return text
    try:
        return (bytes.fromhex(text) if encoding == "hex" else _base64(text)).decode("utf-8")
    except ValueError:
        return ""


def withName(text: str, name: str) -> str:
    """
    @param text: as of L{parseSecret}.
    @param name: whose it is, as it was said to whoever made the hash: an address, or what is
        before its C{@}.
    @return: the same, with the name in it if it is needed to verify the password, as RFC 2831's
        C{username:realm:} in front of the digest.
    """
    match = _BRACED.match(text)
    if not match or match[1].lower().partition(".")[0] != "digest-md5" or ":" in text:
        return text
    user, _, realm = name.partition("@")
    return f"{{{match[1]}}}{user}:{realm}:{match[2]}"


def chooseSecret(secrets: Mapping[str, str]) -> tuple[str, str] | None:
    """
    @param secrets: of one password.
    @return: the one to verify the password by: ours if there is one.
    """
    for scheme in (OURS, *secrets):
        if scheme in secrets and scheme in VERIFIERS:
            return scheme, secrets[scheme]
    return None


def isCurrent(secrets: Mapping[str, str], wanted: Sequence[str] = (OURS,)) -> bool:
    """
    @param wanted: the schemes of a new one.
    @return: whether the password is kept as a new one would be.
    """
    if any(scheme not in secrets for scheme in wanted):
        return False
    try:
        return OURS in secrets and not argon2.check_needs_rehash(secrets[OURS])
    except (Argon2Error, ValueError):
        return False


def verifySecret(scheme: str, text: str, password: bytes) -> bool:
    """
    @param password: UTF-8, as it was typed.
    @return: whether it is the one. What is damaged, or of no scheme that is known, is nobody's.
    """
    verify = VERIFIERS.get(scheme)
    if verify is None:
        return False
    try:
        prepared = prepare(password).encode("utf-8")
    except SyntaxProblem:
        # As much work as for any other wrong password.
        prepared = b""
    try:
        right = verify(text, prepared)
        if not right and prepared not in (b"", password) and scheme != OURS:
            # Others hash what was typed.
            right = verify(text, password)
        return right and prepared != b""
    except (Argon2Error, ValueError, OverflowError, SyntaxProblem):
        return False


# --- making them -------------------------------------------------------------------------------


def makeSecrets(
    password: bytes,
    schemes: Sequence[str] = (OURS,),
    name: str = "",
    iterations: int = SCRAM_ITERATIONS,
) -> dict[str, str]:
    """
    @param password: UTF-8.
    @param schemes: C{argon2id}, and of L{SCRAM} and C{plain} what is wanted besides.
    @param name: the account's address, from which SCRAM's salts are made (L{saltFor
        <twisted_mailstack.sasl.scram.saltFor>}); empty: they are random.
    @param iterations: of SCRAM.
    @return: for L{Credential.secrets<twisted_mailstack.model.records.Credential>}.
    @raise SyntaxProblem: if it can't be a password.
    """
    prepared = prepare(password)
    made = {}
    for scheme in schemes:
        if scheme == OURS:
            made[scheme] = argon2.hash(prepared)
        elif scheme == "plain":
            made[scheme] = prepared
        else:
            salt = saltFor(scheme, name) if name else None
            made[scheme] = makeVerifier(scheme, prepared.encode("utf-8"), salt, iterations)
    return made


def makeVerifier(
    scheme: str, password: bytes, salt: bytes | None = None, iterations: int = SCRAM_ITERATIONS
) -> str:
    """
    @param scheme: of L{SCRAM}.
    @param password: prepared.
    @return: what a server keeps of it (RFC 5802 §3), C{iterations,salt,storedKey,serverKey}.
    """
    return str(verifierOf(scheme, password, iterations, salt or os.urandom(16)))


def newAppPassword(
    name: str = "", iterations: int = SCRAM_ITERATIONS
) -> tuple[str, dict[str, str]]:
    """
    @param name: as of L{makeSecrets}; C{iterations} too.
    @return: a generated password, and its secrets, for SCRAM too. Nobody guesses it, so that a fast
        hash keeps it as well as a slow one does.
    """
    text = "".join(choice(ALPHABET) for _ in range(APP_PASSWORD_LENGTH))
    secret = text.encode("ascii")
    salt = os.urandom(16)
    kept = b64encode(hashlib.sha256(secret + salt).digest() + salt).decode("ascii")
    made = makeSecrets(secret, ("scram-sha-256",), name, iterations)
    return text, {"ssha256": kept, **made}


def isAppPassword(password: bytes, secrets: Mapping[str, str]) -> bool:
    """
    @param password: as typed: its case, and spaces or hyphens between its letters, don't matter.
    @return: whether it is the one. Takes microseconds.
    """
    text = password.replace(b"-", b"").replace(b" ", b"").lower()
    return verifySecret("ssha256", secrets.get("ssha256", ""), text)


# --- verifying them ----------------------------------------------------------------------------


def _verifyArgon2(text: str, password: bytes) -> bool:
    cost = extract_parameters(text)
    if cost.memory_cost > MAX_MEMORY or cost.time_cost * cost.memory_cost > 16 * MAX_MEMORY:
        return False
    return argon2.verify(text, password)


def _verifyBcrypt(text: str, password: bytes) -> bool:
    if int(text[4:6]) > MAX_BCRYPT_COST:
        return False
    # Only so much of a password ever counted.
    return bcrypt.checkpw(password[:72].partition(b"\0")[0], text.encode("ascii"))


def _verifyPlain(text: str, password: bytes) -> bool:
    return hmac.compare_digest(text.encode("utf-8"), password)


def _verifyScram(scheme: str) -> Callable[[str, bytes], bool]:
    def verify(text: str, password: bytes) -> bool:
        iterations, salt, stored, server = text.split(",")
        made = makeVerifier(scheme, password, _base64(salt), _iterations(iterations)).split(",")
        right = hmac.compare_digest(_base64(made[2]), _base64(stored))
        return right and hmac.compare_digest(_base64(made[3]), _base64(server))

    return verify


#: Schemes of a digest: its function, and whether a salt stands behind it.
_DIGESTS = {
    "sha": ("sha1", False),
    "sha256": ("sha256", False),
    "sha384": ("sha384", False),
    "sha512": ("sha512", False),
    "md5-digest": ("md5", False),
    "smd5": ("md5", True),
    "ssha": ("sha1", True),
    "ssha256": ("sha256", True),
    "ssha512": ("sha512", True),
}
#: Schemes of octets, which may be written in any encoding.
_OF_OCTETS = frozenset((*_DIGESTS, "cram-md5", "digest-md5", "plain-md4"))


def _verifyDigest(scheme: str) -> Callable[[str, bytes], bool]:
    name, salted = _DIGESTS[scheme]
    size = hashlib.new(name).digest_size

    def verify(text: str, password: bytes) -> bool:
        isHex = len(text) >= 2 * size and re.fullmatch("[0-9A-Fa-f]+", text)
        data = bytes.fromhex(text) if isHex else _base64(text)
        digest, salt = data[:size], data[size:]
        if len(digest) < size or bool(salt) > salted:
            return False
        return hmac.compare_digest(hashlib.new(name, password + salt).digest(), digest)

    return verify


def _verifyCramMD5(text: str, password: bytes) -> bool:
    # The two states of RFC 2104 §4, as Dovecot's CRAM-MD5 server needs them.
    return hmac.compare_digest(hmacState(password), _octets(text, 32))


def _verifyDigestMD5(text: str, password: bytes) -> bool:
    # RFC 2831 §2.1.2.1: H({ username-value, ":", realm-value, ":", passwd })
    named, _, digest = text.rpartition(":")
    wanted = _octets(digest, 16)
    made = hashlib.md5(named.encode("utf-8") + b":" + password).digest()
    return hmac.compare_digest(made, wanted)


def _verifyMD4(text: str, password: bytes) -> bool:
    return hmac.compare_digest(md4(password), _octets(text, 16))


def _octets(text: str, size: int) -> bytes:
    # Dovecot writes hexadecimal, and whatever else it was asked for: the length tells.
    return bytes.fromhex(text) if len(text) == 2 * size else _base64(text)


def _verifyPBKDF2(text: str, password: bytes) -> bool:
    # $1$salt$iterations$hex, by SHA-1; the salt is what is written.
    if not text.startswith("$1$"):
        return _verifyPHC(text, password)
    _, _, salt, iterations, digest = text.split("$")
    wanted = bytes.fromhex(digest)
    return _pbkdf2("sha1", password, salt.encode(), iterations, wanted)


_PHC = re.compile(
    r"\$pbkdf2(?:-(sha1|sha256|sha512))?\$(?:i=)?(\d+)(?:,l=\d+)?\$([^$]*)\$([^$]+)\Z"
)


def _verifyPHC(text: str, password: bytes) -> bool:
    # $pbkdf2-sha256$i=iterations,l=length$salt$digest, or the older form without the letters.
    match = _PHC.match(text)
    if not match:
        return False
    salt, wanted = (_base64(match[n].replace(".", "+")) for n in (3, 4))
    return _pbkdf2(match[1] or "sha1", password, salt, match[2], wanted)


def _verifyDjango(text: str, password: bytes) -> bool:
    kind, _, rest = text.partition("$")
    if kind == "argon2":
        return _verifyArgon2("$" + rest, password)
    if kind == "bcrypt_sha256":
        return _verifyBcrypt(rest, hashlib.sha256(password).hexdigest().encode("ascii"))
    if kind == "bcrypt":
        return _verifyBcrypt(rest, password)
    iterations, salt, digest = rest.split("$")
    if kind not in ("pbkdf2_sha1", "pbkdf2_sha256"):
        return False
    return _pbkdf2(kind[7:], password, salt.encode(), iterations, _base64(digest))


def _pbkdf2(name: str, password: bytes, salt: bytes, iterations: str, wanted: bytes) -> bool:
    made = hashlib.pbkdf2_hmac(name, password, salt, _iterations(iterations), len(wanted) or None)
    return hmac.compare_digest(made, wanted)


def _iterations(text: str) -> int:
    number = int(text)
    if not 0 < number <= MAX_ITERATIONS:
        raise ValueError("iterations")
    return number


def _base64(text: str) -> bytes:
    try:
        return a2b_base64(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), strict_mode=True)
    except Base64Error as error:
        raise ValueError(str(error)) from None


# --- crypt(3) ----------------------------------------------------------------------------------


def _findLibrary() -> Callable[[bytes, bytes], bytes | None] | None:
    """
    @return: the system's C{crypt}, which knows more kinds, is faster and lets other threads run;
        C{None} where there is none.
    """
    try:
        name = ctypes.util.find_library("crypt")
        function = ctypes.CDLL(name).crypt if name else None
    except (OSError, AttributeError):
        return None
    if function is None:
        return None
    function.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    function.restype = ctypes.c_char_p
    lock = threading.Lock()

    def crypt(password: bytes, setting: bytes) -> bytes | None:
        # It has one buffer for its answers.
        with lock:
            answer: bytes | None = function(password, setting)
        return answer

    return crypt


_library = _findLibrary()
_ROUNDS = re.compile(r"rounds=(\d{1,9})\$")


def _verifyCrypt(text: str, password: bytes) -> bool:
    if b"\0" in password or len(password) > MAX_CRYPT_PASSWORD:
        return False
    setting = text.encode("ascii")
    rounds = _ROUNDS.search(text)
    if len(setting) < 13 or (rounds and int(rounds[1]) > MAX_ITERATIONS):
        return False
    made = _library(password, setting) if _library is not None else None
    if made is None:
        made = pureCrypt(password, text)
    # Failures are told by a star.
    return made is not None and made[:1] != b"*" and hmac.compare_digest(made, setting)


def pureCrypt(password: bytes, setting: str) -> bytes | None:
    """
    What C{crypt} makes of MD5, SHA-256 and SHA-512 where the system doesn't (U. Drepper, "Unix
    crypt using SHA-256 and SHA-512", 0.6; P.-H. Kamp's MD5 of FreeBSD).

    @param setting: a hash, or its beginning up to the salt.
    @return: the hash, C{None} for another kind.
    """
    if setting.startswith("$1$"):
        return _md5Crypt(password, setting[3:].partition("$")[0].encode("ascii")[:8])
    if not setting.startswith(("$5$", "$6$")):
        return None
    name, rest = ("sha256", "sha512")[setting[1] == "6"], setting[3:]
    match = _ROUNDS.match(rest)
    rounds = min(max(int(match[1]), 1000), 999_999_999) if match else 5000
    salt = rest[match.end() if match else 0 :].partition("$")[0].encode("ascii")[:16]
    said = b"rounds=%d$" % rounds if match else b""
    digest = _shaCrypt(name, password, salt, rounds)
    return b"$%b$%b%b$%b" % (setting[1].encode(), said, salt, digest)


def _shaCrypt(name: str, password: bytes, salt: bytes, rounds: int) -> bytes:
    new = getattr(hashlib, name)
    size = new().digest_size
    length = len(password)
    inner = new(password + salt + password).digest()
    outer = new(password + salt + _repeated(inner, length))
    bits = length
    while bits:
        outer.update(inner if bits & 1 else password)
        bits >>= 1
    digest = outer.digest()
    p = _repeated(new(password * length).digest(), length)
    s = _repeated(new(salt * (16 + digest[0])).digest(), len(salt))
    for number in range(rounds):
        step = new(p if number & 1 else digest)
        if number % 3:
            step.update(s)
        if number % 7:
            step.update(p)
        step.update(digest if number & 1 else p)
        digest = step.digest()
    order = _SHA256_ORDER if size == 32 else _SHA512_ORDER
    return _sixes(digest, order)


def _repeated(data: bytes, length: int) -> bytes:
    return (data * (length // len(data) + 1))[:length]


def _triples(third: int, backwards: bool) -> list[tuple[int, ...]]:
    # The order of octets goes round: 0 10 20, 21 1 11, 12 22 2, ... for 32 of them.
    found: list[tuple[int, ...]] = []
    at = (0, third, 2 * third)
    for _ in range(third):
        found.append(at)
        a, b, c = (each + 1 for each in at)
        at = (c, a, b) if backwards else (b, c, a)
    return found


_SHA256_ORDER = [*_triples(10, True), (31, 30)]
_SHA512_ORDER = [*_triples(21, False), (63,)]
_MD5_ORDER = [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5), (11,)]
_ITOA64 = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _sixes(digest: bytes, order: Sequence[tuple[int, ...]]) -> bytes:
    text = bytearray()
    for places in order:
        value = int.from_bytes(bytes(digest[place] for place in places), "big")
        for _ in range(len(places) + 1):
            text.append(_ITOA64[value & 63])
            value >>= 6
    return bytes(text)


def _md5Crypt(password: bytes, salt: bytes) -> bytes:
    new = hashlib.md5
    length = len(password)
    inner = new(password + salt + password).digest()
    outer = new(password + b"$1$" + salt + _repeated(inner, length))
    bits = length
    while bits:
        outer.update(b"\0" if bits & 1 else password[:1])
        bits >>= 1
    digest = outer.digest()
    for number in range(1000):
        step = new(password if number & 1 else digest)
        if number % 3:
            step.update(salt)
        if number % 7:
            step.update(password)
        step.update(digest if number & 1 else password)
        digest = step.digest()
    return b"$1$%b$%b" % (salt, _sixes(digest, _MD5_ORDER))


#: By scheme: C{verify(text, password)}, which may raise ValueError for a text that is damaged.
VERIFIERS: dict[str, Callable[[str, bytes], bool]] = {
    OURS: _verifyArgon2,
    "argon2i": _verifyArgon2,
    "argon2d": _verifyArgon2,
    "blf-crypt": _verifyBcrypt,
    "pbkdf2": _verifyPBKDF2,
    "pbkdf2-phc": _verifyPHC,
    "django": _verifyDjango,
    "sha512-crypt": _verifyCrypt,
    "sha256-crypt": _verifyCrypt,
    "md5-crypt": _verifyCrypt,
    "crypt": _verifyCrypt,
    **{scheme: _verifyDigest(scheme) for scheme in _DIGESTS},
    **{scheme: _verifyScram(scheme) for scheme in SCRAM},
    "cram-md5": _verifyCramMD5,
    "digest-md5": _verifyDigestMD5,
    "plain-md4": _verifyMD4,
    "plain": _verifyPlain,
}
