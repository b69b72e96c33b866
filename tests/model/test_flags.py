"""
Tests for L{twisted_mailstack.model.flags}.
"""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.model import flags
from twisted_mailstack.model.flags import (
    ANSWERED,
    DELETED,
    FLAGGED,
    MAX_KEYWORD,
    NO_FLAGS,
    SEEN,
    SYSTEM_FLAGS,
    FlagOperation,
    FlagScope,
    KeywordSpelling,
    canonicalFlag,
    flagsFromText,
    flagsToText,
    internFlags,
)

#   ATOM-CHAR = <any CHAR except atom-specials>; written out from RFC 9051 §9.
SPECIALS = '(){ %*"\\]'
ATOM_CHARACTERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in SPECIALS)
FLAGS = st.frozensets(
    st.sampled_from(SYSTEM_FLAGS) | st.text(ATOM_CHARACTERS, min_size=1, max_size=5), max_size=5
)


class CanonicalTests(SynchronousTestCase):
    """
    C{canonicalFlag} (RFC 9051 §2.3.2).
    """

    def test_systemFlags(self) -> None:
        """The system flags are known in any case, and have the RFC's spelling."""
        for given_, flag in (
            ("\\Seen", "\\Seen"),
            ("\\SEEN", "\\Seen"),
            ("\\answered", "\\Answered"),
            ("\\fLAGGED", "\\Flagged"),
            ("\\deleted", "\\Deleted"),
            ("\\draft", "\\Draft"),
        ):
            self.assertEqual(canonicalFlag(given_), flag)

    def test_notStored(self) -> None:
        r"""\Recent is the server's own (RFC 3501 §2.3.2), \* no flag, others aren't known."""
        for flag in ("\\Recent", "\\*", "\\", "\\Seen2", "\\Foo", "\\ſeen", "\\\\Seen"):
            self.assertIsNone(canonicalFlag(flag), flag)

    def test_keywords(self) -> None:
        """A keyword is any atom and keeps its spelling."""
        for flag in ("$Forwarded", "$MDNSent", "NonJunk", "a", "~", "}", "[a", "a.b/c:d", "+1"):
            self.assertEqual(canonicalFlag(flag), flag)

    def test_registeredKeywords(self) -> None:
        """Keywords that are registered have the registry's spelling (RFC 5788, RFC 8457)."""
        for given_, flag in (
            ("$forwarded", "$Forwarded"),
            ("$MDNSENT", "$MDNSent"),
            ("$junk", "$Junk"),
            ("$notjunk", "$NotJunk"),
            ("$Phishing", "$Phishing"),
            ("$IMPORTANT", "$Important"),
            ("$submitpending", "$SubmitPending"),
            ("$submitted", "$Submitted"),
            ("$junky", "$junky"),
            ("junk", "junk"),
        ):
            self.assertEqual(canonicalFlag(given_), flag)

    def test_atoms(self) -> None:
        """Every ATOM-CHAR may be in one, no other character (RFC 9051 §9)."""
        for code in range(0x180):
            character = chr(code)
            if character in ATOM_CHARACTERS:
                self.assertEqual(canonicalFlag("a" + character), "a" + character)
            else:
                self.assertIsNone(canonicalFlag("a" + character + "a"), repr(character))
                self.assertIsNone(canonicalFlag("a" + character), repr(character))
        self.assertIsNone(canonicalFlag(""))

    def test_length(self) -> None:
        """A keyword has a bounded length."""
        self.assertEqual(canonicalFlag("k" * MAX_KEYWORD), "k" * MAX_KEYWORD)
        self.assertIsNone(canonicalFlag("k" * (MAX_KEYWORD + 1)))


