"""
A message's header while it streams by: fields are left out, lines are put at its end.
"""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.wire.fields import FieldNames, HeaderFilter

NAMES = FieldNames(b"bcc", b"x-bcc", b"date")


class Leaving(HeaderFilter):
    """
    Leaves out Bcc and X-Bcc.

    @ivar seen: the names it was asked about.
    """

    def __init__(self) -> None:
        super().__init__(NAMES)
        self.seen: list[bytes] = []

    def keep(self, name: bytes) -> bool:
        """See L{HeaderFilter}."""
        self.seen.append(name)
        return name == b"date"


class Adding(Leaving):
    """
    And adds a line, if there is no date.
    """

    adds = True

    def end(self) -> bytes:
        """See L{HeaderFilter}."""
        return b"" if b"date" in self.seen else b"Date: x\r\n"


def filtered(kind: type[Leaving], *pieces: bytes) -> bytes:
    """
    @return: what becomes of a message that comes in these pieces.
    """
    made = kind()
    return b"".join([*map(made.feed, pieces), made.finish()])


def whole(kind: type[Leaving], message: bytes) -> bytes:
    """
    @return: the same, told in regular expressions on the whole message.
    """
    blank = re.search(rb"^\r?\n", message, re.MULTILINE)
    at = blank.start() if blank else len(message)
    header, rest = message[:at], message[at:]
    bcc = rb"^(?:x-)?bcc[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)"
    left = re.sub(bcc, b"", header, flags=re.I | re.M)
    if kind is Adding and not re.search(rb"^date[ \t]*:", header, re.I | re.M):
        left += b"\r\n" if left and not left.endswith(b"\n") else b""
        left += b"Date: x\r\n"
    return left + rest


class HeaderFilterTests(SynchronousTestCase):
    """
    L{HeaderFilter}.
    """

    def test_left(self) -> None:
        """Fields of these names go, wherever they are, folded or not, in any case."""
        body = b"\r\nBcc: in the body\r\n"
        for header, left in (
            (b"Bcc: a@b\r\nSubject: x\r\n", b"Subject: x\r\n"),
            (b"A: 1\r\nBCC:a@b,\r\n\tc@d\r\n e@f\r\nB: 2\r\n", b"A: 1\r\nB: 2\r\n"),
            (b"A: 1\r\nBcc \t: a@b\r\nx-bcc:\r\nbcc: y\r\n", b"A: 1\r\n"),
            (b"A: 1\r\n Bcc: continues\r\nBccs: 2\r\n", b"A: 1\r\n Bcc: continues\r\nBccs: 2\r\n"),
        ):
            self.assertEqual(filtered(Leaving, header + body), left + body)

    def test_added(self) -> None:
        """Lines are put where the header ends, whatever is in it and wherever the text ends."""
        for message, result in (
            (b"A: 1\r\n\r\nDate: body\r\n", b"A: 1\r\nDate: x\r\n\r\nDate: body\r\n"),
            (b"A: 1\r\nDATE : 2\r\n\r\nbody", b"A: 1\r\nDATE : 2\r\n\r\nbody"),
            (b"\r\nbody", b"Date: x\r\n\r\nbody"),
            (b"A: 1\n\nbody\r\n\r\n", b"A: 1\nDate: x\r\n\nbody\r\n\r\n"),
            # There is no body, nor a line's end.
            (b"", b"Date: x\r\n"),
            (b"A: 1\r\n", b"A: 1\r\nDate: x\r\n"),
            (b"A: 1", b"A: 1\r\nDate: x\r\n"),
            (b"Bcc: 1", b"Date: x\r\n"),
            (b"A: 1\r\nBcc: 1", b"A: 1\r\nDate: x\r\n"),
            (b"bc", b"bc\r\nDate: x\r\n"),
            (b"A: 1\r\n\r", b"A: 1\r\n\r\r\nDate: x\r\n"),
        ):
            self.assertEqual(filtered(Adding, message), result, message)

    def test_everyCut(self) -> None:
        """Whole, in two pieces cut anywhere, octet by octet: the result is the same."""
        for message in (
            b"Received: x\r\n y\r\nBcc: <a@b>\r\n\t(folded)\r\nBccx: 1\r\nBCC :\r\n z\r\nTo: a\r\n"
            b"\r\nBcc: body\r\n",
            b"Bcc: a\r\nDate: 1\r\n\r\n",
            b"no header\r\nat all",
        ):
            for kind in (Leaving, Adding):
                result = whole(kind, message)
                self.assertEqual(filtered(kind, message), result)
                self.assertEqual(filtered(kind, *(bytes([each]) for each in message)), result)
                for cut in range(len(message)):
                    self.assertEqual(filtered(kind, message[:cut], message[cut:]), result, cut)

    def test_bounded(self) -> None:
        """However long a line is, little of it is held back."""
        for beginning in (b"bcc", b"date:", b"X", b" ", b""):
            made = Adding()
            fed = given = 0
            for piece in (beginning, *[b" " * 10_000] * 100):
                fed += len(piece)
                given += len(made.feed(piece))
                self.assertLess(fed - given, 1000)

    def test_bodyIsNotCopied(self) -> None:
        """Behind the header everything goes through as it came."""
        made = Adding()
        made.feed(b"A: 1\r\n\r\n")
        body = b"Bcc: x\r\n" * 1000
        self.assertIs(made.feed(body), body)

    PIECES = (
        *(b"Bcc", b"bcc:", b"Bcc: <a@b>\r\n", b"Date", b"date: 1\r\n", b":", b" ", b"\t", b"\r"),
        *(b"\n", b"\r\n", b"\r\n\r\n", b"\r\n ", b"Subject: x\r\n", b"x", b"B", b"x-b", b"\n\n"),
    )

    @given(
        st.lists(st.sampled_from(PIECES), max_size=14), st.lists(st.integers(0, 100), max_size=8)
    )
    @settings(max_examples=400, deadline=None)
    @example([b"bcc:", b"x", b"\r\n ", b"x"], [3])
    @example([b"Date", b"\t", b":", b"\r"], [4, 5])
    def test_anyMessage(self, pieces: list[bytes], at: list[int]) -> None:
        """Any message, cut anywhere, against regular expressions on the whole."""
        message = b"".join(pieces)
        edges = [0, *sorted({min(cut, len(message)) for cut in at}), len(message)]
        for kind in (Leaving, Adding):
            self.assertEqual(
                filtered(kind, *(message[a:b] for a, b in pairwise(edges))), whole(kind, message)
            )
