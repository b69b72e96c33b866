# -*- test-case-name: tests.auth.test_schemes -*-
"""
What nobody's library has any more, and servers still keep passwords by: MD4 (RFC 1320), and the
state that MD5 (RFC 1321) has after one block, which HMAC-MD5 keeps of its key (RFC 2104 §4).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Sequence

State = tuple[int, int, int, int]
_BEGINNING: State = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_MASK = 0xFFFFFFFF
#: Octets of a block.
BLOCK = 64


def _choose(x: int, y: int, z: int) -> int:
    return (x & y) | (~x & z)


def _majority(x: int, y: int, z: int) -> int:
    return (x & y) | (x & z) | (y & z)


def _parity(x: int, y: int, z: int) -> int:
    return x ^ y ^ z


#: RFC 1320 §3.4: of each round its function, its constant, its rotations, and which words.
_MD4: tuple[tuple[Callable[[int, int, int], int], int, Sequence[int], Sequence[int]], ...] = (
    (_choose, 0, (3, 7, 11, 19), range(16)),
    (_majority, 0x5A827999, (3, 5, 9, 13), [4 * n % 16 + n // 4 for n in range(16)]),
    (
        _parity,
        0x6ED9EBA1,
        (3, 9, 11, 15),
        (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15),
    ),
)
#: RFC 1321 §3.4: of each round its function, its rotations, and which words. T is of the sine.
_MD5: tuple[tuple[Callable[[int, int, int], int], Sequence[int], Sequence[int]], ...] = (
    (_choose, (7, 12, 17, 22), range(16)),
    (lambda x, y, z: (x & z) | (y & ~z), (5, 9, 14, 20), [(1 + 5 * n) % 16 for n in range(16)]),
    (_parity, (4, 11, 16, 23), [(5 + 3 * n) % 16 for n in range(16)]),
    (lambda x, y, z: y ^ (x | (~z & _MASK)), (6, 10, 15, 21), [7 * n % 16 for n in range(16)]),
)
_T = [int(abs(math.sin(number + 1)) * 2**32) for number in range(64)]


def _rotated(value: int, bits: int) -> int:
    value &= _MASK
    return (value << bits | value >> (32 - bits)) & _MASK


def _added(state: State, a: int, b: int, c: int, d: int) -> State:
    w, x, y, z = state
    return (w + a) & _MASK, (x + b) & _MASK, (y + c) & _MASK, (z + d) & _MASK


def md4(data: bytes) -> bytes:
    """
    @return: RFC 1320's digest.
    """
    data += b"\x80" + bytes(-(len(data) + 9) % BLOCK) + (8 * len(data)).to_bytes(8, "little")
    state = _BEGINNING
    for start in range(0, len(data), BLOCK):
        words = struct.unpack("<16I", data[start : start + BLOCK])
        a, b, c, d = state
        for function, constant, rotations, order in _MD4:
            for number, word in enumerate(order):
                mixed = a + function(b, c, d) + words[word] + constant
                a, b, c, d = d, _rotated(mixed, rotations[number % 4]), b, c
        state = _added(state, a, b, c, d)
    return struct.pack("<4I", *state)


def md5State(block: bytes) -> bytes:
    """
    @param block: of 64 octets.
    @return: the four words that MD5 has after it.
    """
    words = struct.unpack("<16I", block)
    a, b, c, d = _BEGINNING
    for at, (function, rotations, order) in enumerate(_MD5):
        for number, word in enumerate(order):
            mixed = a + function(b, c, d) + words[word] + _T[16 * at + number]
            a, b, c, d = d, (b + _rotated(mixed, rotations[number % 4])) & _MASK, b, c
    return struct.pack("<4I", *_added(_BEGINNING, a, b, c, d))


def hmacState(key: bytes) -> bytes:
    """
    @return: what HMAC-MD5 has to know of its key (RFC 2104 §4): the outer state and the inner one.
    """
    if len(key) > BLOCK:
        key = hashlib.md5(key).digest()
    key = key.ljust(BLOCK, b"\0")
    return b"".join(md5State(bytes(octet ^ pad for octet in key)) for pad in (0x5C, 0x36))
