"""
The client's side of a session, against a server that says what it likes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.fakeserver import DROP, OK, SILENCE, TEXT, Dialogue, singly, whole
from twisted_mailstack.errors import (
    ConnectionClosed,
    MailError,
    MessageExpunged,
    PlaintextInjected,
    SessionEnded,
    StoreDamaged,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import AttemptResult
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.smtp.clientsession import (
    AHEAD,
    CHUNK,
    MAX_TEXT,
    WINDOW,
    BytesContent,
    ClientTimeouts,
    OutgoingMessage,
    SMTPClientSession,
)
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.framing import MalformedReply
from twisted_mailstack.testing.conversation import FakeWire
from twisted_mailstack.wire.stream import Stream

#: The ways a message can go.
WAYS: tuple[tuple[str, ...], ...] = (
    (),
    ("PIPELINING",),
    ("CHUNKING",),
    ("PIPELINING", "CHUNKING"),
)
NAMES = ("a@far.test", "b@far.test", "c@far.test")


def codes(results: Sequence[AttemptResult]) -> list[int]:
    """
    @return: the reply codes.
    """
    return [result.code for result in results]


def shown(result: AttemptResult) -> str:
    """
    @return: a result without the host that said it.
    """
    return result._replace(remote="").line


class Beginning:
    """
    A client whose server a test speaks for.

    @ivar wire: what it sends.
    """

    def __init__(self, lmtp: bool = False) -> None:
        self.clock = Clock()
        self.wire = FakeWire("relay")
        self.stream = Stream(self.wire, self.clock)
        self.session = SMTPClientSession(self.stream, "client.test", remote="far", lmtp=lmtp)

    def hear(self, *lines: bytes) -> bytes:
        """
        @return: what the client sends when it hears these lines.
        """
        for line in lines:
            self.stream.received(line + b"\r\n")
        return self.wire.take()


class BeginningTests(SynchronousTestCase):
    """
    The greeting, EHLO, STARTTLS, QUIT.
    """

    def begin(self, lmtp: bool = False) -> tuple[Beginning, Deferred[Any]]:
        """
        @return: a client that waits for the greeting.
        """
        beginning = Beginning(lmtp)
        return beginning, Deferred.fromCoroutine(beginning.session.greet())

    def test_greeting(self) -> None:
        """EHLO comes behind the greeting (RFC 5321 §3.1, §3.2), never before it."""
        client, greeted = self.begin()
        self.assertEqual(client.hear(b"220-far.test"), b"")
        self.assertEqual(client.hear(b"220 ESMTP"), b"EHLO client.test\r\n")
        self.assertFalse(client.session.usable)
        client.hear(b"250-far.test hello", b"250-SIZE 1000", b"250-auth plain LOGIN", b"250 X-Y")
        self.assertEqual(self.successResultOf(greeted).text.partition(" ")[0], "far.test")
        self.assertEqual(client.session.offered, {"SIZE": "1000", "AUTH": "plain LOGIN", "X-Y": ""})
        greeting = client.session.greeting
        assert greeting is not None
        self.assertEqual(greeting.text, "far.test ESMTP")
        self.assertTrue(client.session.usable)

    def test_refusedGreeting(self) -> None:
        """A server that doesn't serve is told QUIT (RFC 5321 §3.1), unless it goes (§3.8)."""
        for line, code, quits in (
            (b"554 5.7.1 No", 554, b"QUIT\r\n"),
            (b"450 Later", 450, b"QUIT\r\n"),
            (b"421 4.3.2 Down", 421, b""),
            # What that means nobody knows; it is no permanent failure.
            (b"354 What?", 451, b"QUIT\r\n"),
        ):
            client, greeted = self.begin()
            self.assertEqual(client.hear(line), b"")
            error = self.failureResultOf(greeted, MailError).value
            self.assertEqual(error.smtpCode, code)
            self.assertFalse(client.session.usable)
            quitting = Deferred.fromCoroutine(client.session.quit())
            client.stream.flush()
            self.assertEqual(client.wire.take(), quits)
            client.hear(b"221 Bye")
            self.successResultOf(quitting)
            self.assertTrue(client.wire.lost)

    def test_noGreeting(self) -> None:
        """Silence, something else than SMTP, or nobody there any more."""
        client, greeted = self.begin()
        client.clock.advance(ClientTimeouts().greeting - 1)
        self.assertNoResult(greeted)
        client.clock.advance(1)
        self.failureResultOf(greeted, SessionEnded)
        self.assertTrue(client.wire.lost)
        client, greeted = self.begin()
        client.hear(b"SSH-2.0-OpenSSH")
        self.failureResultOf(greeted, MalformedReply)
        self.assertTrue(client.wire.lost)
        self.successResultOf(Deferred.fromCoroutine(client.session.quit()))
        client.stream.flush()
        self.assertEqual(client.wire.take(), b"")
        client, greeted = self.begin()
        client.stream.received(b"220 far.te")
        client.stream.lost()
        self.failureResultOf(greeted, ConnectionClosed)

    def test_oldServer(self) -> None:
        """One that doesn't know EHLO is told HELO (RFC 5321 §3.2), and has no extensions."""
        client, greeted = self.begin()
        client.hear(b"220 far.test")
        self.assertEqual(client.hear(b"502 What?"), b"HELO client.test\r\n")
        client.hear(b"250-far.test", b"250 SIZE")
        self.successResultOf(greeted)
        self.assertEqual(client.session.offered, {})
        self.assertTrue(client.session.usable)

    def test_refusedHello(self) -> None:
        """Both refused, EHLO refused for now, or LHLO refused (RFC 2033 §4.1: no HELO)."""
        client, greeted = self.begin()
        client.hear(b"220 far.test", b"502 What?", b"550 5.7.1 Not you")
        self.assertEqual(self.failureResultOf(greeted, MailError).value.enhancedStatus, "5.7.1")
        client, greeted = self.begin()
        self.assertEqual(client.hear(b"220 far.test", b"451 Later")[-5:], b"est\r\n")
        self.failureResultOf(greeted, MailError)
        client, greeted = self.begin(lmtp=True)
        self.assertEqual(client.hear(b"220 far.test"), b"LHLO client.test\r\n")
        self.assertEqual(client.hear(b"502 What?"), b"")
        self.failureResultOf(greeted, MailError)
        self.assertFalse(client.session.usable)

    def test_spokenBefore(self) -> None:
        """
        A server that says more than it was asked can't be understood: its replies would be taken
        for those to other commands. Its last word isn't of that kind (RFC 5321 §3.8).
        """
        client, greeted = self.begin()
        client.stream.received(b"220 far.test\r\n250 far.test\r\n")
        self.failureResultOf(greeted, MalformedReply)
        self.assertTrue(client.wire.lost)
        client, greeted = self.begin()
        client.stream.received(b"220 far.test\r\n421 4.3.2 Down\r\n")
        self.assertEqual(self.failureResultOf(greeted, MailError).value.smtpCode, 421)
        self.assertFalse(client.session.usable)

    def test_TLS(self) -> None:
        """Behind STARTTLS all is said again, and what was known is forgotten (RFC 3207 §4.2)."""
        client, greeted = self.begin()
        client.hear(b"220 far.test", b"250-far.test", b"250-STARTTLS", b"250 AUTH PLAIN")
        self.successResultOf(greeted)
        client.session.authenticated = True
        starting = Deferred.fromCoroutine(client.session.startTLS())
        client.stream.flush()
        self.assertEqual(client.wire.take(), b"STARTTLS\r\n")
        self.assertEqual(client.hear(b"220 Go"), b"EHLO client.test\r\n")
        self.assertTrue(client.wire.secure)
        client.hear(b"250-far.test", b"250 SIZE")
        self.successResultOf(starting)
        self.assertEqual(client.session.offered, {"SIZE": ""})
        self.assertFalse(client.session.authenticated)

    def test_noTLS(self) -> None:
        """Where it is refused the session goes on as it was (RFC 3207 §4)."""
        client, _ = self.begin()
        client.hear(b"220 far.test", b"250-far.test", b"250 STARTTLS")
        starting = Deferred.fromCoroutine(client.session.startTLS())
        client.hear(b"454 4.7.0 Not now")
        self.assertEqual(self.failureResultOf(starting, MailError).value.smtpCode, 454)
        self.assertTrue(client.session.usable)
        self.assertFalse(client.wire.secure)
        self.assertEqual(client.session.offered, {"STARTTLS": ""})

    def test_injected(self) -> None:
        """What comes behind the reply to STARTTLS in the clear isn't taken for the server's."""
        client, _ = self.begin()
        client.hear(b"220 far.test", b"250-far.test", b"250 STARTTLS")
        starting = Deferred.fromCoroutine(client.session.startTLS())
        client.stream.received(b"220 Go\r\n250-far.test\r\n250 AUTH PLAIN\r\n")
        self.failureResultOf(starting, PlaintextInjected)
        self.assertFalse(client.wire.secure)

    def test_helloAgain(self) -> None:
        """Until the reply to EHLO is there nothing can be sent."""
        client, _ = self.begin()
        client.hear(b"220 far.test", b"250-far.test", b"250 PIPELINING")
        again = Deferred.fromCoroutine(client.session.hello())
        self.assertFalse(client.session.usable)
        client.hear(b"550 No", b"550 No")
        self.failureResultOf(again, MailError)
        self.assertFalse(client.session.usable)

    def test_command(self) -> None:
        """A command is one line, and its reply a value. An error breaks nothing."""
        dialogue = Dialogue({"VRFY": b"252 2.1.5 Maybe\r\n", "NOOP": b"500 What?\r\n"})
        reply = dialogue.run(dialogue.session.command(b"VRFY a"))
        self.assertEqual((reply.code, reply.enhancedStatus), (252, "2.1.5"))
        self.assertEqual(dialogue.run(dialogue.session.command(b"NOOP")).code, 500)
        for line in (b"NOOP\r\nRSET", b"NOOP\n", b"\rNOOP"):
            self.failureResultOf(Deferred.fromCoroutine(dialogue.session.command(line)), ValueError)
        self.assertEqual(dialogue.server.commands, ["VRFY a", "NOOP"])
        self.assertTrue(dialogue.session.usable)

    def test_brokenCommand(self) -> None:
        """A command without a reply closes the connection."""
        for reply, error in (
            (DROP, ConnectionClosed),
            (SILENCE, SessionEnded),
            (b"what?\r\n", MalformedReply),
        ):
            dialogue = Dialogue({"NOOP": reply})
            with self.assertRaises(error):
                dialogue.run(dialogue.session.command(b"NOOP"))
            self.assertFalse(dialogue.session.usable)
            self.assertTrue(dialogue.wire.lost)
            self.assertEqual(dialogue.send()[0].code, 451)
            dialogue.run(dialogue.session.quit())
            self.assertEqual(dialogue.server.commands, ["NOOP"])

    def test_reset(self) -> None:
        """RSET; one that is refused is an error."""
        dialogue = Dialogue()
        dialogue.run(dialogue.session.reset())
        self.assertEqual(dialogue.server.commands, ["RSET"])
        dialogue = Dialogue({"RSET": b"502 5.5.1 What?\r\n"})
        with self.assertRaises(MailError):
            dialogue.run(dialogue.session.reset())

    def test_quit(self) -> None:
        """QUIT waits for the reply (RFC 5321 §4.1.1.10), but not long, and then closes."""
        for reply in (OK["QUIT"], b"500 What?\r\n", b"nonsense\r\n", DROP):
            dialogue = Dialogue({"QUIT": reply})
            dialogue.run(dialogue.session.quit())
            self.assertEqual(dialogue.server.commands, ["QUIT"])
            self.assertTrue(dialogue.wire.lost)
            self.assertFalse(dialogue.session.usable)
        dialogue = Dialogue({"QUIT": SILENCE})
        quitting = Deferred.fromCoroutine(dialogue.session.quit(5))
        dialogue.pump()
        dialogue.clock.advance(4)
        self.assertNoResult(quitting)
        dialogue.clock.advance(1)
        self.successResultOf(quitting)
        self.assertTrue(dialogue.wire.lost)

    def test_quitTwice(self) -> None:
        """A second time nothing happens, nor when the server is gone."""
        dialogue = Dialogue()
        dialogue.run(dialogue.session.quit())
        dialogue.run(dialogue.session.quit())
        self.assertEqual(dialogue.server.commands, ["QUIT"])
        dialogue = Dialogue()
        dialogue.lose()
        dialogue.run(dialogue.session.quit())
        self.assertEqual(dialogue.server.commands, [])


