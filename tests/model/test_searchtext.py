"""
The texts that searches look at.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.model import searchtext
from twisted_mailstack.model.header import MAX_VALUE
from twisted_mailstack.model.message import summarise
from twisted_mailstack.model.mime import unpackStructure
from twisted_mailstack.model.searchtext import MARKS, headerTexts, isWhole, pieces
from twisted_mailstack.model.text import fold

_TEXTS = st.text(
    st.one_of(
        st.sampled_from(
            "ab\u0301\u0327\u0345\u00e9\u00df\u0130\ufb01\u1e9e\u0f71\u0f74\uac00\u1100\u1161"
        ),
        st.characters(blacklist_categories=("Cs",)),
    ),
    max_size=60,
)


class HeaderTests(SynchronousTestCase):
    """
    Texts of a header.
    """

    def texts(self, data: bytes) -> list[str]:
        """
        @return: those of a message's header.
        """
        root = unpackStructure(summarise(data).structure)
        return list(headerTexts(data[: root.bodyOffset], root))

    def test_fields(self) -> None:
        """Each field on a line, its name with it, words decoded."""
        self.assertEqual(
            self.texts(b"Subject: a\r\n b\r\nX-Word: =?utf-8?q?caf=C3=A9?=\r\n\r\nbody\r\n"),
            ["Subject: a b", "X-Word: caf\u00e9"],
        )
        self.assertEqual(self.texts(b"\r\nbody"), [])

    def test_parameters(self) -> None:
        """Names that are encoded in a way of their own are decoded (RFC 2231)."""
        found = self.texts(
            b"Content-Type: text/plain; name*=utf-8''caf%C3%A9\r\n"
            b"Content-Disposition: attachment; filename*0*=utf-8''na%C3%AF; filename*1=ve\r\n\r\n"
        )
        self.assertEqual(found[2:], ["caf\u00e9", "na\u00efve"])

    def test_long(self) -> None:
        """What a key that names the field sees of a long one is there, too."""
        value = b"x" * (MAX_VALUE - 6) + b" =?utf-8?q?abc?= end"
        found = self.texts(b"Subject: " + value + b"\r\n\r\n")
        self.assertTrue(found[0].endswith(" abc end"))
        self.assertTrue(found[1].endswith(" =?ut"))


class PieceTests(SynchronousTestCase):
    """
    Long texts in pieces.
    """

    def setUp(self) -> None:
        """Pieces are short."""
        self.patch(searchtext, "PIECE", 5)

    def test_short(self) -> None:
        """A short text is one piece."""
        for text in ("", "a", "abcde"):
            self.assertEqual(list(pieces(text)), [text])
            self.assertTrue(isWhole(text))

    @given(_TEXTS)
    def test_same(self, text: str) -> None:
        """All pieces, folded, are the text, folded; so wherever it is cut no mark changes place."""
        self.assertEqual("".join(pieces(text)), text)
        if isWhole(text):
            self.assertEqual("".join(map(fold, pieces(text))), fold(text))

    @given(_TEXTS, st.integers(1, 8), st.data())
    def test_overlap(self, text: str, length: int, data: st.DataObject) -> None:
        """What isn't longer than the overlap and is in the text is in one of the pieces."""
        folded = fold(text)
        if not isWhole(text) or not folded:
            return
        begin = data.draw(st.integers(0, len(folded) - 1))
        wanted = folded[begin : begin + length]
        self.assertTrue(any(wanted in fold(piece) for piece in pieces(text, length)), wanted)

    def test_marks(self) -> None:
        """A text of nothing but marks is cut all the same, and it is said that it isn't whole."""
        text = "a" * 5 + "\u0301" * 10 * MARKS
        self.assertFalse(isWhole(text))
        self.assertEqual("".join(pieces(text)), text)
        self.assertTrue(isWhole("a" * 5 + "\u0301" * (MARKS - 1) + "b"))