class SetTests(SynchronousTestCase):
    """
    Sets of flags, and their text.
    """

    def test_one(self) -> None:
        """Equal sets are one object."""
        self.assertIs(internFlags([SEEN, FLAGGED]), internFlags({FLAGGED, SEEN}))
        self.assertIs(internFlags([SEEN, FLAGGED]), flagsFromText("\\Flagged \\Seen"))
        self.assertIs(internFlags([]), NO_FLAGS)
        self.assertIs(flagsFromText(""), NO_FLAGS)

    @given(FLAGS)
    def test_text(self, some: frozenset[str]) -> None:
        """A set survives being stored as text, and equal sets have equal texts."""
        text = flagsToText(internFlags(some))
        self.assertEqual(flagsFromText(text), some)
        self.assertEqual(flagsToText(frozenset(sorted(some))), text)

    @given(FLAGS, FLAGS)
    def test_operations(self, old: frozenset[str], given_: frozenset[str]) -> None:
        """STORE adds, removes, replaces (RFC 9051 §6.4.6)."""
        self.assertEqual(FlagOperation.ADD.apply(old, given_), old | given_)
        self.assertEqual(FlagOperation.REMOVE.apply(old, given_), old - given_)
        self.assertEqual(FlagOperation.REPLACE.apply(old, given_), given_)

    def test_bounded(self) -> None:
        """
        However many different sets clients make, the tables stay bounded and everything, the empty
        set too, means what it meant.
        """
        self.patch(flags, "_MAX_INTERNED", 10)
        for name in ("_interned", "_fromText", "_toText"):
            self.enterContext(mock.patch.dict(getattr(flags, name), clear=True))
        for number in range(50):
            text = f"k{number}"
            self.assertEqual(flagsFromText(text), {text})
            self.assertEqual(flagsToText(frozenset((text, SEEN))), f"\\Seen {text}")
            self.assertEqual(flagsFromText(""), NO_FLAGS)
            self.assertEqual(flagsToText(NO_FLAGS), "")
            self.assertEqual(internFlags(()), NO_FLAGS)
        for table in (flags._interned, flags._fromText, flags._toText):
            self.assertLessEqual(len(table), 10)


class KeywordSpellingTests(SynchronousTestCase):
    """
    A keyword is one, however it is spelled (RFC 9051 §2.3.2).
    """

    def test_firstSpelling(self) -> None:
        """The spelling that a mailbox saw first stays."""
        spelling = KeywordSpelling()
        self.assertEqual(spelling.apply(["$Junk"]), ({"$Junk"}, ("$Junk",)))
        self.assertEqual(spelling.apply(["$JUNK"]), ({"$Junk"}, ()))
        self.assertEqual(spelling.keywords(), ("$Junk",))

    def test_known(self) -> None:
        """Keywords of an earlier session are known."""
        spelling = KeywordSpelling(["b", "a"])
        self.assertEqual(spelling.apply(["A", "B", "C"]), ({"a", "b", "C"}, ("C",)))
        self.assertEqual(spelling.keywords(), ("b", "a", "C"))

    def test_twoSpellingsAtOnce(self) -> None:
        """Two spellings in one command are one keyword."""
        result, new = KeywordSpelling().apply(["Work", "WORK"])
        self.assertEqual((result, new), ({"Work"}, ("Work",)))

    def test_systemFlags(self) -> None:
        """System flags pass, and are no keywords."""
        spelling = KeywordSpelling()
        self.assertEqual(spelling.apply([ANSWERED, DELETED]), ({"\\Answered", "\\Deleted"}, ()))
        self.assertEqual(spelling.keywords(), ())


class ScopeTests(SynchronousTestCase):
    r"""
    Flags that only some may change (RFC 4314 §4).
    """

    def test_classes(self) -> None:
        r"""C{\Seen} and C{\Deleted} are each their own class, all else is a third."""
        flags = frozenset(("\\Seen", "\\Deleted", "\\Answered", "$Forwarded"))
        for scope, within in (
            (FlagScope(True, False, False), {"\\Seen"}),
            (FlagScope(False, True, False), {"\\Deleted"}),
            (FlagScope(False, False, True), {"\\Answered", "$Forwarded"}),
            (FlagScope(True, True, True), flags),
            (FlagScope(False, False, False), set()),
        ):
            self.assertEqual(scope.within(flags), within)

    def test_merge(self) -> None:
        """What is outside the scope stays as it was, set or not."""
        scope = FlagScope(True, False, False)
        old = frozenset(("\\Deleted", "$a"))
        self.assertEqual(
            scope.merge(old, frozenset(("\\Seen", "$b"))), {"\\Deleted", "$a", "\\Seen"}
        )
        self.assertEqual(scope.merge(old | {"\\Seen"}, frozenset()), old)