class TransactionTests(SynchronousTestCase):
    """
    One message to a server that is sane.
    """

    def test_stepwise(self) -> None:
        """Without PIPELINING every command waits for the reply to the last (RFC 5321 §3.3)."""
        dialogue = Dialogue(offered=())
        sending = Deferred.fromCoroutine(
            dialogue.session.send(
                OutgoingMessage(
                    Address.parse("me@example.test"),
                    [Recipient(Address.parse(name), {}) for name in NAMES[:2]],
                    BytesContent(TEXT),
                    {},
                )
            )
        )
        for sent, reply in (
            (b"MAIL FROM:<me@example.test>\r\n", b"250 OK\r\n"),
            (b"RCPT TO:<a@far.test>\r\n", b"250 OK\r\n"),
            (b"RCPT TO:<b@far.test>\r\n", b"251 Will forward\r\n"),
            (b"DATA\r\n", b"354 Go\r\n"),
            (TEXT + b".\r\n", b"250 2.0.0 Taken\r\n"),
        ):
            self.assertNoResult(sending)
            dialogue.stream.flush()
            self.assertEqual(dialogue.wire.take(), sent)
            dialogue.stream.received(reply)
        self.assertEqual(
            self.successResultOf(sending), [AttemptResult(250, "2.0.0", "Taken", "far")] * 2
        )

    def test_pipelined(self) -> None:
        """With it the whole envelope and DATA go at once (RFC 2920 §3.1), the text not yet."""
        dialogue = Dialogue()
        sending = Deferred.fromCoroutine(
            dialogue.session.send(
                OutgoingMessage(
                    None,
                    [Recipient(Address.parse(name), {}) for name in NAMES[:2]],
                    BytesContent(TEXT),
                    {},
                )
            )
        )
        dialogue.stream.flush()
        self.assertEqual(
            dialogue.wire.take(),
            b"MAIL FROM:<>\r\nRCPT TO:<a@far.test>\r\nRCPT TO:<b@far.test>\r\nDATA\r\n",
        )
        dialogue.stream.received(b"250 OK\r\n250 OK\r\n250 OK\r\n")
        dialogue.stream.flush()
        self.assertEqual(dialogue.wire.take(), b"")
        dialogue.stream.received(b"354 Go\r\n")
        self.assertEqual(dialogue.wire.take(), TEXT + b".\r\n")
        dialogue.stream.received(b"250 Taken\r\n")
        self.assertEqual(codes(self.successResultOf(sending)), [250, 250])

    def test_chunked(self) -> None:
        """With CHUNKING the text goes as it is, in one chunk if it is small (RFC 3030 §2)."""
        text = b".\r\n..\r\n.x"
        for offered in (("CHUNKING",), ("PIPELINING", "CHUNKING")):
            dialogue = Dialogue(offered=offered)
            self.assertEqual(codes(dialogue.send(content=text)), [250])
            self.assertTrue(dialogue.sent.endswith(b"BDAT 9 LAST\r\n" + text))
            self.assertEqual(dialogue.server.delivered, [("a@far.test", text)])

    def test_empty(self) -> None:
        """A message without an octet is sent like any other."""
        for offered in WAYS:
            dialogue = Dialogue(offered=offered)
            self.assertEqual(codes(dialogue.send(content=b"")), [250])
            self.assertEqual(dialogue.server.delivered, [("a@far.test", b"")])

    def test_noRecipients(self) -> None:
        """Without recipients nothing is said."""
        dialogue = Dialogue()
        message = OutgoingMessage(None, [], BytesContent(TEXT), {})
        self.assertEqual(dialogue.run(dialogue.session.send(message)), [])
        self.assertEqual(dialogue.sent, b"")
        self.assertTrue(dialogue.session.usable)

    def test_dots(self) -> None:
        """
        Dots at the beginning of lines are doubled wherever the text is cut (RFC 5321 §4.5.2), and
        a last line without its end gets one.
        """
        for head in (b"", b"x", b"x\r\n", b"\r\n", b"."):
            for tail in (b".", b"..", b".\r\n", b"\r\n.", b"\r\n.\r\n", b".x\r\n.\r\n..\r\n"):
                for size in (0, WINDOW - 1, WINDOW, 2 * WINDOW):
                    filler = (b"y" * 78 + b"\r\n") * (size // 80 + 1)
                    filler = filler[len(filler) - size :]
                    text = head + filler.replace(b"\r\n", b"zz") + tail
                    dialogue = Dialogue()
                    self.assertEqual(codes(dialogue.send(content=text)), [250])
                    expected = text if text.endswith(b"\r\n") else text + b"\r\n"
                    self.assertEqual(dialogue.server.delivered, [("a@far.test", expected)])

    def test_dotsEverywhere(self) -> None:
        """Whatever the edge of what is read at once falls on."""
        pattern = b"\r\n.\r\n..\r\n.a\r\n\r\n.."
        for shift in range(len(pattern) + 1):
            text = b"x" * (WINDOW - shift) + pattern
            dialogue = Dialogue()
            dialogue.send(content=text)
            self.assertEqual(dialogue.server.delivered, [("a@far.test", text + b"\r\n")])

    def test_large(self) -> None:
        """
        A large message goes in pieces, at the server's pace, however it goes: it isn't read before
        there is room.
        """

        class Content(BytesContent):
            """Notes how far reading is ahead of sending."""

            ahead = 0

            async def read(self, offset: int, length: int) -> bytes:
                """See L{Readable}."""
                self.ahead = max(self.ahead, offset + length - len(dialogue.sent))
                return await super().read(offset, length)

        text = b"".join(b"%078d\r\n" % number for number in range(3 * CHUNK // 80))
        for offered in WAYS:
            dialogue = Dialogue(offered=offered)
            content = Content(text)
            self.assertEqual(codes(dialogue.send(content=content)), [250])
            self.assertEqual(dialogue.server.delivered, [("a@far.test", text)])
            self.assertLess(content.ahead, 3 * WINDOW)

    def test_chunks(self) -> None:
        """
        A large message goes in several chunks; where the server pipelines one may be under way
        while the next is sent, and no more.
        """
        text = b"x" * (3 * CHUNK + 5)
        for offered, before in ((("CHUNKING",), 1), (("PIPELINING", "CHUNKING"), 2)):
            dialogue = Dialogue({"BDAT": SILENCE}, offered=offered)
            sending = Deferred.fromCoroutine(
                dialogue.session.send(
                    OutgoingMessage(
                        None, [Recipient(Address.parse(NAMES[0]), {})], BytesContent(text), {}
                    )
                )
            )
            for number in range(1, 4):
                dialogue.pump()
                begun = [line for line in dialogue.server.commands if line.startswith("BDAT")]
                self.assertEqual(len(begun), min(number + before - 1, 4))
                dialogue.stream.received(b"250 Go on\r\n")
            dialogue.pump()
            self.assertNoResult(sending)
            dialogue.stream.received(b"250 Taken\r\n")
            self.assertEqual(codes(self.successResultOf(sending)), [250])
            self.assertEqual(begun[:3] + dialogue.server.commands[-1:], [
                *[f"BDAT {CHUNK}"] * 3, "BDAT 5 LAST"
            ])  # fmt: skip
            self.assertTrue(dialogue.sent.endswith(b"BDAT 5 LAST\r\nxxxxx"))

    def test_several(self) -> None:
        """Several messages go over one connection, without RSET between them."""
        for offered in WAYS:
            dialogue = Dialogue(offered=offered)
            for number in range(3):
                self.assertEqual(codes(dialogue.send(content=b"%d\r\n" % number)), [250])
                self.assertTrue(dialogue.session.usable)
            self.assertNotIn("RSET", dialogue.server.commands)
            self.assertEqual(
                dialogue.server.delivered, [("a@far.test", b"%d\r\n" % n) for n in range(3)]
            )

    def test_afterFailure(self) -> None:
        """
        After a transaction that came to nothing RSET goes in front of the next, in the same round
        trip where that can be.
        """
        for offered in WAYS:
            for script in (
                {"MAIL": [b"550 No\r\n", OK["MAIL"]]},
                {"RCPT": [b"550 No\r\n", OK["RCPT"]]},
                {"DATA": [b"451 No\r\n", OK["DATA"]]},
                {"BDAT": [b"451 No\r\n", OK["BDAT"]]},
            ):
                if ("DATA" if "CHUNKING" in offered else "BDAT") in script:
                    continue
                dialogue = Dialogue(script, offered=offered)
                text = b"x" * (CHUNK + 1)
                self.assertNotIn(250, codes(dialogue.send(content=text)))
                self.assertTrue(dialogue.session.usable)
                before = len(dialogue.server.commands)
                self.assertEqual(codes(dialogue.send()), [250])
                self.assertEqual(dialogue.server.commands[before], "RSET")
                self.assertEqual(dialogue.server.delivered, [("a@far.test", TEXT)])
                self.assertEqual(dialogue.server.odd, [])

    def test_afterRefusedText(self) -> None:
        """
        The end of the text ends the transaction whatever its reply (RFC 5321 §4.1.1.4); a last
        chunk that is refused needs RSET (RFC 3030 §2).
        """
        for offered in WAYS:
            dialogue = Dialogue({"END": [b"554 5.7.1 No\r\n", OK["END"]]}, offered=offered)
            self.assertEqual(codes(dialogue.send()), [554])
            self.assertEqual(codes(dialogue.send()), [250])
            self.assertEqual("RSET" in dialogue.server.commands, "CHUNKING" in offered)

    def test_resetRefused(self) -> None:
        """
        A server that refuses RSET (which RFC 5321 §4.1.1.5 doesn't allow) has said nothing of the
        message; nothing more can be said to it.
        """
        for offered in WAYS:
            dialogue = Dialogue(
                {"RSET": b"502 5.5.1 What?\r\n", "MAIL": [b"550 No\r\n", OK["MAIL"]]},
                offered=offered,
            )
            dialogue.send()
            [result] = dialogue.send()
            self.assertTrue(result.temporary)
            self.assertFalse(dialogue.session.usable)
            self.assertEqual(dialogue.server.delivered, [])

    def test_notifies(self) -> None:
        """A server with DSN takes over the notifications (RFC 3461 §5.2.1)."""
        self.assertTrue(Dialogue(offered=("DSN",)).send()[0].notifies)
        self.assertFalse(Dialogue(offered=()).send()[0].notifies)

    def test_injection(self) -> None:
        """An address or a parameter with a line's end is never said."""
        dialogue = Dialogue(
            extensions=[
                Extension("X", None, clientMail=lambda session, message, offered: {"X": "a\rb"})
            ]
        )
        with self.assertRaises(ValueError):
            dialogue.send()
        dialogue = Dialogue()
        address = Address("a>\r\nDATA\r\n", "far.test")
        message = OutgoingMessage(None, [Recipient(address, {})], BytesContent(TEXT), {})
        with self.assertRaises(ValueError):
            dialogue.run(dialogue.session.send(message))
        self.assertEqual(dialogue.server.commands, [])

    def test_utf8(self) -> None:
        """
        Without SMTPUTF8 no address is sent that isn't ASCII (RFC 6531 §3.1), and the others get the
        message.
        """
        dialogue = Dialogue()
        results = dialogue.send("gr\u00fc\u00dfe@far.test", "b@far.test")
        self.assertEqual([shown(each)[:9] for each in results], ["553 5.6.7", "250 2.0.0"])
        self.assertEqual(dialogue.server.commands[1:], ["RCPT TO:<b@far.test>", "DATA"])
        dialogue = Dialogue()
        results = dialogue.send(reversePath="gr\u00fc\u00dfe@example.test")
        self.assertEqual(shown(results[0])[:9], "553 5.6.7")
        self.assertEqual(dialogue.server.commands, [])
        self.assertTrue(dialogue.session.usable)
        utf8 = Extension("SMTPUTF8", 6531, clientMail=lambda *given: {"SMTPUTF8": None})
        dialogue = Dialogue(extensions=[utf8], offered=["SMTPUTF8"])
        self.assertEqual(codes(dialogue.send("gr\u00fc\u00dfe@far.test")), [250])
        self.assertIn("RCPT TO:<gr\u00fc\u00dfe@far.test>".encode(), dialogue.sent)

    def test_extensions(self) -> None:
        """
        The extensions' parameters, values of the server's EHLO reply, refusals and changes of the
        message: all take part, in order.
        """
        seen: list[Any] = []

        async def prepare(session: Any, message: OutgoingMessage, offered: str | None) -> Any:
            seen.append(offered)
            return replace(message, content=BytesContent(b"other\r\n"))

        def refuse(session: Any, message: Any, recipient: Recipient, offered: str | None) -> Any:
            if recipient.address.localPart == "b":
                raise MailError("Not there", smtpCode=550, enhancedStatus="5.7.30")
            return {"Y": offered}

        dialogue = Dialogue(
            offered=["X 1 2"],
            extensions=[
                Extension("X", None, clientPrepare=prepare, clientMail=lambda *given: {"X": None}),
                Extension("Y", None, clientRcpt=refuse),
            ],
        )
        results = dialogue.send(*NAMES[:2])
        self.assertEqual(seen, ["1 2"])
        self.assertEqual(
            dialogue.server.commands,
            ["MAIL FROM:<me@example.test> X", "RCPT TO:<a@far.test> Y", "DATA"],
        )
        self.assertEqual(dialogue.server.delivered, [("a@far.test", b"other\r\n")])
        self.assertEqual(results[1], AttemptResult(550, "5.7.30", "Not there"))

    def test_refusedByOurselves(self) -> None:
        """A message that can't go to this server at all is that for everybody; nothing is said."""

        def refuse(*given: Any) -> Any:
            raise MailError("Too large", smtpCode=552, enhancedStatus="5.3.4")

        dialogue = Dialogue(extensions=[Extension("X", None, clientMail=refuse)])
        self.assertEqual(dialogue.send(*NAMES), [AttemptResult(552, "5.3.4", "Too large")] * 3)
        self.assertEqual(dialogue.server.commands, [])
        self.assertTrue(dialogue.session.usable)

    def test_longText(self) -> None:
        """A long reply isn't kept whole for every recipient."""
        reply = b"".join(b"550-" + b"x" * 500 + b"\r\n" for _ in range(9)) + b"550 y\r\n"
        [result] = Dialogue({"RCPT": reply}).send()
        self.assertEqual((result.code, len(result.text)), (550, MAX_TEXT))


class LMTPTests(SynchronousTestCase):
    """
    RFC 2033: a reply for each recipient.
    """

    def test_results(self) -> None:
        """Each recipient that was accepted gets its own result (§4.2), in their order."""
        for offered in WAYS:
            dialogue = Dialogue(
                {
                    "RCPT": [OK["RCPT"], b"550 5.1.1 No\r\n", OK["RCPT"], OK["RCPT"]],
                    "END": [b"250 2.1.5 A\r\n", b"452 4.2.2 Full\r\n", b"554 5.6.0 No\r\n"],
                },
                offered=offered,
                lmtp=True,
            )
            results = dialogue.send(*NAMES, "d@far.test")
            self.assertEqual(codes(results), [250, 550, 452, 554])
            self.assertEqual(results[0].text, "A")
            self.assertEqual(dialogue.server.delivered, [("a@far.test", TEXT)])
            self.assertTrue(dialogue.session.usable)
            self.assertEqual(codes(dialogue.send("e@far.test")), [554])

    def test_lost(self) -> None:
        """Where the connection is lost between the replies, those that came count."""
        for offered in WAYS:
            dialogue = Dialogue({"END": [OK["END"], DROP]}, offered=offered, lmtp=True)
            results = dialogue.send(*NAMES)
            self.assertEqual(codes(results), [250, 451, 451])
            self.assertFalse(dialogue.session.usable)

    def test_goodbye(self) -> None:
        """Behind a 421 other replies may come; who gets none has that."""
        dialogue = Dialogue(lmtp=True)
        sending = Deferred.fromCoroutine(
            dialogue.session.send(
                OutgoingMessage(
                    None,
                    [Recipient(Address.parse(name), {}) for name in NAMES],
                    BytesContent(TEXT),
                    {},
                )
            )
        )
        dialogue.stream.received(b"250 OK\r\n" * 4 + b"354 Go\r\n")
        dialogue.stream.received(b"421 4.3.2 Down\r\n250 OK\r\n")
        dialogue.lose()
        self.assertEqual(codes(self.successResultOf(sending)), [421, 250, 421])
        dialogue = Dialogue({"END": [OK["END"], b"421 4.3.2 Down\r\n"]}, lmtp=True)
        self.assertEqual(codes(dialogue.send(*NAMES[:2])), [250, 421])
        self.assertFalse(dialogue.session.usable)

    def test_nobody(self) -> None:
        """
        A server that wants a message for nobody (§4.2 forbids it) would give no reply to it: it is
        left.
        """
        dialogue = Dialogue({"RCPT": b"550 No\r\n"}, lmtp=True)
        self.assertEqual(codes(dialogue.send(*NAMES)), [550] * 3)
        self.assertTrue(dialogue.sent.endswith(b"\r\nDATA\r\n"))
        self.assertFalse(dialogue.session.usable)
        self.assertTrue(dialogue.wire.lost)

    def test_refusedChunk(self) -> None:
        """
        A chunk that is refused when the last is under way: how many replies follow is unclear, so
        the connection is left.
        """
        dialogue = Dialogue(
            {"BDAT": b"452 4.3.1 Full\r\n"}, offered=("CHUNKING", "PIPELINING"), lmtp=True
        )
        results = dialogue.send(*NAMES, content=b"x" * (CHUNK + 1))
        self.assertEqual(codes(results), [452] * 3)
        self.assertFalse(dialogue.session.usable)


class RefusalTests(SynchronousTestCase):
    """
    What the server refuses, step by step: exactly that is each recipient's result, and the
    connection goes on.
    """

    def refused(self, script: Mapping[str, Any], **given: Any) -> list[list[AttemptResult]]:
        """
        @return: the results for three recipients, each way that a message can go.
        """
        found = []
        for offered in WAYS:
            dialogue = Dialogue(script, offered=offered, **given)
            results = dialogue.send(*NAMES)
            self.assertEqual(len(results), 3)
            self.assertTrue(dialogue.session.usable, (offered, results))
            self.assertEqual(dialogue.server.odd, [])
            took = [address for address, _ in dialogue.server.delivered]
            self.assertEqual(
                took, [name for name, each in zip(NAMES, results, strict=True) if each.delivered]
            )
            found.append(results)
        return found

    def test_mail(self) -> None:
        """MAIL refused is refused for all."""
        for reply in ("550 5.7.1 Not you", "451 4.7.1 Later", "530 5.7.0 AUTH first"):
            script = {"MAIL": reply.encode() + b"\r\n", "RCPT": b"503 5.5.1 MAIL first\r\n"}
            for results in self.refused({**script, "DATA": b"503 5.5.1 RCPT first\r\n"}):
                self.assertEqual([shown(each) for each in results], [reply] * 3)

    def test_someRecipients(self) -> None:
        """Each recipient has what was said of it; those that were accepted get the message."""
        script = {"RCPT": [b"550 5.1.1 Unknown\r\n", OK["RCPT"], b"450 4.2.1 Busy\r\n"]}
        for results in self.refused(script):
            self.assertEqual(
                [shown(each) for each in results],
                ["550 5.1.1 Unknown", "250 2.0.0 Taken", "450 4.2.1 Busy"],
            )

    def test_noRecipients(self) -> None:
        """
        Where none is accepted no message is sent, whatever the server says to DATA: one that asks
        for it all the same is sent a dot (RFC 2920 §3.1).
        """
        for data in (b"554 5.5.1 No valid recipients\r\n", b"503 5.5.1 RCPT first\r\n", OK["DATA"]):
            script = {"RCPT": [b"550 5.1.1 A\r\n", b"450 4.2.1 B\r\n", b"551 C\r\n"], "DATA": data}
            for results in self.refused({**script, "END": b"554 5.5.1 No valid recipients\r\n"}):
                self.assertEqual(codes(results), [550, 450, 551])
        dialogue = Dialogue({"RCPT": b"550 No\r\n"})
        dialogue.send()
        self.assertTrue(dialogue.sent.endswith(b"DATA\r\n.\r\n"))
        self.assertEqual(dialogue.server.delivered, [])
        # Where DATA isn't sent before that is known, it isn't sent.
        dialogue = Dialogue({"RCPT": b"550 No\r\n"}, offered=())
        dialogue.send()
        self.assertEqual(dialogue.server.commands[-1], "RCPT TO:<a@far.test>")

    def test_data(self) -> None:
        """DATA refused is refused for those who were accepted."""
        script = {"RCPT": [OK["RCPT"], b"550 5.1.1 No\r\n", OK["RCPT"]]}
        for reply in (b"451 4.3.0 Later\r\n", b"554 5.7.1 Never\r\n"):
            for offered in WAYS[:2]:
                dialogue = Dialogue({**script, "DATA": reply}, offered=offered)
                code = int(reply[:3])
                self.assertEqual(codes(dialogue.send(*NAMES)), [code, 550, code])
                self.assertNotIn(TEXT, dialogue.sent)
                self.assertTrue(dialogue.session.usable)

    def test_text(self) -> None:
        """The reply to the whole text is that of all who were accepted."""
        script = {"RCPT": [OK["RCPT"], b"550 5.1.1 No\r\n", OK["RCPT"]]}
        for reply in (b"451 4.3.0 Later\r\n", b"554 5.6.0 Never\r\n"):
            for results in self.refused({**script, "END": reply}):
                self.assertEqual(codes(results), [int(reply[:3]), 550, int(reply[:3])])

    def test_chunk(self) -> None:
        """
        A chunk that is refused fails the transaction, and no other is begun (RFC 3030 §2); those
        that are under way are answered too.
        """
        for offered, ahead in ((("CHUNKING",), 1), (("CHUNKING", "PIPELINING"), 2)):
            for size in (CHUNK + 1, 2 * CHUNK + 1, 5 * CHUNK):
                for number in range(min(3, (size - 1) // CHUNK)):
                    replies = [OK["BDAT"]] * number + [b"452 4.3.1 Full\r\n"]
                    dialogue = Dialogue({"BDAT": replies}, offered=offered)
                    results = dialogue.send(*NAMES, content=b"x" * size)
                    self.assertEqual([shown(each) for each in results], ["452 4.3.1 Full"] * 3)
                    begun = [each for each in dialogue.server.commands if "BDAT" in each]
                    self.assertLessEqual(len(begun), number + ahead)
                    self.assertTrue(dialogue.session.usable)
                    self.assertEqual(codes(dialogue.send()), [250])
                    self.assertEqual(dialogue.server.delivered, [("a@far.test", TEXT)])


class OutOfStepTests(SynchronousTestCase):
    """
    A server that loses its way, or goes away. Nothing is raised, nothing is taken for delivered
    that isn't, nobody is refused for good who wasn't, and the connection isn't used any more.
    """

    def broken(
        self, script: Mapping[str, Any], content: bytes = TEXT, **given: Any
    ) -> list[tuple[Dialogue, list[AttemptResult]]]:
        """
        @return: what came of it each way that a message can go.
        """
        found = []
        for offered in WAYS:
            if ("DATA" if "CHUNKING" in offered else "BDAT") in script:
                continue
            dialogue = Dialogue(script, offered=offered, **given)
            results = dialogue.send(*NAMES, content=content)
            self.assertEqual(len(results), 3)
            self.assertFalse(dialogue.session.usable, (script, offered))
            # Whatever is sent now isn't.
            self.assertEqual(codes(dialogue.send()), [451])
            found.append((dialogue, results))
        return found

    def test_wrongClass(self) -> None:
        """
        A go-ahead where nothing is to come; success of DATA, which would have lost the message: the
        server waits for something else than the client thinks.
        """
        for script in (
            {"MAIL": b"354 Go\r\n"},
            {"RCPT": b"354 Go\r\n"},
            {"RCPT": [OK["RCPT"], b"334 \r\n", OK["RCPT"]]},
            {"DATA": b"250 OK\r\n"},
            {"DATA": b"221 Bye\r\n"},
            {"BDAT": b"354 Go\r\n"},
            {"END": b"354 Go\r\n"},
        ):
            for dialogue, results in self.broken(script, b"x" * (CHUNK + 9) + b"\r\n"):
                self.assertEqual(codes(results), [451] * 3)
                if "END" not in script:
                    self.assertFalse(dialogue.server.delivered)
                self.assertTrue(dialogue.wire.lost)

    def test_goAhead(self) -> None:
        """Another positive intermediate reply than 354 is one too (RFC 5321 §4.3.2)."""
        dialogue = Dialogue({"DATA": b"399 Go\r\n"})
        self.assertEqual(codes(dialogue.send()), [250])

    def test_malformed(self) -> None:
        """What is no reply."""
        for reply in (b"nonsense\r\n", b"250-x\r\n550 y\r\n", b"\r\n", b"250" * 2000 + b"\r\n"):
            for step in ("MAIL", "RCPT", "DATA", "BDAT", "END"):
                for _, results in self.broken({step: reply}, b"x" * (CHUNK + 9) + b"\r\n"):
                    self.assertEqual({(each.code, each.enhancedStatus) for each in results},
                                     {(451, "4.5.0")})  # fmt: skip

    def test_silent(self) -> None:
        """A server that falls silent has the time of RFC 5321 §4.5.3.2, and then is left."""
        timeouts = ClientTimeouts(command=3, dataInitiation=5, dataTermination=7)
        for offered in WAYS:
            for step, seconds in (("MAIL", 3), ("RCPT", 3), ("DATA", 5), ("BDAT", 7), ("END", 7)):
                if step == ("DATA" if "CHUNKING" in offered else "BDAT"):
                    continue
                steps = ("MAIL", "RCPT", "DATA", "BDAT", "END")
                silent = dict.fromkeys(steps[steps.index(step) :], SILENCE)
                dialogue = Dialogue(silent, offered=offered, careless=True, timeouts=timeouts)
                text = b"x" * (CHUNK + 9) + b"\r\n"
                sending = Deferred.fromCoroutine(
                    dialogue.session.send(
                        OutgoingMessage(
                            None, [Recipient(Address.parse("a@b"), {})], BytesContent(text), {}
                        )
                    )
                )
                dialogue.pump()
                dialogue.clock.advance(seconds - 1)
                self.assertNoResult(sending)
                dialogue.clock.advance(1)
                [result] = self.successResultOf(sending)
                self.assertEqual((result.code, result.enhancedStatus), (451, "4.4.2"))
                self.assertFalse(dialogue.session.usable)
                self.assertTrue(dialogue.wire.lost)

    def test_usualTimeouts(self) -> None:
        """Nobody who says nothing of it waits less than RFC 5321 §4.5.3.2 wants."""
        usual = ClientTimeouts()
        for seconds, least in (
            (usual.greeting, 300),
            (usual.command, 300),
            (usual.dataInitiation, 120),
            (usual.dataBlock, 180),
            (usual.dataTermination, 600),
        ):
            self.assertGreaterEqual(seconds, least)

    def test_notTaken(self) -> None:
        """A server that takes none of the text has its time for each part of it."""
        timeouts = ClientTimeouts(dataBlock=11)
        for offered in WAYS:
            dialogue = Dialogue(offered=offered, timeouts=timeouts)
            sending = Deferred.fromCoroutine(
                dialogue.session.send(
                    OutgoingMessage(
                        None,
                        [Recipient(Address.parse("a@b"), {})],
                        BytesContent(b"x\r\n" * 200_000),
                        {},
                    )
                )
            )
            for _ in range(3):
                dialogue.stream.flush()
                dialogue.server.received(dialogue.wire.take())
                dialogue.hear(dialogue.server.take())
            self.assertTrue(dialogue.wire.blocked)
            dialogue.clock.advance(10)
            dialogue.wire.take()
            dialogue.wire.unblock()
            dialogue.clock.advance(10)
            self.assertNoResult(sending)
            dialogue.clock.advance(1)
            self.assertEqual(codes(self.successResultOf(sending)), [451])

    def test_lost(self) -> None:
        """The connection is lost at each step."""
        for step in ("MAIL", "RCPT", "DATA", "BDAT", "END"):
            for _, results in self.broken({step: DROP}, b"x" * (CHUNK + 9) + b"\r\n"):
                self.assertEqual(
                    {(each.code, each.enhancedStatus) for each in results}, {(451, "4.4.2")}
                )

    def test_goodbye(self) -> None:
        """421 may be the reply to anything (RFC 5321 §3.8), and is the result of all who wait."""
        for step in ("MAIL", "RCPT", "DATA", "BDAT", "END"):
            script = {step: b"421 4.3.2 Down\r\n"}
            for dialogue, results in self.broken(script, b"x" * (CHUNK + 9) + b"\r\n"):
                self.assertEqual([shown(each) for each in results], ["421 4.3.2 Down"] * 3)
                self.assertNotIn("QUIT", dialogue.server.commands)

    def test_twoRepliesBefore(self) -> None:
        """Nor for that to the text, which was refused."""
        refused = b"550 5.7.1 No\r\n"
        for text in (TEXT, b""):
            script = {"DATA": OK["DATA"] + OK["END"], "END": refused}
            for _, results in self.broken(script, text):
                self.assertEqual(codes(results), [451] * 3)
        dialogue = Dialogue({"BDAT": OK["BDAT"] * 2, "END": refused}, offered=("CHUNKING",))
        self.assertEqual(codes(dialogue.send(content=b"x" * (CHUNK + 9))), [451])
        self.assertFalse(dialogue.session.usable)

    def test_whose(self) -> None:
        """
        A server that replied too often: whom it refused isn't certain, so nobody is for good.
        """
        for offered in WAYS:
            script = {"MAIL": OK["MAIL"] * 2, "RCPT": [b"550 5.1.1 No\r\n", OK["RCPT"]]}
            dialogue = Dialogue(script, offered=offered)
            self.assertEqual(codes(dialogue.send(*NAMES)), [451] * 3)
            self.assertEqual(dialogue.server.delivered, [])
            self.assertFalse(dialogue.session.usable)

    def test_goodbyeForSome(self) -> None:
        """What was said of others before is theirs."""
        script = {"RCPT": [b"550 5.1.1 No\r\n", b"421 4.7.0 Too many errors\r\n"]}
        for _, results in self.broken(script):
            self.assertEqual(codes(results), [550, 421, 421])

    def test_goodbyeMeanwhile(self) -> None:
        """A server that said goodbye between two messages is heard, and sent nothing."""
        for offered in WAYS:
            dialogue = Dialogue(offered=offered)
            dialogue.send()
            sent = dialogue.sent
            dialogue.stream.received(b"421 4.4.2 Idle\r\n")
            self.assertEqual(shown(dialogue.send()[0]), "421 4.4.2 Idle")
            self.assertEqual(dialogue.sent, sent)
            self.assertFalse(dialogue.session.usable)

    def test_twoReplies(self) -> None:
        """
        A server that replies twice must not have the second reply taken for that to another
        message.
        """
        for offered in WAYS:
            dialogue = Dialogue({"END": OK["END"] * 2}, offered=offered)
            self.assertEqual(codes(dialogue.send()), [250])
            self.assertEqual(codes(dialogue.send()), [451])
            self.assertEqual(len(dialogue.server.delivered), 1)
            self.assertFalse(dialogue.session.usable)

    def test_earlyRefusal(self) -> None:
        """
        A server that refuses the text while it is still being sent is heard; it gets no more of it,
        and no end.
        """
        for reply, code in ((b"552 5.3.4 Too big\r\n", 552), (b"451 4.3.0 Oops\r\n", 451)):
            for closes in (False, True):
                dialogue = Dialogue(room=1000)
                text = b"x" * 78 + b"\r\n"
                sending = Deferred.fromCoroutine(
                    dialogue.session.send(
                        OutgoingMessage(
                            None,
                            [Recipient(Address.parse(name), {}) for name in NAMES],
                            BytesContent(text * 10_000),
                            {},
                        )
                    )
                )
                dialogue.stream.flush()
                dialogue.wire.take()
                dialogue.stream.received(b"250 OK\r\n" * 4 + b"354 Go\r\n")
                self.assertTrue(dialogue.wire.blocked)
                dialogue.stream.received(reply)
                if closes:
                    dialogue.lose()
                else:
                    dialogue.wire.unblock()
                self.assertEqual(codes(self.successResultOf(sending)), [code] * 3)
                self.assertFalse(dialogue.session.usable)
                self.assertTrue(dialogue.wire.lost)
                self.assertNotIn(b"\r\n.\r\n", dialogue.wire.take())

    def test_earlySuccess(self) -> None:
        """One that takes a message that isn't whole has taken none."""
        dialogue = Dialogue(room=1000)
        sending = Deferred.fromCoroutine(
            dialogue.session.send(
                OutgoingMessage(
                    None,
                    [Recipient(Address.parse("a@b"), {})],
                    BytesContent(b"x\r\n" * 100_000),
                    {},
                )
            )
        )
        dialogue.stream.received(b"250 OK\r\n" * 2 + b"354 Go\r\n")
        self.assertTrue(dialogue.wire.blocked)
        dialogue.stream.received(b"250 OK\r\n")
        dialogue.wire.unblock()
        self.assertEqual(codes(self.successResultOf(sending)), [451])
        self.assertTrue(dialogue.wire.lost)

    def test_lastWordsOfChunks(self) -> None:
        """What was said of a chunk before the connection was lost in the midst of another."""
        dialogue = Dialogue(offered=("CHUNKING", "PIPELINING"), room=CHUNK + 10_000)
        sending = Deferred.fromCoroutine(
            dialogue.session.send(
                OutgoingMessage(
                    None,
                    [Recipient(Address.parse("a@b"), {})],
                    BytesContent(b"x" * 3 * CHUNK),
                    {},
                )
            )
        )
        dialogue.stream.received(b"250 OK\r\n" * 2)
        self.assertTrue(dialogue.wire.blocked)
        dialogue.stream.received(b"552 5.3.4 Too big\r\n")
        dialogue.lose()
        self.assertEqual(codes(self.successResultOf(sending)), [552])

    def test_nobodyAndMail(self) -> None:
        """
        A server that refuses MAIL, accepts recipients all the same and then wants a message: to
        whom it would go nobody knows, so it gets none, not even a dot.
        """
        dialogue = Dialogue({"MAIL": b"550 5.7.1 Not you\r\n"}, careless=True)
        self.assertEqual(codes(dialogue.send()), [550])
        self.assertTrue(dialogue.sent.endswith(b"DATA\r\n"))
        self.assertFalse(dialogue.session.usable)


class ContentTests(SynchronousTestCase):
    """
    A message that can't be read to its end, or isn't lines.
    """

    class Content(BytesContent):
        """
        One that fails at an offset.
        """

        def __init__(self, size: int, failsAt: int, error: Exception | None, extra: int) -> None:
            super().__init__(b"x\r\n" * (size // 3))
            self._failsAt = failsAt
            self._error = error
            self._extra = extra

        async def read(self, offset: int, length: int) -> bytes:
            """See L{Readable}."""
            if offset + length <= self._failsAt:
                return await super().read(offset, length)
            if self._error is not None:
                raise self._error
            data = await super().read(offset, length)
            return data + b"y" * self._extra if self._extra else b""

    def test_unreadable(self) -> None:
        """
        It is never ended as if it were whole: the connection is closed, and it may be tried again.
        """
        size = 3 * CHUNK
        for offered in WAYS:
            for failsAt in (0, 1, WINDOW, CHUNK, size - 1):
                for error, extra in (
                    (OSError(5, "disk"), 0),
                    (StoreDamaged(), 0),
                    (MessageExpunged(), 0),
                    (None, 0),
                    (None, 9),
                ):
                    dialogue = Dialogue(offered=offered)
                    content = self.Content(size, failsAt, error, extra)
                    [result] = dialogue.send(content=content)
                    self.assertEqual((result.code, result.enhancedStatus), (451, "4.3.0"))
                    self.assertEqual(result.remote, "")
                    self.assertEqual(dialogue.server.delivered, [])
                    self.assertFalse(dialogue.session.usable)
                    self.assertTrue(dialogue.wire.lost)
                    self.assertNotIn(b"\r\n.\r\n", dialogue.sent)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 5 * len(WAYS))

    def test_shortPieces(self) -> None:
        """What is read in smaller pieces than was asked for is whole all the same."""

        class Content(BytesContent):
            """Gives a few octets at a time."""

            async def read(self, offset: int, length: int) -> bytes:
                """See L{Readable}."""
                return await super().read(offset, min(length, 7))

        text = b".\r\n" * 100
        for offered in WAYS:
            dialogue = Dialogue(offered=offered)
            self.assertEqual(codes(dialogue.send(content=Content(text))), [250])
            self.assertEqual(dialogue.server.delivered, [("a@far.test", text)])

    def test_lineEnds(self) -> None:
        """
        A text with a bare CR or LF isn't sent (RFC 5321 §2.3.8): what one server takes for text may
        be the end of it for another.
        """
        fill = b"x" * WINDOW
        for text in (
            *(b"a\nb\r\n", b"a\rb\r\n", b"a\r\n.\n\r\n", b"a\n.\nMAIL FROM:<>\r\n", b"a\r"),
            *(b"\n", b"a\r\r\n", fill + b"\n", fill[1:] + b"\r" + b"a\r\n"),
        ):
            for offered in WAYS:
                dialogue = Dialogue(offered=offered)
                [result, other] = dialogue.send(*NAMES[:2], content=text)
                self.assertEqual((result.code, result.enhancedStatus), (554, "5.6.0"))
                self.assertEqual(other, result)
                self.assertEqual(dialogue.server.delivered, [])
                self.assertFalse(dialogue.session.usable)
        text = fill[1:] + b"\r\n" + fill + b"\r\n"
        for offered in WAYS:
            self.assertEqual(codes(Dialogue(offered=offered).send(content=text)), [250])

    def test_binary(self) -> None:
        """Of BINARYMIME any octets are sent as they are, in chunks (RFC 3030 §3)."""
        text = b"a\nb\rc\0\r\n.\r\n"
        dialogue = Dialogue(offered=("CHUNKING", "BINARYMIME"))
        results = dialogue.send(content=text, parameters={"BODY": "BINARYMIME"})
        self.assertEqual(codes(results), [250])
        self.assertEqual(dialogue.server.delivered, [("a@far.test", text)])

    def test_notPrepared(self) -> None:
        """
        A message that can't be read when the server's needs are looked at: nothing is said, and the
        connection can be used for another.
        """

        async def prepare(*given: Any) -> OutgoingMessage:
            raise OSError(5, "disk")

        dialogue = Dialogue(extensions=[Extension("X", None, clientPrepare=prepare)])
        results = dialogue.send(*NAMES)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual([shown(each)[:9] for each in results], ["451 4.3.0"] * 3)
        self.assertEqual(dialogue.sent, b"")
        self.assertTrue(dialogue.session.usable)


class TooManyTests(SynchronousTestCase):
    """
    More recipients than a server takes in one transaction (RFC 5321 §4.5.3.1.10).
    """

    FULL = b"452 4.5.3 Too many recipients\r\n"

    def limited(self, limit: int, reply: bytes = FULL, **given: Any) -> Any:
        """
        @return: replies of a server that accepts so many at once.
        """
        named: list[int] = []

        def answer(step: str, number: int) -> bytes:
            if step in ("MAIL", "RSET"):
                named.clear()
            if step == "RCPT":
                if len(named) >= limit:
                    return reply
                named.append(number)
            found: bytes = given.get(step, OK.get(step, b"250 OK\r\n"))
            return found

        return answer

    def names(self, count: int) -> list[str]:
        """
        @return: addresses.
        """
        return [f"r{number}@far.test" for number in range(count)]

    def test_again(self) -> None:
        """
        Those that were too many are named again at once, in a transaction of their own, until all
        have been.
        """
        for offered in WAYS:
            for lmtp in (False, True):
                dialogue = Dialogue(self.limited(3), offered=offered, lmtp=lmtp)
                results = dialogue.send(*self.names(10))
                self.assertEqual(codes(results), [250] * 10)
                self.assertEqual(
                    sorted(dialogue.server.delivered), [(name, TEXT) for name in self.names(10)]
                )
                mails = [each for each in dialogue.server.commands if each.startswith("MAIL")]
                self.assertEqual(len(mails), 4)
                self.assertEqual(dialogue.server.odd, [])
                self.assertTrue(dialogue.session.usable)

    def test_learned(self) -> None:
        """What the server takes is known from then on, so it isn't asked in vain."""
        dialogue = Dialogue(self.limited(3))
        dialogue.send(*self.names(10))
        before = len(dialogue.server.commands)
        self.assertEqual(codes(dialogue.send(*self.names(6))), [250] * 6)
        sent = [each for each in dialogue.server.commands[before:] if each.startswith("RCPT")]
        self.assertEqual(len(sent), 6)

    def test_notNamed(self) -> None:
        """Once it says so the rest isn't named in that transaction, as far as it isn't yet."""
        dialogue = Dialogue(self.limited(3), offered=())
        dialogue.send(*self.names(10))
        first = dialogue.server.commands[: dialogue.server.commands.index("DATA")]
        self.assertEqual(len(first), 1 + 3 + 1)

    def test_codes(self) -> None:
        """
        452 without an enhanced status says so, and any code with X.5.3 (RFC 3463 §3.6); 552 without
        one only behind as many as any server takes.
        """
        for reply in (b"452 Too many\r\n", b"552 5.5.3 Too many\r\n", b"450 4.5.3 x\r\n",
                      b"550 5.5.3 x\r\n", b"452 4.0.0 x\r\n"):  # fmt: skip
            dialogue = Dialogue(self.limited(2, reply))
            self.assertEqual(codes(dialogue.send(*self.names(5))), [250] * 5, reply)
        dialogue = Dialogue(self.limited(100, b"552 Too many\r\n"))
        self.assertEqual(codes(dialogue.send(*self.names(150))), [250] * 150)
        dialogue = Dialogue(self.limited(99, b"552 Mailbox full\r\n"))
        self.assertEqual(codes(dialogue.send(*self.names(101))), [250] * 99 + [552] * 2)

    def test_otherwise(self) -> None:
        """A mailbox that is full, or a server, is something else: nobody is named twice."""
        for reply in (b"452 4.2.2 Full\r\n", b"452 4.3.1 Full\r\n", b"450 Busy\r\n"):
            dialogue = Dialogue(self.limited(2, reply))
            code = int(reply[:3])
            self.assertEqual(codes(dialogue.send(*self.names(4))), [250, 250, code, code])
            sent = [each for each in dialogue.server.commands if each.startswith("RCPT")]
            self.assertEqual(len(sent), 4)

    def test_noWayForward(self) -> None:
        """
        A server that takes none, or takes some and then not the message, isn't asked again; they
        wait.
        """
        dialogue = Dialogue(self.limited(0))
        self.assertEqual(codes(dialogue.send(*self.names(4))), [452] * 4)
        self.assertTrue(dialogue.session.usable)
        self.assertEqual(codes(dialogue.send(*self.names(2))), [452] * 2)
        dialogue = Dialogue(self.limited(0, b"552 5.5.3 Too many\r\n"))
        self.assertEqual(codes(dialogue.send(*self.names(2))), [452] * 2)
        for end in (b"554 5.7.1 No\r\n", b"451 4.3.0 No\r\n"):
            for offered in WAYS:
                dialogue = Dialogue(self.limited(2, END=end), offered=offered)
                results = dialogue.send(*self.names(4))
                self.assertEqual(codes(results), [int(end[:3])] * 2 + [452] * 2)

    def test_lostMeanwhile(self) -> None:
        """Those who had the message in an earlier transaction have it."""
        calls = []

        def answer(step: str, number: int) -> bytes | None:
            calls.append(step)
            return DROP if calls.count("END") == 2 else self.limit(step, number)

        self.limit = self.limited(2)
        dialogue = Dialogue(answer)
        self.assertEqual(codes(dialogue.send(*self.names(5))), [250, 250, 452, 452, 452])

    def test_limits(self) -> None:
        """A server's declared limits (RFC 9422) are kept, with those that were found out."""
        limit = Extension(
            "LIMITS", 9422, clientLimit=lambda session, recipients, offered: int(offered or 99)
        )
        dialogue = Dialogue(self.limited(2), offered=("LIMITS 3", "PIPELINING"), extensions=[limit])
        self.assertEqual(codes(dialogue.send(*self.names(7))), [250] * 7)
        mails = [each for each in dialogue.server.commands if each.startswith("MAIL")]
        self.assertEqual(len(mails), 4)


class PipelineTests(SynchronousTestCase):
    """
    How far the client runs ahead.
    """

    def test_bounded(self) -> None:
        """
        With thousands of recipients commands and replies are under way in both directions, a
        bounded number of each, so that neither waits for the other for ever (RFC 2920 §3.1).
        """
        names = [f"r{number}@far.test" for number in range(5000)]
        dialogue = Dialogue(offered=("PIPELINING",))
        sending = Deferred.fromCoroutine(
            dialogue.session.send(
                OutgoingMessage(
                    None,
                    [Recipient(Address.parse(name), {}) for name in names],
                    BytesContent(TEXT),
                    {},
                )
            )
        )
        dialogue.stream.flush()
        first = dialogue.wire.take()
        self.assertLessEqual(len(first), AHEAD)
        self.assertGreater(len(first), AHEAD // 2)
        self.assertFalse(dialogue.wire.blocked)
        dialogue.server.received(first)
        dialogue.hear(dialogue.server.take())
        dialogue.pump()
        self.assertEqual(codes(self.successResultOf(sending)), [250] * 5000)

    def test_mailRefused(self) -> None:
        """No more are named when MAIL is refused, and DATA isn't sent."""
        names = [f"r{number}@far.test" for number in range(5000)]
        script = {"MAIL": b"550 5.7.1 No\r\n", "RCPT": b"503 5.5.1 MAIL first\r\n"}
        dialogue = Dialogue(script)
        self.assertEqual(codes(dialogue.send(*names)), [550] * 5000)
        self.assertLess(len(dialogue.server.commands), 3000)
        self.assertNotIn("DATA", dialogue.server.commands)
        self.assertTrue(dialogue.session.usable)


class CutTests(SynchronousTestCase):
    """
    The connection is lost behind any octet, of either side.
    """

    #: A server that is of two minds about the recipients, and its replies of several lines.
    SCRIPT = {
        "MAIL": b"250-2.1.0 x\r\n250 2.1.0 OK\r\n",
        "RCPT": [b"250 OK\r\n", b"550 5.1.1 No\r\n", b"250 OK\r\n"],
    }

    def test_everyOctet(self) -> None:
        """
        Each recipient has one result. It is delivered exactly if the server's last reply came
        whole, and refused for good exactly if the refusal did.
        """
        for offered in WAYS:
            for lmtp in (False, True):
                complete = Dialogue(self.SCRIPT, offered=offered, lmtp=lmtp)
                self.assertEqual(codes(complete.send(*NAMES)), [250, 550, 250])
                for hears in range(complete.heard + 1):
                    self.check(offered, lmtp, complete.heard, hears=hears)
                for takes in range(len(complete.sent)):
                    self.check(offered, lmtp, complete.heard, takes=takes)

    def check(self, offered: Sequence[str], lmtp: bool, all_: int, **cut: int) -> None:
        """
        One place.
        """
        dialogue = Dialogue(self.SCRIPT, offered=offered, lmtp=lmtp, pieces=singly, **cut)
        results = dialogue.send(*NAMES)
        at = (offered, lmtp, cut, results)
        self.assertEqual(len(results), 3)
        last = len(OK["END"])
        self.assertEqual(results[2].delivered, dialogue.heard == all_, at)
        self.assertEqual(results[0].delivered, dialogue.heard >= all_ - (last if lmtp else 0), at)
        refused = b"".join((self.SCRIPT["MAIL"], *self.SCRIPT["RCPT"][:2]))  # type: ignore[arg-type]
        self.assertEqual(results[1].code, 550 if dialogue.heard >= len(refused) else 451, at)
        for result in (results[0], results[2]):
            self.assertTrue(result.delivered or result.code == 451, at)


#: What a server may say at any step.
REPLIES = st.one_of(
    st.sampled_from(
        [
            *(b"250 OK\r\n", b"250-a\r\n250 2.0.0 b\r\n", b"354 Go\r\n", b"550 5.1.1 No\r\n"),
            *(b"451 4.3.0 Later\r\n", b"452 4.5.3 Too many\r\n", b"552 Full\r\n", b"503 What?\r\n"),
            *(b"421 4.3.2 Down\r\n", b"nonsense\r\n", b"250-a\r\n550 b\r\n", SILENCE, DROP),
            *(b"250 OK\r\n250 OK\r\n", b"250 O", b"235 x\n", b"999 x\r\n", b"334 \r\n"),
        ]
    ),
)


class AnyServerTests(SynchronousTestCase):
    """
    Any server at all.
    """

    @settings(max_examples=300)
    @given(
        script=st.dictionaries(
            st.tuples(
                st.sampled_from(["RSET", "MAIL", "RCPT", "DATA", "BDAT", "END"]),
                st.integers(0, 4),
            ),
            REPLIES,
            max_size=5,
        ),
        offered=st.sampled_from(WAYS),
        lmtp=st.booleans(),
        pieces=st.sampled_from([whole, singly]),
        size=st.sampled_from([0, 1, 1000, CHUNK + 7]),
        recipients=st.integers(1, 5),
        hears=st.none() | st.integers(0, 200),
        careless=st.booleans(),
    )
    @example(
        script={("MAIL", 1): b"550 5.1.1 No\r\n", ("RCPT", 1): b"452 4.5.3 Too many\r\n"},
        offered=(),
        lmtp=False,
        pieces=whole,
        size=0,
        recipients=3,
        hears=None,
        careless=False,
    )
    def test_anything(
        self,
        script: dict[tuple[str, int], bytes | None],
        offered: tuple[str, ...],
        lmtp: bool,
        pieces: Any,
        size: int,
        recipients: int,
        hears: int | None,
        careless: bool,
    ) -> None:
        """
        Whatever a server says, nothing is raised, each recipient has one result, and: what is
        delivered the server has taken, whole; who is refused for good was refused so; nothing is
        sent out of order; and a connection that can be used can be used.
        """
        twice = b"250 OK\r\n" * 2
        if pieces is singly or len(offered) == 2:
            # A second reply that comes when the next is awaited can't be told from that.
            script = {step: reply for step, reply in script.items() if reply != twice}
        if lmtp:
            # Replies to the text that are more or fewer than the recipients can't be told apart.
            script = {
                step: reply
                for step, reply in script.items()
                if step[0] != "END" or reply is None or re.fullmatch(rb"\d\d\d [^\n]*\n", reply)
            }
        dialogue = Dialogue(
            lambda step, number: script.get((step, number), OK.get(step, b"250 OK\r\n")),
            offered=offered,
            lmtp=lmtp,
            pieces=pieces,
            hears=hears,
            careless=careless,
        )
        names = [f"r{number}@far.test" for number in range(recipients)]
        text = (b".x\r\n" * (size // 4 + 1))[: size // 4 * 4] + b"." * (size % 4)
        results = dialogue.send(*names, content=text)
        self.assertEqual(len(results), recipients)
        server = dialogue.server
        expected = (
            text if "CHUNKING" in offered or text.endswith(b"\r\n") or not text else text + b"\r\n"
        )
        took = dict(server.delivered)
        for name, result in zip(names, results, strict=True):
            self.assertIn(result.code // 100, (2, 4, 5))
            if result.delivered:
                self.assertEqual(took.get(name), expected)
            elif not result.temporary:
                # Itself; or the MAIL of another transaction, after it was one too many.
                said = server.said.get(name), *server.mailReplies
                self.assertIn(b"5", [(each or b"")[:1] for each in said])
            self.assertEqual(result.enhancedStatus[0], str(result.code)[0])
        if dialogue.session.usable and hears is None:
            delivered = {name for name, each in zip(names, results, strict=True) if each.delivered}
            self.assertEqual(set(took), delivered)
        self.assertEqual([each for each in server.odd if dialogue.session.usable], [])
        server.answer = lambda step, number: OK.get(step, b"250 OK\r\n")
        server.delivered.clear()
        usable = dialogue.session.usable
        # What it says without being asked is found when something is said to it.
        extra = dialogue.stream.buffered
        [again] = dialogue.send("last@far.test", content=b"again\r\n")
        if again.delivered:
            self.assertEqual(server.delivered, [("last@far.test", b"again\r\n")])
        else:
            self.assertTrue(again.temporary)
        if usable and hears is None and not extra:
            self.assertTrue(again.delivered)
