"""
Recent logins as text.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.logins import printable, readLogins, writeLogins
from twisted_mailstack.model.records import LoginRecord

ONE = LoginRecord(
    1_700_000_000, "A1", "alice@example.test", "imaps", "192.0.2.1", "PLAIN", True, "My phone"
)


class LoginsTests(SynchronousTestCase):
    """
    L{writeLogins} and L{readLogins}.
    """

    def test_lines(self) -> None:
        """A line for each, in their order, with tabs between the fields; RFC 3339's UTC."""
        other = ONE._replace(success=False, credential="", when=0, peer="2001:db8::1")
        self.assertEqual(
            writeLogins([ONE, other]),
            b"2023-11-14T22:13:20Z\tok\timaps\t192.0.2.1\tPLAIN\talice@example.test\tMy phone\r\n"
            b"1970-01-01T00:00:00Z\tfailed\timaps\t2001:db8::1\tPLAIN\talice@example.test\t\r\n",
        )
        self.assertEqual(writeLogins([]), b"")

    def test_back(self) -> None:
        """What is read is what was written, but for the accountId; later fields don't matter."""
        records = [ONE, ONE._replace(name="Al\u00ed\u00e7e b", success=False, credential="")]
        expected = [each._replace(accountId=None) for each in records]
        self.assertEqual(readLogins(writeLogins(records)), expected)
        more = writeLogins(records).replace(b"\r\n", b"\tmore\tfields\r\n")
        self.assertEqual(readLogins(more), expected)
        self.assertEqual(readLogins(b""), [])

    def test_forged(self) -> None:
        """Nothing that a client says of itself makes a line, a field, or moves a cursor."""
        for text in ("a\tb", "a\r\nb", "a\x1b[2Jb", "a\u2028b", "a\x85b", "a\0b", "a\udcffb"):
            record = ONE._replace(name=text, mechanism=text, credential=text)
            octets = writeLogins([record])
            self.assertEqual((octets.count(b"\t"), octets.count(b"\n")), (6, 1), text)
            (found,) = readLogins(octets)
            self.assertEqual(found.name, printable(text))
            self.assertTrue(found.name.startswith("a\ufffd"), text)

    def test_malformed(self) -> None:
        """What another server says may be anything."""
        line = writeLogins([ONE])
        for octets in (
            *(
                b"x",
                b"\r\n",
                b"\xff",
                line[1:],
                line.replace(b"ok", b"yes"),
                line[: line.rindex(b"\t")],
            ),
            *(line.replace(b"2023", b"99999"), line.replace(b"-11-", b"-13-")),
        ):
            self.assertRaises(SyntaxProblem, readLogins, octets)
        (found,) = readLogins(line.replace(b"alice", b"a\x1b[2J"))
        self.assertNotIn("\x1b", found.name)
