"""
The client of applications: over TCP in memory and real TLS, to servers that do what a test says.
"""

from __future__ import annotations

import email
import io
import tempfile
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import alsoProvides

from tests.net.authority import Authority
from tests.net.internet import SILENT, InternetTestCase
from tests.relay.server import CLOSE, HANG, Server
from tests.smtp.support import Server as OurServer
from tests.smtp.support import now
from twisted_mailstack.errors import (
    AuthenticationFailed,
    DestinationUnavailable,
    EncryptionRequired,
    MailError,
    SyntaxProblem,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import AttemptResult
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.sasl.login import LoginClient
from twisted_mailstack.sasl.plain import PlainClient
from twisted_mailstack.smtp import client as clientModule
from twisted_mailstack.smtp.client import SMTPClient, TLSUnavailable, sendMail
from twisted_mailstack.smtp.clientsession import BytesContent, ClientTimeouts, SMTPClientSession
from twisted_mailstack.smtp.lmtp import LMTP_COMMANDS
from twisted_mailstack.smtp.registry import EXTENSIONS

HOST, ADDRESS = "mx.example.org", "198.51.100.1"
ME, YOU = "me@example.test", "you@example.org"
TEXT = b"Subject: x\r\n\r\n.text\r\n"
LOGIN = {"username": "me", "password": "secret"}


class ClientTestCase(InternetTestCase):
    """
    @ivar names: addresses by host name.
    """

    authority = Authority()
    issued = authority.issue(HOST, ADDRESS)
    nobodys = Authority("Nobody").issue(HOST)

    def setUp(self) -> None:
        """A network in which names are known."""
        super().setUp()
        self.names = {HOST: [ADDRESS]}
        alsoProvides(self.internet, IReactorPluggableNameResolver)
        self.internet.nameResolver = self  # type: ignore[attr-defined]

    def resolveHostName(self, receiver: Any, name: str, portNumber: int = 0, **_: Any) -> None:
        """See IHostnameResolver."""
        receiver.resolutionBegan(None)
        for address in self.names.get(name, []):
            receiver.addressResolved(IPv4Address("TCP", address, portNumber))
        receiver.resolutionComplete()

    def serve(self, port: int = 25, name: str = HOST, **settings: Any) -> Server:
        """
        @return: a server at L{ADDRESS}.
        """
        server = Server(name, **settings)
        where: Any = server
        if settings.get("implicit"):
            where = TLSMemoryBIOFactory(settings["certificate"], False, server)
        self.internet.servers[ADDRESS, port] = where
        return server

    def client(self, host: str = HOST, port: int | None = None, **options: Any) -> SMTPClient:
        """
        @return: a client that isn't connected.
        """
        options.setdefault("trustRoot", self.authority.trustRoot)
        return SMTPClient(self.internet, host, port, **options)

    def connected(self, *given: Any, **options: Any) -> SMTPClient:
        """
        @return: a client that is.
        """
        client = self.client(*given, **options)
        self.result(client.connect())
        return client

    def refused(self, kind: type[Exception], *given: Any, **options: Any) -> Any:
        """
        @return: why a client couldn't connect; no connection is left.
        """
        client = self.client(*given, **options)
        attempt = self.start(client.connect())
        for _ in range(5):
            if attempt.called:
                break
            self.internet.wait(100)
        error = self.failureResultOf(attempt, kind).value
        self.assertFalse(client.usable)
        self.assertIs(client.session, None)
        self.internet.wait(20)
        self.assertIdle()
        return error

    def end(self, client: SMTPClient) -> None:
        """The client goes, and nothing is left."""
        self.result(client.quit())
        self.internet.wait(20)
        self.assertIdle()


class ConnectTests(ClientTestCase):
    """
    The way to a server.
    """

    def test_plain(self) -> None:
        """A host by its name: EHLO with our address (RFC 5321 §4.1.4), and QUIT in the end."""
        server = self.serve()
        client = self.connected()
        self.assertTrue(client.usable)
        self.assertEqual(client.offered, {"PIPELINING": "", "8BITMIME": ""})
        self.end(client)
        self.assertFalse(client.usable)
        self.assertEqual(server.sessions[0].lines, ["EHLO [192.0.2.1]", "QUIT"])

    def test_name(self) -> None:
        """What the client is to call itself, as A-labels."""
        server = self.serve()
        self.end(self.connected(name="b\u00fccher.Example"))
        self.assertEqual(server.sessions[0].lines[0], "EHLO xn--bcher-kva.example")

    def test_ports(self) -> None:
        """
        Port and TLS go together: 25 opportunistic; with a user 587 verified; 465 from the
        beginning.
        """
        for given, where in (
            ({}, 25),
            (LOGIN, 587),
            ({"tls": "implicit"}, 465),
            ({"tls": "implicit", **LOGIN}, 465),
            ({"lmtp": True}, 24),
            ({"port": 2525}, 2525),
        ):
            client = self.client(**given)
            attempt = self.start(client.connect())
            self.internet.wait(1)
            self.failureResultOf(attempt, DestinationUnavailable)
            self.assertEqual(self.internet.attempts[-1], (ADDRESS, where), given)
        for given, level in (
            ({}, "opportunistic"),
            ({"port": 587}, "verified"),
            (LOGIN, "verified"),
            ({"port": 25, **LOGIN}, "verified"),
            ({"port": 465}, "implicit"),
            ({"host": "", "path": "/x"}, "none"),
            ({"lmtp": True}, "opportunistic"),
        ):
            self.assertEqual(self.client(**given)._level, level, given)  # type: ignore[arg-type]

    def test_address(self) -> None:
        """A host by its address, which no resolver is asked for."""
        self.names.clear()
        self.serve()
        self.end(self.connected(ADDRESS))
        self.internet.servers["2001:db8::1", 25] = Server()
        self.end(self.connected("2001:db8::1"))
        self.assertEqual(self.internet.attempts[-1], ("2001:db8::1", 25))

    def test_IDN(self) -> None:
        """A host's name in any script."""
        self.names["xn--bcher-kva.example"] = [ADDRESS]
        self.serve(certificate=Authority().issue("xn--bcher-kva.example").server)
        self.end(self.connected("B\u00fccher.example"))

    def test_socket(self) -> None:
        """LMTP over a Unix socket."""
        server = Server(replies={"message": "250 2.1.5 one\r\n250 2.1.5 two"})
        self.internet.servers["/run/lmtp"] = server
        client = self.connected("", path="/run/lmtp", lmtp=True)
        self.assertTrue(server.sessions[0].lines[0].startswith("LHLO "))
        results = self.result(client.send(ME, [YOU, "b@example.org"], TEXT))
        self.assertEqual([each.line for each in results], [
            "/run/lmtp said: 250 2.1.5 one", "/run/lmtp said: 250 2.1.5 two"
        ])  # fmt: skip
        self.end(client)

    def test_endpoint(self) -> None:
        """Any endpoint; TLS where the host is named."""
        server = self.serve(2525, certificate=self.issued.server)
        endpoint = TCP4ClientEndpoint(self.internet, ADDRESS, 2525)
        self.end(self.connected("", endpoint=endpoint))
        self.end(self.connected(HOST, endpoint=endpoint, tls="verified"))
        self.assertEqual(server.secure, [False, True])

    def test_unreachable(self) -> None:
        """A server that can't be reached may be reached later; the text says why not."""
        self.assertIn("refused", self.refused(DestinationUnavailable).text.lower())
        self.internet.servers[ADDRESS, 25] = SILENT
        self.assertIn("time", self.refused(DestinationUnavailable, connectTimeout=20).text)
        self.names.clear()
        error = self.refused(DestinationUnavailable)
        self.assertTrue(error.temporary)
        self.assertTrue(error.text.startswith(HOST))

    def test_atEachStage(self) -> None:
        """A server that breaks off, falls silent or speaks something else while we begin."""
        for stage in ("greeting", "EHLO", "STARTTLS", "tls EHLO", "tls AUTH"):
            for fault, text in (
                (CLOSE, "closed"),
                (HANG, "timeout"),
                ("nonsense", "does not speak SMTP"),
            ):
                server = self.serve(
                    587,
                    certificate=self.issued.server,
                    offeredTLS=("AUTH PLAIN",),
                    replies={stage: fault},
                )
                error = self.refused(DestinationUnavailable, **LOGIN)
                self.assertIn(text, error.text, stage)
                self.assertNotIn("QUIT", server.sessions[-1].verbs)

    def test_refusedAtEachStage(self) -> None:
        """A server that refuses to serve: its code and its text; it is told QUIT."""
        for stage, reply in (
            ("greeting", "554 5.7.1 Not you"),
            ("EHLO", "451 4.3.0 Later"),
            ("tls EHLO", "451 4.3.0 Later"),
            ("tls AUTH", "454 4.7.0 Later"),
        ):
            server = self.serve(
                587,
                certificate=self.issued.server,
                offeredTLS=("AUTH PLAIN",),
                replies={stage: reply},
            )
            error = self.refused(MailError, **LOGIN)
            self.assertEqual(f"{error.smtpCode} {error.enhancedStatus} {error.text}", reply)
            self.assertEqual(server.sessions[-1].verbs[-1], "QUIT")

    def test_cancelled(self) -> None:
        """An attempt that is given up leaves no connection, whenever that is."""
        for replies in ({"greeting": HANG}, {"EHLO": HANG}, {"STARTTLS": HANG}):
            self.serve(587, certificate=self.issued.server, replies=replies)
            client = self.client(**LOGIN)
            attempt = self.start(client.connect())
            attempt.cancel()
            self.failureResultOf(attempt, CancelledError)
            self.assertIdle()
        self.internet.servers[ADDRESS, 25] = SILENT
        attempt = self.start(self.client().connect())
        attempt.cancel()
        self.failureResultOf(attempt, CancelledError)
        self.assertIdle()

    def test_twice(self) -> None:
        """A client is connected once at a time, and again after it was closed."""
        self.serve()
        client = self.connected()
        self.failureResultOf(self.start(client.connect()), ValueError)
        self.result(client.quit())
        self.result(client.connect())
        self.assertTrue(client.usable)
        self.end(client)

    def test_senseless(self) -> None:
        """What can't be meant is an error at once."""
        for given in (
            {"host": ""},
            {"path": "/x"},
            {"host": "", "path": "/x", "tls": "verified"},
            {"host": "", "endpoint": object(), "tls": "required"},
            {"host": "", "endpoint": object(), "path": "/x"},
            {"username": "me"},
            {"password": "secret"},
            {"tls": "yes"},
            {"tls": "opportunistic", **LOGIN},
        ):
            self.assertRaises(ValueError, self.client, **given)
        self.assertRaises(SyntaxProblem, self.client, name="a b")
        self.assertRaises(SyntaxProblem, self.client, "a b")

    def test_goneMeanwhile(self) -> None:
        """A server that went is noticed, and nothing is raised for it."""
        server = self.serve()
        client = self.connected()
        server.sessions[0].transport.loseConnection()
        self.internet.pump()
        self.assertFalse(client.usable)
        self.assertEqual(self.result(client.send(ME, [YOU], TEXT))[0].code, 451)
        self.failureResultOf(self.start(client.noop()), DestinationUnavailable)
        self.end(client)


class TLSTests(ClientTestCase):
    """
    How safe a connection is.
    """

    def outcome(self, level: str, server: dict[str, Any], port: int = 25) -> str:
        """
        @return: C{tls}, C{clear}, or why there is no connection.
        """
        found = self.serve(port, **server)
        client = self.client(port=port, tls=level)
        attempt = self.start(client.connect())
        self.internet.wait(1)
        failures: list[Any] = []
        attempt.addErrback(failures.append)
        if failures:
            failures[0].trap(TLSUnavailable)
            self.internet.wait(20)
            self.assertIdle()
            text: str = failures[0].value.text
            return text
        secure = found.secure[-1]
        self.end(client)
        return "tls" if secure else "clear"

    def test_levels(self) -> None:
        """What each level makes of each server."""
        good = {"certificate": self.issued.server}
        strange = {"certificate": self.nobodys.server}
        none: dict[str, Any] = {}
        unwilling = {**good, "replies": {"STARTTLS": "454 4.7.0 Not now"}}
        for level, server, expected in (
            *(("none", good, "clear"), ("none", none, "clear")),
            *(("opportunistic", good, "tls"), ("opportunistic", strange, "tls")),
            *(("opportunistic", none, "clear"), ("opportunistic", unwilling, "clear")),
            *(("required", good, "tls"), ("required", strange, "tls")),
            *(("required", none, "offers no STARTTLS"), ("required", unwilling, "454 Not now")),
            *(("verified", good, "tls"), ("verified", strange, "not trusted")),
            *(("verified", none, "offers no STARTTLS"), ("verified", unwilling, "454 Not now")),
        ):
            found = self.outcome(level, server)
            self.assertIn(expected, found, (level, server))

    def test_otherName(self) -> None:
        """A certificate for somebody else is none."""
        other = {"certificate": self.authority.issue("mx.example.net").server}
        self.assertIn("not for mx.example.org", self.outcome("verified", other))
        self.assertEqual(self.outcome("required", other), "tls")

    def test_implicit(self) -> None:
        """TLS from the beginning (RFC 8314 §3), verified."""
        good = {"certificate": self.issued.server, "implicit": True}
        self.assertEqual(self.outcome("implicit", good, 465), "tls")
        strange = {"certificate": self.nobodys.server, "implicit": True}
        self.assertIn("not trusted", self.outcome("implicit", strange, 465))
        self.assertIn("TLS", self.outcome("implicit", {"replies": {"greeting": CLOSE}}, 465))

    def test_brokenTLS(self) -> None:
        """
        Where TLS fails though it is offered, the connection is made again in the clear, if that is
        allowed (RFC 7435 §3).
        """
        broken = {"certificate": self.issued.server, "replies": {}}
        for level, expected in (("opportunistic", [False, False]), ("required", [False])):
            server = self.serve(**broken)
            server.certificate = None
            server.offered = ("STARTTLS",)
            server.replies = {"STARTTLS": "220 Go"}
            client = self.client(tls=level)
            attempt = self.start(client.connect())
            session = server.sessions[0]
            session.transport.write(b"nonsense instead of TLS\r\n")
            session.transport.loseConnection()
            self.internet.wait(1)
            if level == "required":
                self.failureResultOf(attempt, TLSUnavailable)
                self.assertIdle()
            else:
                self.successResultOf(attempt)
                self.end(client)
            self.assertEqual(server.secure, expected)

    def test_breaksOff(self) -> None:
        """A server that breaks at STARTTLS is spoken to in the clear, if that is allowed."""
        for fault in (CLOSE, "nonsense", HANG):
            server = self.serve(certificate=self.issued.server, replies={"STARTTLS": fault})
            client = self.client(tls="opportunistic")
            attempt = self.start(client.connect())
            self.internet.wait(300)
            self.successResultOf(attempt)
            self.end(client)
            verbs = [session.verbs for session in server.sessions]
            self.assertEqual(verbs, [["EHLO", "STARTTLS"], ["EHLO", "QUIT"]], fault)
            client = self.client(tls="required")
            attempt = self.start(client.connect())
            self.internet.wait(300)
            self.failureResultOf(attempt, DestinationUnavailable)

    def test_goodbye(self) -> None:
        """A server that closes instead (RFC 5321 §3.8: 421) isn't one that has no TLS."""
        for level in ("opportunistic", "required", "verified"):
            self.serve(certificate=self.issued.server, replies={"STARTTLS": "421 4.3.2 Bye"})
            error = self.refused(MailError, tls=level)
            self.assertEqual((error.smtpCode, error.enhancedStatus), (421, "4.3.2"))

    def test_injected(self) -> None:
        """What comes behind the reply to STARTTLS in the clear isn't read (CVE-2011-0411)."""
        server = self.serve(replies={"STARTTLS": "220 Go\r\n250-x\r\n250 AUTH PLAIN"})
        server.offered = ("STARTTLS",)
        self.assertIn("behind its reply", self.refused(DestinationUnavailable, tls="required").text)


class LoginTests(ClientTestCase):
    """
    Logging in.
    """

    def test_login(self) -> None:
        """The password goes under TLS that is verified."""
        server = self.serve(
            587,
            certificate=self.issued.server,
            offeredTLS=("AUTH PLAIN",),
            replies={"tls AUTH": "235 2.7.0 Hello"},
        )
        client = self.connected(**LOGIN)
        self.assertEqual(server.sessions[0].lines[-1], "AUTH PLAIN AG1lAHNlY3JldA==")
        self.assertEqual(server.sessions[0].verbs, ["EHLO", "STARTTLS", "EHLO", "AUTH"])
        session = client.session
        assert session is not None
        self.assertTrue(session.authenticated)
        self.end(client)

    def test_actAs(self) -> None:
        """As somebody else."""
        server = self.serve(
            465,
            certificate=self.issued.server,
            implicit=True,
            offered=("AUTH PLAIN",),
            replies={"AUTH": "235 2.7.0 Hello"},
        )
        self.end(self.connected(port=465, authorizationIdentity="you", **LOGIN))
        self.assertEqual(server.sessions[0].lines[1], "AUTH PLAIN eW91AG1lAHNlY3JldA==")

    def test_wrong(self) -> None:
        """A wrong password."""
        self.serve(
            587,
            certificate=self.issued.server,
            offeredTLS=("AUTH PLAIN",),
            replies={"tls AUTH": "535 5.7.8 Wrong"},
        )
        self.assertEqual(self.refused(AuthenticationFailed, **LOGIN).text, "Wrong")

    def test_noTLS(self) -> None:
        """No TLS, no password; nor to somebody else."""
        server = self.serve(587, offered=("AUTH PLAIN",), replies={"AUTH": "235 Hello"})
        self.refused(TLSUnavailable, **LOGIN)
        server = self.serve(587, certificate=self.nobodys.server, offered=("AUTH PLAIN",))
        self.refused(TLSUnavailable, **LOGIN)
        self.refused(EncryptionRequired, tls="none", **LOGIN)
        for session in server.sessions:
            self.assertNotIn("AUTH", session.verbs)

    def test_plaintext(self) -> None:
        """Without TLS if that is allowed."""
        server = self.serve(587, offered=("AUTH PLAIN",), replies={"AUTH": "235 Hello"})
        for level in ("none", "opportunistic"):
            self.end(self.connected(tls=level, allowPlaintextAuth=True, **LOGIN))
            self.assertIn("AUTH", server.sessions[-1].verbs)


class SendTests(ClientTestCase):
    """
    Messages.
    """

    def setUp(self) -> None:
        """A server."""
        super().setUp()
        self.server = self.serve(offered=("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN"))

    def send(self, content: Any = TEXT, *given: Any, **options: Any) -> list[AttemptResult]:
        """
        @return: what becomes of a message.
        """
        client = self.connected()
        results: list[AttemptResult] = self.result(
            client.send(ME, [YOU], content, *given, **options)
        )
        self.end(client)
        return results

    def test_results(self) -> None:
        """Each recipient has a result, in order; several messages go over one connection."""
        client = self.connected()
        results = self.result(client.send(ME, [YOU, "b@example.org"], TEXT))
        self.assertEqual(results, [AttemptResult(250, "2.0.0", "Taken", HOST, True)] * 2)
        self.server.replies["RCPT"] = "550 5.1.1 Unknown"
        self.assertEqual(
            self.result(client.send("", [YOU], TEXT)),
            [AttemptResult(550, "5.1.1", "Unknown", HOST, True)],
        )
        del self.server.replies["RCPT"]
        self.assertEqual(self.result(client.send(None, [YOU], TEXT))[0].code, 250)
        self.assertEqual(len(self.server.sessions), 1)
        self.assertEqual(self.server.messages, [TEXT, TEXT])
        self.assertEqual(
            [line for line in self.server.sessions[0].lines if line.startswith("MAIL")],
            [f"MAIL FROM:<{ME}>", "MAIL FROM:<>", "MAIL FROM:<>"],
        )
        self.end(client)

    def test_addresses(self) -> None:
        """Addresses as text, as values, or with parameters; what is none has its result."""
        client = self.connected()
        results = self.result(
            client.send(
                Address("me", "example.test"),
                [
                    Address("a", "example.org"),
                    "nobody",
                    Recipient(Address("b", "example.org"), {"NOTIFY": "NEVER"}),
                    "c@b\u00fccher.example",
                    "d@example.org>\r\nDATA\r\n",
                ],
                TEXT,
                {"ENVID": "x", "RET": "HDRS"},
            )
        )
        self.assertEqual([each.code for each in results], [250, 553, 250, 250, 553])
        self.assertEqual(results[1].enhancedStatus, "5.1.3")
        self.assertEqual(
            self.server.sessions[0].lines[1:],
            [
                "MAIL FROM:<me@example.test> RET=HDRS ENVID=x",
                "RCPT TO:<a@example.org>",
                "RCPT TO:<b@example.org> NOTIFY=NEVER",
                "RCPT TO:<c@xn--bcher-kva.example>",
                "DATA",
            ],
        )
        results = self.result(client.send("me", [YOU, YOU], TEXT))
        self.assertEqual([(each.code, each.enhancedStatus) for each in results],
                         [(553, "5.1.7")] * 2)  # fmt: skip
        self.assertEqual(self.result(client.send(ME, ["nobody"], TEXT))[0].code, 553)
        self.assertEqual(self.result(client.send(ME, [], TEXT)), [])
        self.failureResultOf(self.start(client.send(ME, YOU, TEXT)), TypeError)
        self.end(client)

    def test_eightBit(self) -> None:
        """
        What the message is is found out: nobody has to say 8BITMIME or SMTPUTF8, and who says what
        isn't so isn't believed.
        """
        for parameters in ({}, {"BODY": "7bit"}):
            self.send("Subject: x\r\n\r\n\u00fc\r\n".encode(), parameters)
        self.send("Subject: \u00fc\r\n\r\nx\r\n".encode())
        client = self.connected()
        self.result(client.send("\u00fc@example.test", [YOU], TEXT))
        self.end(client)
        self.assertEqual(
            [session.lines[1] for session in self.server.sessions],
            [
                f"MAIL FROM:<{ME}> BODY=8BITMIME",
                f"MAIL FROM:<{ME}> BODY=8BITMIME",
                f"MAIL FROM:<{ME}> SMTPUTF8 BODY=8BITMIME",
                # The server of these tests reads octets.
                "MAIL FROM:<\u00fc@example.test> SMTPUTF8".encode().decode("latin-1"),
            ],
        )

    def test_lineEnds(self) -> None:
        """Any line end is one, and is sent as CRLF (RFC 5321 §2.3.8); a lost one is added."""
        for text in (b"a\nb\n", b"a\r\nb\r\n", b"a\rb\r", b"a\r\nb\n", b"a\nb"):
            for content in (text, bytearray(text), io.BytesIO(text), Pipe(text)):
                self.assertEqual(self.send(content)[0].code, 250)
                self.assertEqual(self.server.messages[-1], b"a\r\nb\r\n")
        self.send(b"\r\r\n\n")
        self.assertEqual(self.server.messages[-1], b"\r\n\r\n\r\n")

    def test_file(self) -> None:
        """A file is read from where it stands, in pieces; it stays open, and as it is."""
        for text in (TEXT, b"x" * 77 + b"\r\n", b""):
            with tempfile.TemporaryFile() as file:
                file.write(b"not this" + text * 10_000)
                file.seek(8)
                self.assertEqual(self.send(file)[0].code, 250)
                self.assertEqual(self.server.messages[-1], text * 10_000)
                file.seek(0)
                self.assertEqual(file.read(), b"not this" + text * 10_000)

    def test_largeFile(self) -> None:
        """One whose lines have to be changed is copied, to a file if it is large."""
        made: list[Any] = []

        def make(**options: Any) -> Any:
            made.append(tempfile.SpooledTemporaryFile(**options))
            return made[-1]

        self.patch(clientModule, "SpooledTemporaryFile", make)
        self.patch(clientModule, "IN_MEMORY", 2000)
        self.patch(clientModule, "WINDOW", 100)
        for line in (b"x" * 99 + b"\r\n", b"\r" * 3 + b"\n" * 3, b"x\n"):
            text = line * (3000 // len(line)) + b"\n"
            for content in (io.BytesIO(text), Pipe(text)):
                self.send(content)
                expected = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
                self.assertEqual(self.server.messages[-1], expected.replace(b"\n", b"\r\n"))
                self.assertTrue(made[-1].closed)
                self.assertTrue(made[-1]._rolled)

    def test_stored(self) -> None:
        """A stored message is sent as it is."""
        self.assertEqual(self.send(BytesContent(TEXT))[0].code, 250)
        self.assertEqual(self.server.messages, [TEXT])

    def test_noContent(self) -> None:
        """Text isn't octets: which ones nobody could say."""
        client = self.connected()
        for content in ("text", None, io.StringIO("text"), 5):
            self.failureResultOf(self.start(client.send(ME, [YOU], content)), TypeError)
        self.assertTrue(client.usable)
        self.assertEqual(self.result(client.send(ME, [YOU], TEXT))[0].code, 250)
        self.end(client)

    def test_binary(self) -> None:
        """Of BINARYMIME no line end is changed (RFC 3030 §3)."""
        self.server.offered = ("CHUNKING", "BINARYMIME")
        for content in (b"a\nb\rc", io.BytesIO(b"a\nb\rc"), Pipe(b"a\nb\rc")):
            self.assertEqual(self.send(content, {"BODY": "BINARYMIME"})[0].code, 250)
        self.assertEqual(self.server.messages, [b"a\nb\rc"] * 3)

    def test_failingFile(self) -> None:
        """A file that can't be read any more: nothing is sent as if it were whole."""

        class Broken(io.BytesIO):
            """Fails after it was read so often."""

            count = 0
            good = 0

            def read(self, size: int | None = -1) -> bytes:
                """See IO."""
                self.count += 1
                if self.count > self.good:
                    raise OSError(5, "disk")
                return super().read(size)

        # Twice it is read to see whether its lines are.
        usable = []
        for Broken.good in range(2, 20):
            client = self.connected()
            [result] = self.result(client.send(ME, [YOU], Broken(TEXT)))
            usable.append(client.usable)
            self.end(client)
            if result.delivered:
                break
            self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
            self.assertEqual((result.code, result.enhancedStatus), (451, "4.3.0"))
            self.assertEqual(self.server.messages, [])
        # When the server's needs are looked at the connection stays as good as it is; in the midst
        # of the text it doesn't.
        self.assertEqual(usable[0], True)
        self.assertEqual(usable[-2:], [False, True])

    def test_atTheSameTime(self) -> None:
        """Messages that are sent at the same time don't get mixed up, and QUIT waits for them."""
        client = self.connected()
        work = [
            Deferred.fromCoroutine(client.send(ME, [YOU], b"%d\r\n" % number))
            for number in range(5)
        ]
        work += [Deferred.fromCoroutine(client.noop()), Deferred.fromCoroutine(client.quit())]
        self.internet.pump()
        for each in work:
            self.successResultOf(each)
        self.assertEqual(self.server.messages, [b"%d\r\n" % number for number in range(5)])
        self.assertEqual(self.server.sessions[0].verbs[-2:], ["NOOP", "QUIT"])
        self.internet.wait(20)
        self.assertIdle()

    def test_cancelled(self) -> None:
        """A message that is given up cuts the connection; the next has its result at once."""
        self.server.replies["message"] = HANG
        client = self.connected()
        first = self.start(client.send(ME, [YOU], TEXT))
        second = self.start(client.send(ME, [YOU], TEXT))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.internet.pump()
        self.assertEqual(self.successResultOf(second)[0].code, 451)
        self.end(client)

    def test_timeouts(self) -> None:
        """Its timeouts are those that it was given."""
        self.server.replies["message"] = HANG
        client = self.connected(timeouts=ClientTimeouts(dataTermination=7))
        sending = self.start(client.send(ME, [YOU], TEXT))
        self.internet.wait(6)
        self.assertNoResult(sending)
        self.internet.wait(1)
        self.assertEqual(self.successResultOf(sending)[0].enhancedStatus, "4.4.2")
        self.end(client)

    def test_notConnected(self) -> None:
        """Without a connection the message waits for another attempt."""
        client = self.client()
        [result] = self.result(client.send(ME, [YOU], TEXT))
        self.assertTrue(result.temporary)
        self.failureResultOf(self.start(client.noop()), DestinationUnavailable)
        self.result(client.quit())


class OurServerTests(ClientTestCase):
    """
    Our client and our server.
    """

    alice, bob = "alice@example.test", "bob@example.test"
    user = {"username": alice, "password": "secret"}

    def ours(self, where: Any = (ADDRESS, 587), **settings: Any) -> OurServer:
        """
        @return: a server of ours there, with a certificate.
        """
        server = OurServer(queue=True, **settings)
        server.factory.tls = self.issued.server
        self.internet.servers[where] = server.factory
        return server

    def text(self, stored: bytes) -> bytes:
        """
        @return: a message without what the server put in front.
        """
        return stored[stored.index(b"Subject:") :]

    def test_submission(self) -> None:
        """
        Several messages over one connection, for several recipients, each with its result; what is
        stored is what was sent, octet for octet, in whatever way it went (RFC 5321 §3.3).
        """
        texts = [
            b"Subject: 1\r\n\r\n.\r\n..\r\n\r\n.x",
            "Subject: \u00fc\r\n\r\n\u00fc\r\n".encode(),
            b"Subject: 3\r\n\r\n" + b"x" * 70 + b"\r\n" * 700_000,
        ]
        fields = b"Message-ID: <a@b>\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
        texts = [text.replace(b"\r\n\r\n", b"\r\n" + fields + b"\r\n", 1) for text in texts]
        for without in (set(), {"CHUNKING", "BINARYMIME"}, {"PIPELINING"}):
            extensions = [each for each in EXTENSIONS if each.keyword not in without]
            server = self.ours(submission=True, extensions=extensions)
            client = self.connected(**self.user)
            self.assertEqual("CHUNKING" in client.offered, not without & {"CHUNKING"})
            for text in texts:
                results = self.result(
                    client.send(self.alice, [self.bob, "no@example.test", self.alice], text)
                )
                self.assertEqual([each.code for each in results], [250, 550, 250])
                self.assertEqual(results[1].enhancedStatus, "5.1.1")
            self.end(client)
            for name in ("alice", "bob"):
                stored = [self.text(each) for each in server.inbox(name)]
                # The last line of DATA ends, too.
                end = b"\r\n" if "CHUNKING" in without else b""
                self.assertEqual(stored, [texts[0] + end, *texts[1:]])

    def test_mechanisms(self) -> None:
        """Every mechanism of the client; a wrong password is told as such."""
        server = self.ours(submission=True)
        for mechanism in (PlainClient(), LoginClient()):
            options = {**self.user, "mechanisms": [mechanism]}
            client = self.connected(**options)
            self.assertTrue(client.session and client.session.authenticated)
            self.end(client)
            attempt = self.start(self.client(**{**options, "password": "wrong"}).connect())
            server.clock.advance(10)
            self.internet.pump()
            self.failureResultOf(attempt, AuthenticationFailed)
            self.internet.wait(20)

    def test_downgrade(self) -> None:
        """
        What the server doesn't offer the message goes without (RFC 6152 §3, RFC 6531 §3.2): its
        text is encoded, and reads the same; a header in UTF-8 can't go, nor such an address.
        """
        lacking = ("8BITMIME", "BINARYMIME", "SMTPUTF8")
        extensions = [each for each in EXTENSIONS if each.keyword not in lacking]
        server = self.ours(submission=True, extensions=extensions)
        client = self.connected(**self.user)
        text = "Subject: x\r\n\r\n\u00fc\r\n".encode()
        [result, other] = self.result(client.send(self.alice, [self.bob, "\u00fc@far.test"], text))
        self.assertEqual((result.code, other.code), (250, 553))
        [stored] = server.inbox("bob")
        self.assertTrue(stored.isascii())
        payload = email.message_from_bytes(stored).get_payload(decode=True)
        self.assertEqual(payload, "\u00fc\r\n".encode())
        [result] = self.result(client.send(self.alice, [self.bob], b"Subject: \xc3\xbc\r\n\r\n"))
        self.assertEqual((result.code, result.enhancedStatus), (554, "5.6.9"))
        self.assertEqual(len(server.inbox("bob")), 1)
        self.end(client)

    def test_size(self) -> None:
        """What is larger than the server takes isn't sent (RFC 1870 §5), and the next one is."""
        server = self.ours(submission=True, maxMessageOctets=65536)
        client = self.connected(**self.user)
        text = b"Subject: x\r\n\r\n" + b"x\r\n" * 30_000
        [result] = self.result(client.send(self.alice, [self.bob], text))
        self.assertEqual((result.code, result.enhancedStatus), (552, "5.3.4"))
        self.assertTrue(self.result(client.send(self.alice, [self.bob], text[:999]))[0].delivered)
        self.assertEqual(len(server.inbox("bob")), 1)
        self.end(client)

    def test_LMTP(self) -> None:
        """
        LMTP over TCP and over a Unix socket: each recipient has the result of its own delivery
        (RFC 2033 §4.2).
        """
        for where, given in (
            ((ADDRESS, 24), {"host": HOST, "tls": "verified"}),
            ("/run/lmtp", {"host": "", "path": "/run/lmtp"}),
        ):
            server = self.ours(where, lmtp=True, commands=LMTP_COMMANDS)
            client = self.connected(lmtp=True, **given)
            for chunked in (True, False):
                session = client.session
                assert session is not None
                if not chunked:
                    del session.offered["CHUNKING"]
                filled = self.fill(server, session)
                names = [self.alice, "no@example.test", self.bob]
                results = self.result(client.send("x@far.test", names, filled))
                self.assertEqual([each.code for each in results], [250, 550, 452])
                now(server.directory.setQuota(Address.parse(self.bob), None, None))
            self.assertEqual(len(server.inbox("alice")), 2)
            self.assertEqual(server.inbox("bob"), [])
            self.end(client)

    def fill(self, server: OurServer, session: SMTPClientSession) -> Any:
        """
        @return: a message, while whose octets are sent bob's account becomes full.
        """
        before = session.transactions

        class Filling(BytesContent):
            async def read(self, offset: int, length: int) -> bytes:
                if session.transactions > before:
                    await server.directory.setQuota(Address.parse("bob@example.test"), 10, None)
                return await super().read(offset, length)

        return Filling(TEXT)


class CommandTests(ClientTestCase):
    """
    Other commands.
    """

    def test_commands(self) -> None:
        """NOOP, RSET, VRFY and others, and their replies."""
        server = self.serve(replies={"VRFY": "252 2.1.5 Maybe", "HELP": "214-a\r\n214 b"})
        client = self.connected()
        self.assertTrue(self.result(client.noop()).positive)
        self.assertTrue(self.result(client.reset()).positive)
        self.assertEqual(self.result(client.verify(YOU)).code, 252)
        self.assertEqual(self.result(client.command(b"HELP")).lines, ("a", "b"))
        self.failureResultOf(self.start(client.verify("x\r\nDATA")), ValueError)
        self.assertEqual(server.sessions[0].lines[1:], ["NOOP", "RSET", f"VRFY {YOU}", "HELP"])
        self.assertTrue(client.usable)
        self.end(client)

    def test_broken(self) -> None:
        """A server that goes meanwhile."""
        for fault in (CLOSE, HANG, "nonsense"):
            self.serve(replies={"NOOP": fault})
            client = self.connected()
            work = self.start(client.noop())
            self.internet.wait(300)
            self.failureResultOf(work, DestinationUnavailable)
            self.assertFalse(client.usable)
            self.end(client)

    def test_UTF8(self) -> None:
        """An address in UTF-8 to a server with SMTPUTF8 (RFC 6531 §3.7.4.2)."""
        server = self.serve(offered=("SMTPUTF8",))
        client = self.connected()
        self.result(client.verify("\u00fc@example.org"))
        self.assertEqual(
            server.sessions[0].lines[-1].encode("latin-1").decode(),
            "VRFY \u00fc@example.org SMTPUTF8",
        )
        self.end(client)


class ContextTests(ClientTestCase):
    """
    C{async with}, and L{sendMail}.
    """

    def test_context(self) -> None:
        """It is connected inside, and says goodbye behind."""
        server = self.serve()

        async def work() -> bool:
            async with self.client() as client:
                await client.send(ME, [YOU], TEXT)
                return client.usable

        self.assertTrue(self.result(work()))
        self.assertEqual(server.messages, [TEXT])
        self.assertEqual(server.sessions[0].verbs[-1], "QUIT")
        self.internet.wait(20)
        self.assertIdle()

    def test_error(self) -> None:
        """After an error inside nothing is waited for."""
        server = self.serve(replies={"QUIT": HANG})

        async def work() -> None:
            async with self.client():
                raise KeyError("mine")

        self.failureResultOf(self.start(work()), KeyError)
        self.assertIdle()
        self.assertNotIn("QUIT", server.sessions[0].verbs)

    def test_sendMail(self) -> None:
        """All in one."""
        server = self.serve(
            587,
            certificate=self.issued.server,
            offeredTLS=("AUTH PLAIN", "DSN"),
            replies={"tls AUTH": "235 Hello"},
        )
        options = {"trustRoot": self.authority.trustRoot, **LOGIN}
        [result] = self.result(
            sendMail(self.internet, HOST, ME, [YOU], b"x\n", parameters={"RET": "FULL"}, **options)
        )
        self.assertTrue(result.delivered)
        self.assertEqual(server.messages, [b"x\r\n"])
        self.assertIn(f"MAIL FROM:<{ME}> AUTH=<> RET=FULL", server.sessions[0].lines)
        self.internet.wait(20)
        self.assertIdle()
        self.internet.servers.clear()
        sending = self.start(sendMail(self.internet, HOST, ME, [YOU], b"x\n", **options))
        self.internet.wait(1)
        self.failureResultOf(sending, DestinationUnavailable)


class Pipe(io.RawIOBase):
    """
    A file in which nobody can go back.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        """See IO."""
        return self._data.read(size if size < 0 else min(size, 79))

    def tell(self) -> int:
        """See IO."""
        raise io.UnsupportedOperation("tell")
