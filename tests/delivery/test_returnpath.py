"""
Return-Path fields that a message came with are taken out (RFC 5321 §4.4).
"""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.delivery.returnpath import ReturnPathRemover


def remove(*pieces: bytes) -> bytes:
    """
    @return: what is left of a message that comes in these pieces.
    """
    remover = ReturnPathRemover()
    return b"".join([*map(remover.feed, pieces), remover.finish()])


def removeWhole(message: bytes) -> bytes:
    """
    @return: the same, told in two regular expressions.
    """
    end = re.search(rb"^\r?\n", message, re.MULTILINE)
    at = end.start() if end else len(message)
    field = rb"^return-path[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)"
    return re.sub(field, b"", message[:at], flags=re.I | re.M) + message[at:]


class ReturnPathTests(SynchronousTestCase):
    """
    L{ReturnPathRemover}.
    """

    def test_removed(self) -> None:
        """The field goes, wherever it is in the header, however often, folded or not."""
        for header, left in (
            (b"Return-Path: <a@b>\r\nSubject: x\r\n", b"Subject: x\r\n"),
            (b"Subject: x\r\nReturn-Path: <a@b>\r\n", b"Subject: x\r\n"),
            (
                b"A: 1\r\nReturn-path:<a@b>\r\nB: 2\r\nRETURN-PATH:\r\nC: 3\r\n",
                b"A: 1\r\nB: 2\r\nC: 3\r\n",
            ),
            (b"Return-Path:\r\n <a@b>\r\n\t(x)\r\nA: 1\r\n", b"A: 1\r\n"),
            (b"Return-Path \t: <a@b>\r\nA: 1\r\n", b"A: 1\r\n"),
            (b"Return-Path: <>\r\n", b""),
            (
                b"A: 1\r\n folded\r\nReturn-Path: x\r\n y\r\nB: 2\r\n more\r\n",
                b"A: 1\r\n folded\r\nB: 2\r\n more\r\n",
            ),
        ):
            body = b"\r\nReturn-Path: <in@the.body>\r\n\r\nReturn-Path: x\r\n"
            self.assertEqual(remove(header + body), left + body)

    def test_kept(self) -> None:
        """Everything else stays: fields with other names, the body, and any odd octet."""
        for message in (
            b"",
            b"\r\n",
            b"\r\nReturn-Path: <a@b>\r\n",
            b"Return-Paths: x\r\nX-Return-Path: y\r\nReturn: z\r\nReturn-Path\r\n\r\n",
            b" Return-Path: continues nothing\r\n\r\n",
            b"Subject: a\r\n Return-Path: <in@a.folded>\r\n\r\nx",
            b"Subject: Return-Path: x\r\n\r\n",
            b"Return-Path",
            b"return-path   ",
            b"\xff\0\r\x01\n\r\n\r\n\xfe",
            b"A: 1\n\nReturn-Path: body\n",
            b"A: 1\r\n\r\n" + b"x" * 1_000_000,
        ):
            self.assertEqual(remove(message), message)

    def test_everyCut(self) -> None:
        """Whole, in two pieces cut anywhere, octet by octet: the result is the same."""
        message = (
            b"Received: x\r\n y\r\nReturn-Path: <a@b>\r\n\t(folded)\r\nReturn-Pat: 1\r\n"
            b"return-PATH :\r\n z\r\nTo: a\r\n\r\nReturn-Path: body\r\n"
        )
        left = b"Received: x\r\n y\r\nReturn-Pat: 1\r\nTo: a\r\n\r\nReturn-Path: body\r\n"
        self.assertEqual(remove(message), left)
        self.assertEqual(remove(*(bytes([octet]) for octet in message)), left)
        for cut in range(len(message)):
            self.assertEqual(remove(message[:cut], message[cut:]), left, cut)

    def test_bounded(self) -> None:
        """However long a line is, little of it is held back."""
        for beginning in (b"return-path", b"Return-Path:", b"X", b" ", b""):
            remover = ReturnPathRemover()
            given_ = taken = 0
            for piece in (beginning, *[b" " * 10_000] * 100):
                given_ += len(piece)
                taken += len(remover.feed(piece))
                if beginning != b"Return-Path:":
                    self.assertLess(given_ - taken, 1000)
            self.assertLess(len(remover.finish()), 1000)

    PIECES = [
        *(
            b"Return-Path",
            b"return-path:",
            b"Return-Path: <a@b>\r\n",
            b":",
            b" ",
            b"\t",
            b"\r",
            b"\n",
        ),
        *(b"\r\n", b"\r\n\r\n", b"\r\n ", b"Subject: x\r\n", b"x", b"R", b"Retu", b"\n\n", b"\0"),
    ]

    @given(
        st.lists(st.sampled_from(PIECES), max_size=14), st.lists(st.integers(0, 120), max_size=8)
    )
    @settings(max_examples=500, deadline=None)
    @example([b"Return-Path", b" ", b":", b"\r\n ", b"\r\n", b"x"], [3, 12, 14])
    @example([b"\r", b"\n", b"Return-Path: <a@b>\r\n"], [1])
    def test_anyMessage(self, pieces: list[bytes], at: list[int]) -> None:
        """Any message, cut anywhere, against two regular expressions on the whole."""
        message = b"".join(pieces)
        edges = [0, *sorted({min(cut, len(message)) for cut in at}), len(message)]
        self.assertEqual(remove(*(message[a:b] for a, b in pairwise(edges))), removeWhole(message))
