"""
DSN (RFC 3461): what a client may ask for, and what goes on to the next server.
"""

from __future__ import annotations

from tests.smtp.support import Server, SMTPTestCase, exchange

NOTIFY = b"501 5.5.4 NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY\r\n"


class ServerTests(SMTPTestCase):
    """
    The server's side.
    """

    def serve(self, **arguments: object) -> Server:
        """
        @return: a server with a queue.
        """
        return super().serve(queue=True, **arguments)

    def test_offered(self) -> None:
        """
        It is offered where the target notifies (§2 (3): without parameters); elsewhere its
        parameters are unknown.
        """
        conversation = self.serve().connect()
        self.assertIn(b"\r\n250-DSN\r\n", conversation.send(b"EHLO client.test\r\n"))
        conversation = super().serve().connect()
        self.assertNotIn(b"DSN", conversation.send(b"EHLO client.test\r\n"))
        conversation.check("""
            C: MAIL FROM:<> RET=HDRS
            S: 555 5.5.4 RET is not a known parameter
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test> NOTIFY=NEVER
            S: 555 5.5.4 NOTIFY is not a known parameter
        """)

    def test_example(self) -> None:
        """
        After RFC 3461 §10.1: everything that was asked for is kept with the queued message, as it
        was written.
        """
        server = self.serve()
        server.authenticated().check("""
            C: MAIL FROM:<Alice@Example.test> RET=HDRS ENVID=QQ314159
            S: 250 2.1.0 OK
            C: RCPT TO:<Carol@Ivory.EDU> NOTIFY=FAILURE ORCPT=rfc822;Carol@Ivory.EDU
            S: 250 2.1.5 OK
            C: RCPT TO:<Dana@Ivory.EDU> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU
            S: 250 2.1.5 OK
            C: RCPT TO:<Eric@Bombs.AF.MIL> NOTIFY=never
            S: 250 2.1.5 OK
            C: RCPT TO:<Fred@Bombs.AF.MIL>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: text
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        ((message, _),) = server.queued()
        self.assertEqual(message.parameters, {"RET": "HDRS", "ENVID": "QQ314159", "BODY": "7BIT"})
        self.assertEqual(
            {each.address.localPart: each.parameters for each in message.recipients},
            {
                "Carol": {"NOTIFY": "FAILURE", "ORCPT": "rfc822;Carol@Ivory.EDU"},
                "Dana": {"NOTIFY": "SUCCESS,FAILURE", "ORCPT": "rfc822;Dana@Ivory.EDU"},
                "Eric": {"NOTIFY": "never"},
                "Fred": {},
            },
        )

    def test_sameReply(self) -> None:
        """Valid parameters never change a reply (§5.1 (a), (b): MUST NOT refuse)."""
        conversation = self.serve().greeted()
        conversation.check("""
            C: MAIL FROM:<> RET=full ENVID=a+20b
            S: 250 2.1.0 OK
            C: RCPT TO:<nobody@example.test> NOTIFY=SUCCESS
            S: 550 5.1.1 No such user here
            C: RCPT TO:<x@far.test> NOTIFY=SUCCESS
            S: 550 5.7.1 Relaying denied
        """)
        for parameters in (
            *("NOTIFY=NEVER", "NOTIFY=Success", "NOTIFY=DELAY,FAILURE,SUCCESS", "notify=delay"),
            *("ORCPT=rfc822;Bob@Example.com", "ORCPT=x400;+2FC+3DDE+2F", "orcpt=rfc822;a+20b"),
            # What servers in use make of an address in UTF-8.
            "ORCPT=rfc822;j+C3+B6rg@example.test",
            *("ORCPT=rfc822;", r"ORCPT=utf-8;j\x{F6}rg@example.test", "ORCPT=utf-8;a+2Bb@x.test"),
            "NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;" + "x" * 493,
        ):
            self.assertEqual(
                conversation.send(f"RCPT TO:<alice@example.test> {parameters}\r\n".encode()),
                b"250 2.1.5 OK\r\n",
                parameters,
            )

    def test_longest(self) -> None:
        """The sizes of §5.4 are accepted in one command."""
        conversation = self.serve().greeted()
        local = "x" * 64 + "@" + ".".join(["y" * 60] * 3)
        line = (
            f"MAIL FROM:<{local}> RET=FULL ENVID={'e' * 100} SIZE=1 BODY=8BITMIME AUTH={'a' * 400}"
        )
        self.assertEqual(conversation.send(line.encode() + b"\r\n"), b"250 2.1.0 OK\r\n")
        line = "RCPT TO:<@:alice@example.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;"
        line += "o" * (500 - len("rfc822;"))
        # With a source route that makes 1036 octets of it.
        line = line.replace("@:", f"@{'r' * (1036 - 2 - len(line))}:")
        self.assertEqual(conversation.send(line.encode() + b"\r\n"), b"250 2.1.5 OK\r\n")

    def test_badMail(self) -> None:
        """Values that aren't valid, and parameters given twice, are 501 (§5.1 (a): MUST)."""
        conversation = self.serve().greeted()
        for parameters in (
            *("RET", "RET=", "RET=BODY", "RET=FULL,HDRS", "RET=FULL RET=FULL", "RET=FULL RET=HDRS"),
            *(
                "ENVID",
                "ENVID=",
                "ENVID=a+2b",
                "ENVID=a+",
                "ENVID=a+zz",
                "ENVID=+0D+0A",
                "ENVID=+00",
            ),
            *("ENVID=+C3+A4", "ENVID=a ENVID=a", "ENVID=a=b", "ENVID=" + "x" * 101, "ENVID=+7F"),
        ):
            answer = conversation.send(f"MAIL FROM:<> {parameters}\r\n".encode())
            self.assertRegex(answer, rb"\A501 5\.5\.4 ", parameters)
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")

    def test_badRcpt(self) -> None:
        """Likewise of RCPT (§5.1 (b)); NEVER stands by itself (§4.1 a)."""
        conversation = self.serve(maxErrors=100).greeted()
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
        for value in ("", "=NONE", "=NEVER,SUCCESS", "=SUCCESS,NEVER", "=SUCCESS,", "=,DELAY"):
            answer = conversation.send(f"RCPT TO:<alice@example.test> NOTIFY{value}\r\n".encode())
            self.assertEqual(answer, NOTIFY, value)
        for parameters in (
            *("ORCPT", "ORCPT=", "ORCPT=alice@example.test", "ORCPT=;alice", "ORCPT=rf(c;x"),
            *("ORCPT=rfc822;a+2b", "ORCPT=rfc822;+0D+0AX:+20y", "ORCPT=rfc822;+C3"),
            *("ORCPT=rfc822;\\x{F6}+", "ORCPT=utf-8;\\x{D800}+", "ORCPT=rfc822;" + "x" * 494),
            *(
                "NOTIFY=DELAY NOTIFY=DELAY",
                "ORCPT=rfc822;a ORCPT=rfc822;a",
                "NOTIFY=",
                "NOTIFY=DELAY=1",
            ),
        ):
            answer = conversation.send(f"RCPT TO:<alice@example.test> {parameters}\r\n".encode())
            self.assertRegex(answer, rb"\A501 5\.5\.4 ", parameters)

    def test_UTF8(self) -> None:
        """The type utf-8 may have UTF-8, in a transaction that said SMTPUTF8 (RFC 6533 §3)."""
        conversation = self.serve().greeted()
        line = "RCPT TO:<alice@example.test> ORCPT=utf-8;jörg@example.test\r\n".encode()
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
        self.assertTrue(conversation.send(line).startswith(b"553 5.6.7 "))
        conversation.check("C: RSET\nS: 250 2.0.0 OK\nC: MAIL FROM:<> SMTPUTF8\nS: 250 2.1.0 OK")
        self.assertEqual(conversation.send(line), b"250 2.1.5 OK\r\n")
        wrong = "RCPT TO:<alice@example.test> ORCPT=rfc822;jörg@example.test\r\n".encode()
        self.assertTrue(conversation.send(wrong).startswith(b"501 5.5.4 "))

    def test_delivered(self) -> None:
        """
        Who asks for it is told of the delivery, with the original recipient and the envelope's id
        as they were before they were encoded (§5.2.3 (a): MUST; RFC 3464 §2.2.1, §2.3.1, RFC 6533
        §3).
        """
        for parameter, original, field in (
            ("", "rfc822;Alice+20B@Example.TEST", "rfc822; Alice B@Example.TEST"),
            ("", r"utf-8;j\x{F6}rg\x{2B}x@example.test", r"utf-8; j\x{F6}rg\x{2B}x@example.test"),
            # The sender's server may not take UTF-8.
            (
                " SMTPUTF8",
                r"utf-8;jörg\x{2B}x@example.test",
                r"utf-8; j\x{F6}rg\x{2B}x@example.test",
            ),
            (" SMTPUTF8", "UTF-8;a+20b", "UTF-8; a b"),
        ):
            server = self.serve()
            conversation = server.greeted()
            conversation.send(
                f"MAIL FROM:<sender@far.test> ENVID=a+2Bb{parameter}\r\n"
                f"RCPT TO:<alice@example.test> NOTIFY=SUCCESS ORCPT={original}\r\nDATA\r\n".encode()
            )
            self.assertTrue(conversation.send(b".\r\n").startswith(b"250 "))
            ((_, text),) = server.tell()
            self.assertIn(b"\r\nOriginal-Envelope-Id: a+b\r\n", text)
            self.assertIn(f"\r\nOriginal-Recipient: {field}\r\n".encode(), text)
            self.assertIn(b"\r\nAction: delivered\r\n", text)

    def test_notExtended(self) -> None:
        """After HELO there are no parameters."""
        self.serve().greeted().check("""
            C: HELO client.test
            S: 250 mx.example.test
            C: MAIL FROM:<> RET=FULL
            S: 555 5.5.4 Parameters need EHLO
        """)


class ClientTests(SMTPTestCase):
    """
    The client's side.
    """

    ASKED: tuple[tuple[str, dict[str, str | None]], ...] = (
        (
            "Dana@ivory.test",
            {"NOTIFY": "SUCCESS,FAILURE", "ORCPT": "rfc822;Dana@Ivory.EDU"},
        ),
        ("fred@ivory.test", {}),
    )

    def test_passedOn(self) -> None:
        """To a server that offers it everything goes on with the same values (§5.2.1)."""
        sent = exchange(
            "DSN", recipients=self.ASKED, parameters={"RET": "HDRS", "ENVID": "QQ314159"}
        )
        self.assertEqual(
            sent.commands,
            [
                "MAIL FROM:<sender@example.test> RET=HDRS ENVID=QQ314159",
                "RCPT TO:<Dana@ivory.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU",
                "RCPT TO:<fred@ivory.test>",
            ],
        )
        self.assertTrue(all(result.notifies for result in sent.results))

    def test_notAdded(self) -> None:
        """What wasn't given isn't added (§5.2.1 (a) to (c): MUST NOT)."""
        self.assertEqual(
            exchange("DSN").commands,
            ["MAIL FROM:<sender@example.test>", "RCPT TO:<far@far.test>"],
        )

    def test_notOffered(self) -> None:
        """A server that doesn't offer it gets none of it (§5.2.2 (a): MUST NOT)."""
        sent = exchange("8BITMIME", recipients=self.ASKED, parameters={"RET": "HDRS", "ENVID": "Q"})
        self.assertEqual(
            sent.commands,
            [
                "MAIL FROM:<sender@example.test>",
                "RCPT TO:<Dana@ivory.test>",
                "RCPT TO:<fred@ivory.test>",
            ],
        )
        self.assertFalse(any(result.notifies for result in sent.results))

    def test_UTF8(self) -> None:
        """
        An original recipient in UTF-8 stays so where the message goes with SMTPUTF8, else it is
        embedded (RFC 6533 §3: MUST).
        """
        recipients = (("a@far.test", {"ORCPT": "utf-8;jörg@example.test"}),)
        sent = exchange("DSN", recipients=recipients)
        self.assertEqual(
            sent.commands[1], r"RCPT TO:<a@far.test> ORCPT=utf-8;j\x{F6}rg@example.test"
        )
        sent = exchange(
            "DSN\nSMTPUTF8\n8BITMIME",
            recipients=recipients,
            parameters={"SMTPUTF8": None},
            text="Subject: ä\r\n\r\n".encode(),
        )
        self.assertEqual(sent.commands[1], "RCPT TO:<a@far.test> ORCPT=utf-8;jörg@example.test")

    def test_UTF8TooLong(self) -> None:
        """One that would be too long so is left out, rather than the mail refused."""
        sent = exchange("DSN", recipients=(("a@far.test", {"ORCPT": "utf-8;" + "ö" * 100}),))
        self.assertEqual(sent.commands[1], "RCPT TO:<a@far.test>")
