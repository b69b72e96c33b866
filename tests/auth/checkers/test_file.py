"""
A password file that is read again when it changes.
"""

from __future__ import annotations

import os
from pathlib import Path

from zope.interface.verify import verifyObject

from tests.auth.checkers.support import ALICE, BOB, NOBODY, SourceTestCase
from twisted_mailstack.auth.checkers.file import SETTLE, FileSettings, PasswordFile
from twisted_mailstack.auth.checkers.source import SourceProblem
from twisted_mailstack.auth.passwords import verifyPassword
from twisted_mailstack.interfaces import IPasswordSource
from twisted_mailstack.model.address import Address


class FileTests(SourceTestCase):
    """
    L{PasswordFile}.
    """

    def setUp(self) -> None:
        """A file that nobody has changed for a long time."""
        super().setUp()
        self.watchLog()
        self.services = self.services._replace(defaultDomain="example.test")
        self.path = Path(self.mktemp())
        self.write("alice@example.test:{PLAIN}secret\nbob:{PLAIN}bobs:1:1::/home/bob::\n")
        self.source = self.make()

    def make(self) -> PasswordFile:
        """
        @return: a source.
        """
        source = PasswordFile(FileSettings(str(self.path)), self.services)
        self.run_(source.start())
        return source

    def write(self, text: str, age: float = 60.0) -> None:
        """
        Write the file, as so many seconds ago.
        """
        self.path.write_bytes(text.encode())
        when = self.now() - age
        os.utime(self.path, (when, when))

    def test_interface(self) -> None:
        """It is a source of passwords."""
        verifyObject(IPasswordSource, self.source)

    def test_right(self) -> None:
        """Lines with or without a domain, in any case, with Dovecot's other fields."""
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.assertIs(self.ask(self.source, ALICE, "bobs"), False)
        self.assertIs(self.ask(self.source, BOB, "bobs"), True)
        self.write("ALICE@Example.Test:{PLAIN}secret\n")
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)

    def test_unknown(self) -> None:
        """
        An unknown name takes a hash of the kind that the file has, and no password of the file is
        right for it.
        """
        self.assertIs(self.ask(self.source, NOBODY, "secret"), False)
        (decoy,) = self.hasher.asked
        assert decoy is not None
        self.assertTrue(decoy.startswith("{PLAIN}"))
        self.assertFalse(verifyPassword(decoy, b"secret"))

    def test_changed(self) -> None:
        """A file that was changed, or replaced by another, holds from the next login on."""
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.write("alice:{PLAIN}new\n", age=30)
        self.assertIs(self.ask(self.source, ALICE, "secret"), False)
        self.assertIs(self.ask(self.source, ALICE, "new"), True)
        self.assertIs(self.ask(self.source, BOB, "bobs"), False)
        other = Path(self.mktemp())
        other.write_text("alice:{PLAIN}third\n")
        os.utime(other, (self.now() - 30, self.now() - 30))
        other.replace(self.path)
        self.assertIs(self.ask(self.source, ALICE, "third"), True)

    def test_beingWritten(self) -> None:
        """While somebody writes it, what was read before holds; a second later, what he wrote."""
        self.assertIs(self.ask(self.source, BOB, "bobs"), True)
        self.write("alice:{PLAIN}new\n", age=0)
        self.assertIs(self.ask(self.source, BOB, "bobs"), True)
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.clock.advance(0.9)
        self.write("alice:{PLAIN}new\nbob:{PLAIN}b2\n", age=0)
        self.clock.advance(0.9)
        self.assertIs(self.ask(self.source, BOB, "bobs"), True)
        self.clock.advance(0.2)
        self.assertIs(self.ask(self.source, BOB, "b2"), True)
        self.assertIs(self.ask(self.source, ALICE, "new"), True)

    def test_beingWrittenAtFirst(self) -> None:
        """A file that is being written when the server starts is waited for."""
        self.write("alice:{PLAIN}new\n", age=0)
        source = self.make()
        result = self.begin(source.verify(ALICE, b"new"))
        self.assertNoResult(result)
        self.clock.advance(1.1)
        self.assertIs(self.successResultOf(result), True)

    def test_clockAhead(self) -> None:
        """A file from the future is taken once it has been seen unchanged for a second."""
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.write("alice:{PLAIN}new\n", age=-9999)
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.clock.advance(1)
        self.assertIs(self.ask(self.source, ALICE, "new"), True)

    def test_oneReading(self) -> None:
        """Many logins at once read it once; while it is read anew, the former holds."""
        self.threads.held = []
        results = [self.begin(self.source.verify(ALICE, b"secret")) for _ in range(3)]
        self.answer()
        for result in results:
            self.assertIs(self.successResultOf(result), True)
        self.write("alice:{PLAIN}new\n", age=30)
        first = self.begin(self.source.verify(ALICE, b"new"))
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.answer()
        self.assertIs(self.successResultOf(first), True)

    def test_changedWhileRead(self) -> None:
        """What was changed while it was read isn't taken."""
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.write("alice:{PLAIN}new\nbob:{PLAIN}new\n", age=30)
        fstat, calls = os.fstat, []

        def changing(descriptor: int) -> os.stat_result:
            calls.append(descriptor)
            if len(calls) == 2:
                self.write("alice:{PLAIN}newer\nbob:{PLAIN}new\ncarol:\n", age=30)
            return fstat(descriptor)

        self.patch(os, "fstat", changing)
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.assertEqual(len(calls), 2)
        self.clock.advance(1)
        self.assertIs(self.ask(self.source, ALICE, "newer"), True)

    def answer(self) -> None:
        """
        Let the thread do what it is to, of which there is one thing at a time.
        """
        while self.threads.held:
            ((waiting, function),) = self.threads.held
            self.threads.held.clear()
            waiting.callback(function())

    def test_badLines(self) -> None:
        """
        Bad lines are left out and named in the log, with nothing of a password; the others hold.
        """
        self.write(
            "# a comment\n"
            "\n"
            "alice:{PLAIN}secret\r\n"
            "nocolon secret\n"
            "bob:{NOSUCH}secret\n"
            "carol@example.test:secret\n"
            "@:{PLAIN}secret\n"
            "alice:{PLAIN}secret\n"
            "dave:{PLAIN}secret::::::nopassword=y\n"
            "erin:{PLAIN}secret::::::allow_nets=192.0.2.0/24\n"
            "frank:{PLAIN}secret::::::nologin reason=none\n"
            "grace:\n"
            "heidi:!{PLAIN}secret\n"
        )
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        for name in ("bob", "carol", "dave", "erin", "frank", "grace", "heidi"):
            address = Address(name, "example.test")
            for password in ("secret", "", "!{PLAIN}secret"):
                self.assertIs(self.ask(self.source, address, password), False, name)
        said = self.logged()
        self.assertEqual(
            [line.split(": line ")[1].partition(" is left out")[0] for line in said],
            ["4", "5", "6", "7", "8", "9", "10"],
        )
        self.assertNotIn("secret", "".join(said))

    def test_notUTF8(self) -> None:
        """A line that isn't UTF-8, or has NUL in it, is a bad one, and no other is."""
        self.path.write_bytes(b"b\xe9b:{PLAIN}x\nbo\0b:{PLAIN}x\nalice:{PLAIN}secret")
        os.utime(self.path, (0, 0))
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.assertEqual(len(self.logged()), 2)

    def test_down(self) -> None:
        """
        Without the file nothing can be told, what was read before neither; the log says it once.
        """
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.path.unlink()
        for _ in range(3):
            self.assertIsNone(self.ask(self.source, ALICE, "secret"))
        self.assertEqual(len(self.logged()), 1)
        self.path.mkdir()
        self.assertIsNone(self.ask(self.source, ALICE, "secret"))
        self.path.rmdir()
        self.write("alice:{PLAIN}new\n")
        self.assertIs(self.ask(self.source, ALICE, "new"), True)

    def test_downMeanwhile(self) -> None:
        """
        Who took the file away wanted that nobody gets in by it: while another is being written in
        its place, what was in the first one holds no more.
        """
        self.assertIs(self.ask(self.source, ALICE, "secret"), True)
        self.path.unlink()
        self.assertIsNone(self.ask(self.source, ALICE, "secret"))
        self.write("alice:{PLAIN}new\n", age=0)
        asked = self.begin(self.source.verify(ALICE, b"secret"))
        self.assertNoResult(asked)
        self.clock.advance(SETTLE)
        self.assertIs(self.successResultOf(asked), False)
        self.assertIs(self.ask(self.source, ALICE, "new"), True)

    def test_settings(self) -> None:
        """The file has to be named."""
        self.assertRaises(SourceProblem, FileSettings)
