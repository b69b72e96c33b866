"""
AUTH= and SASL-IR (RFC 4959): C{twisted_mailstack.imap.extensions.sasl}.
"""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.imap.support import Server, capabilities
from twisted_mailstack.interfaces import ISASLExchange, IServerMechanism
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.sasl.registry import MECHANISMS
from twisted_mailstack.testing.conversation import Conversation

PLAIN = b64encode(b"\0alice@example.test\0secret").decode("ascii")
CAPABILITY = f"[CAPABILITY {capabilities(True)}]"


@implementer(IServerMechanism, ISASLExchange)
class External:
    """A mechanism whose only message is empty, and that shows no password."""

    name = b"XEXTERNAL"
    needsTLS = False

    def begin(self, info: ConnectionInfo) -> External:
        """See L{IServerMechanism}."""
        return self

    def respond(self, response: bytes | None) -> bytes | PasswordCredentials:
        """See L{ISASLExchange}."""
        if response is None:
            return b""
        return PasswordCredentials(b"alice@example.test", b"secret" + response)


class InitialResponseTests(SynchronousTestCase):
    """
    An AUTHENTICATE that brings its first response.
    """

    def setUp(self) -> None:
        """A connection under TLS."""
        self.server = Server(mechanisms=(*MECHANISMS, External()))
        self.client = self.connect()

    def connect(self, secure: bool = True) -> Conversation:
        """
        @return: a connection with the greeting taken.
        """
        client = self.server.connect(secure)
        client.wire.take()
        return client

    def test_given(self) -> None:
        """§4's first example."""
        self.client.check(
            f"""
            C: A01 AUTHENTICATE PLAIN {PLAIN}
            S: A01 OK {CAPABILITY} authenticated
            """
        )

    def test_omitted(self) -> None:
        """Without it, the negotiation "is still valid and MUST be supported"."""
        self.client.check(
            f"""
            C: A01 AUTHENTICATE PLAIN
            S: +\x20
            C: {PLAIN}
            S: A01 OK {CAPABILITY} authenticated
            """
        )

    def test_empty(self) -> None:
        """§4's third example: "=" is a response of no octets, and needs no challenge."""
        self.client.check(
            f"""
            C: A01 AUTHENTICATE XEXTERNAL =
            S: A01 OK {CAPABILITY} authenticated
            """
        )

    def test_emptyLater(self) -> None:
        """§4's last example: as a line of its own it is empty."""
        self.client.check(
            f"""
            C: A01 AUTHENTICATE XEXTERNAL
            S: +\x20
            C:
            S: A01 OK {CAPABILITY} authenticated
            """
        )

    def test_firstOfSeveral(self) -> None:
        """A mechanism of several steps goes on from there."""
        self.client.check(
            f"""
            C: a AUTHENTICATE LOGIN {b64encode(b"alice@example.test").decode()}
            S: + {b64encode(b"Password:").decode()}
            C: {b64encode(b"secret").decode()}
            S: a OK {CAPABILITY} authenticated
            """
        )

    def test_invalid(self) -> None:
        """
        §3: what isn't base64, has "=" elsewhere than at its end, or is in quotes or a literal, is
        BAD.
        """
        for response in (
            "=AAA", "AAA=BBB", "==", "= ", "", " ", "A", "AA A=", "*", f'"{PLAIN}"', f"{PLAIN} ",
            f" {PLAIN}", f"{PLAIN} x", f"{{{len(PLAIN)}+}}\r\n{PLAIN}", "ä",
        ):  # fmt: skip
            for mechanism in ("PLAIN", "XEXTERNAL"):
                client = self.connect()
                said = client.send(f"a AUTHENTICATE {mechanism} {response}\r\nb NOOP\r\n".encode())
                self.assertRegex(said, rb"^a BAD [^\r]*\r\nb OK NOOP completed\r\n$", response)

    def test_longest(self) -> None:
        """
        "Server implementations MUST be able to receive the largest possible initial client
        response" (§6): a password of five thousand octets.
        """
        self.server.addAccount("long", "x" * 5000)
        message = b64encode(b"\0long@example.test\0" + b"x" * 5000)
        said = self.client.send(b"a AUTHENTICATE PLAIN " + message + b"\r\n")
        self.assertRegex(said, rb"^a OK ")

    def test_capabilities(self) -> None:
        """Only what may be used now is listed; nothing after login (RFC 3501 §6.2.2)."""
        for client, listed in (
            (self.connect(), b" AUTH=PLAIN AUTH=LOGIN AUTH=XEXTERNAL\r\n"),
            (self.connect(secure=False), b" AUTH=XEXTERNAL\r\n"),
            (self.server.login(), b""),
        ):
            said = client.send(b"a CAPABILITY\r\n")
            self.assertIn(b" SASL-IR ", said)
            self.assertIn(listed, said)
            self.assertEqual(b" AUTH=" in said, bool(listed))
