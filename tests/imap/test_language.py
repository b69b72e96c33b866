"""
LANGUAGE (RFC 5255 §3): C{twisted_mailstack.imap.extensions.language}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server


class LanguageTests(SynchronousTestCase):
    """
    §3.2.
    """

    def setUp(self) -> None:
        """A session that is logged in."""
        self.client = Server().login()

    def test_example(self) -> None:
        """§3.2's examples, as far as we speak languages."""
        self.client.check(
            """
            C: A002 LANGUAGE MUL
            S: A002 NO Unsupported language
            C: A003 LANGUAGE
            S: * LANGUAGE (EN i-default)
            S: A003 OK LANGUAGE completed
            C: D001 LANGUAGE FR
            S: D001 NO Unsupported language
            C: D003 LANGUAGE "default"
            S: * LANGUAGE (EN)
            S: D003 OK LANGUAGE completed
            C: E001 LANGUAGE FR-CA EN-CA
            S: * LANGUAGE (EN)
            S: E001 OK LANGUAGE completed
            C: F001 LANGUAGE i-default en
            S: * LANGUAGE (i-default)
            S: F001 OK LANGUAGE completed
            """
        )

    def test_ranges(self) -> None:
        """RFC 4647 §3.4: a range is cut from its end until it is a language we have."""
        for given, found in (
            ("en", "EN"), ("EN-gb-oed", "EN"), ("en-x-private", "EN"), ("I-DEFAULT", "i-default"),
            ('"*"', "EN"), ("eng", None), ("e", None), ("-en", None), ('""', None),
            ("{2+}\r\nen", "EN"),
        ):  # fmt: skip
            answer = self.client.send(f"a LANGUAGE {given}\r\n".encode())
            expected = (
                "a NO Unsupported language\r\n"
                if found is None
                else f"* LANGUAGE ({found})\r\na OK LANGUAGE completed\r\n"
            )
            self.assertEqual(answer.decode(), expected, given)

    def test_states(self) -> None:
        """§3.1: it is valid in all states, and the greeting lists it."""
        server = Server()
        client = server.connect()
        self.assertIn(b" LANGUAGE ", client.wire.take())
        for each in (client, server.select()):
            self.assertEqual(
                each.send(b"a LANGUAGE en\r\n"), b"* LANGUAGE (EN)\r\na OK LANGUAGE completed\r\n"
            )

    def test_syntax(self) -> None:
        """§3.5."""
        for arguments in (" ", " en ", "  en", " (en)", " en  de", " " + "x " * 200 + "x"):
            answer = self.client.send(f"a LANGUAGE{arguments}\r\n".encode())
            self.assertRegex(answer, rb"^a BAD ")
