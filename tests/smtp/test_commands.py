"""
Commands about the session: EHLO, HELO, NOOP, RSET, HELP, VRFY, EXPN, QUIT.
"""

from __future__ import annotations

from tests.smtp.support import NETWORKS, SMTPTestCase, TroubledTarget, now
from twisted_mailstack.model.address import Address
from twisted_mailstack.smtp.registry import EXTENSIONS


class HelloTests(SMTPTestCase):
    """
    EHLO and HELO (RFC 5321 §3.2, §4.1.1.1).
    """

    def test_ehlo(self) -> None:
        """EHLO lists what the server can do; the server's name comes first (§4.3.1)."""
        self.serve(maxMessageOctets=1_000_000).connect().check("""
            S: 220 mx.example.test ESMTP
            C: EHLO client.test
            S: 250-mx.example.test greets client.test
            S: 250-PIPELINING
            S: 250-SIZE 1000000
            S: 250-SMTPUTF8
            S: 250-8BITMIME
            S: 250-ENHANCEDSTATUSCODES
            S: 250-STARTTLS
            S: 250-CHUNKING
            S: 250-BINARYMIME
            S: 250-LIMITS MAILMAX=10000 RCPTMAX=1000
            S: 250 HELP
        """)

    def test_helo(self) -> None:
        """HELO gets one line and no extensions (§3.2: "MUST NOT return the extended response")."""
        self.serve().connect().check("""
            S: 220 mx.example.test ESMTP
            C: HELO client.test
            S: 250 mx.example.test
        """)

    def test_literal(self) -> None:
        """A client without a name shows its address (§4.1.3), and may say more about itself."""
        self.serve(extensions=()).connect().check("""
            S: 220 mx.example.test ESMTP
            C: EHLO [192.0.2.1]
            S: 250-mx.example.test greets [192.0.2.1]
            S: 250 HELP
            C: EHLO [IPv6:2001:db8::1] a workstation
            S: 250-mx.example.test greets [IPv6:2001:db8::1]
            S: 250 HELP
        """)

    def test_withoutExtensions(self) -> None:
        """A server of no extensions still answers EHLO."""
        self.serve(extensions=()).connect().check("""
            S: 220 mx.example.test ESMTP
            C: EHLO client.test
            S: 250-mx.example.test greets client.test
            S: 250 HELP
        """)

    def test_malformed(self) -> None:
        """
        A hello without a name, or with one that has characters no name has, is refused (§4.1.2:
        "MUST reject that command with a 501"); without an enhanced status (RFC 2034 §3).
        """
        self.serve().connect().check(f"""
            S: 220 mx.example.test ESMTP
            C: EHLO
            S: 501 A domain name or an address literal is needed
            C: HELO
            S: 501 A domain name or an address literal is needed
            C: EHLO клиент.test
            S: 501 A domain name or an address literal is needed
            C: EHLO {"a" * 256}
            S: 501 A domain name or an address literal is needed
            C: EHLO cli\x1bent
            S: 501 Control characters are not allowed
            C: MAIL FROM:<>
            S: 503 5.5.1 Say EHLO first
        """)

    def test_refusedChangesNothing(self) -> None:
        """After an EHLO that was refused all is as before (§4.1.4)."""
        self.serve().greeted().check("""
            C: MAIL FROM:<> BODY=8BITMIME
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: EHLO
            S: 501 A domain name or an address literal is needed
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)

    def test_again(self) -> None:
        """EHLO and HELO in the midst end the transaction like RSET (§4.1.4)."""
        server = self.serve(extensions=())
        conversation = server.greeted()
        for hello, answer in (
            ("EHLO", "250-mx.example.test greets other.test\nS: 250 HELP"),
            ("HELO", "250 mx.example.test"),
        ):
            conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
            conversation.check(f"C: {hello} other.test\nS: {answer}")
            conversation.check("""
                C: RCPT TO:<alice@example.test>
                S: 503 5.5.1 Say MAIL first
                C: MAIL FROM:<>
                S: 250 2.1.0 OK
                C: RSET
                S: 250 2.0.0 OK
            """)

    def test_heloEndsExtensions(self) -> None:
        """After HELO there are no parameters, though EHLO came before (§4.1.1.1)."""
        self.serve().greeted().check("""
            C: HELO client.test
            S: 250 mx.example.test
            C: MAIL FROM:<> SIZE=100
            S: 555 5.5.4 Parameters need EHLO
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)

    def test_required(self) -> None:
        """Before a hello there is no mail (§4.1.1.1), but all that isn't mail (§4.1.4)."""
        self.serve().connect().check("""
            S: 220 mx.example.test ESMTP
            C: MAIL FROM:<a@far.test>
            S: 503 5.5.1 Say EHLO first
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
            C: DATA
            S: 503 5.5.1 Say MAIL first
            C: NOOP
            S: 250 2.0.0 OK
            C: RSET
            S: 250 2.0.0 OK
            C: VRFY alice@example.test
            S: 252 2.5.0 Cannot VRFY user; try to deliver
            C: HELP QUIT
            S: 214 2.0.0 QUIT
            C: EXPN staff
            S: 502 5.5.1 EXPN is not available
            C: QUIT
            S: 221 2.0.0 mx.example.test closing
        """)


class SmallCommandTests(SMTPTestCase):
    """
    NOOP, RSET, QUIT, HELP, EXPN.
    """

    def test_case(self) -> None:
        """Verbs are of any case, with white space behind them (§2.4, §4.1.1)."""
        self.serve().greeted().check("""
            C: noop
            S: 250 2.0.0 OK
            C: NoOp\x20\x20
            S: 250 2.0.0 OK
            C: rset\t
            S: 250 2.0.0 OK
            C: mail from:<A@far.test>
            S: 250 2.1.0 OK
            C: rcpt to:<ALICE@EXAMPLE.test>
            S: 250 2.1.5 OK
            C: quit
            S: 221 2.0.0 mx.example.test closing
        """)

    def test_noop(self) -> None:
        """NOOP ignores what is behind it (§4.1.1.9), and does nothing to the transaction."""
        self.serve().greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: NOOP with some text, even \x01 and ü
            S: 250 2.0.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
        """)

    def test_rset(self) -> None:
        """RSET forgets the transaction but not the hello (§4.1.1.5), and takes no argument."""
        self.serve().greeted().check("""
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<> SIZE=1
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: RSET now
            S: 501 5.5.4 RSET takes no argument
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
            C: RSET
            S: 250 2.0.0 OK
            C: DATA
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<> SIZE=1
            S: 250 2.1.0 OK
        """)

    def test_quit(self) -> None:
        """QUIT takes no argument, says 221 and ends the session (§4.1.1.10); nothing runs after."""
        conversation = self.serve().greeted()
        conversation.check("C: QUIT now\nS: 501 5.5.4 QUIT takes no argument")
        self.assertEqual(
            conversation.send(b"QUIT\r\nNOOP\r\nNOOP\r\n"),
            b"221 2.0.0 mx.example.test closing\r\n",
        )
        self.assertTrue(conversation.finished)

    def test_help(self) -> None:
        """HELP lists the commands, those of extensions too; and says the form of one (§4.1.1.8)."""
        conversation = self.serve().greeted()
        names = "AUTH BDAT DATA EHLO EXPN HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY"
        conversation.check(f"""
            C: HELP
            S: 214-2.0.0 Commands: {names}
            S: 214 2.0.0 HELP COMMAND says more
            C: HELP mail
            S: 214 2.0.0 MAIL FROM:<address> [parameters]
            C: HELP TURN
            S: 504 5.5.4 No such command
        """)
        self.assertEqual(conversation.send(b"HELP \xff\0\r\n"), b"504 5.5.4 No such command\r\n")

    def test_expn(self) -> None:
        """EXPN is known and not there (§4.2.4: 502), so EHLO doesn't list it."""
        conversation = self.serve().connect()
        conversation.check("S: 220 mx.example.test ESMTP")
        self.assertNotIn(b"EXPN", conversation.send(b"EHLO client.test\r\n"))
        conversation.check("C: EXPN staff\nS: 502 5.5.1 EXPN is not available")

    def test_unknown(self) -> None:
        """What isn't known gets 500, and the session goes on (§3.8, §4.1.5)."""
        conversation = self.serve().greeted()
        for line in (b"XFOO", b"TURN", b"SEND FROM:<>", b"GET / HTTP/1.1", b"", b" ", b"\xc3\xa4"):
            self.assertEqual(
                conversation.send(line + b"\r\n"), b"500 5.5.1 Command not recognised\r\n", line
            )
        self.assertEqual(
            conversation.send(b"\0\0\r\nNO\0OP\r\n"), b"500 5.5.1 Command not recognised\r\n" * 2
        )
        conversation.check("C: NOOP\nS: 250 2.0.0 OK")


class VerifyTests(SMTPTestCase):
    """
    VRFY (RFC 5321 §3.5).
    """

    def test_closed(self) -> None:
        """
        By default it neither confirms nor denies, whatever is asked (§7.3: "MUST return a 252
        response"), but what it asks has to be something.
        """
        self.serve().greeted().check("""
            C: VRFY alice@example.test
            S: 252 2.5.0 Cannot VRFY user; try to deliver
            C: VRFY nobody@example.test
            S: 252 2.5.0 Cannot VRFY user; try to deliver
            C: VRFY alice
            S: 252 2.5.0 Cannot VRFY user; try to deliver
            C: VRFY
            S: 501 5.5.4 An address is needed
            C: VRFY SMTPUTF8
            S: 252 2.5.0 Cannot VRFY user; try to deliver
        """)

    def test_open(self) -> None:
        """Where it may, it says <local-part@domain> of what would be taken (§3.5.2)."""
        server = self.serve(verify=True)
        server.alias("staff@example.test", "alice@example.test", "bob@example.test")
        server.greeted().check("""
            C: VRFY alice@example.test
            S: 250 2.1.5 <alice@example.test>
            C: VRFY <Alice@EXAMPLE.test>
            S: 250 2.1.5 <Alice@example.test>
            C: VRFY staff@example.test
            S: 250 2.1.5 <staff@example.test>
            C: VRFY alice+tag@example.test
            S: 250 2.1.5 <alice+tag@example.test>
            C: VRFY postmaster
            S: 250 2.1.5 <postmaster>
            C: VRFY nobody@example.test
            S: 550 5.1.1 No such user here
            C: VRFY someone@far.test
            S: 550 5.7.1 Relaying denied
            C: VRFY a b
            S: 501 5.5.4 Invalid local-part
        """)

    def test_bareName(self) -> None:
        """A name without domain is one of the server's own name."""
        server = self.serve(verify=True)
        now(server.directory.addDomain("mx.example.test"))
        server.addAccount("carol", "mx.example.test")
        server.greeted().check("""
            C: VRFY carol
            S: 250 2.1.5 <carol@mx.example.test>
            C: VRFY "carol"
            S: 250 2.1.5 <carol@mx.example.test>
            C: VRFY alice
            S: 550 5.1.1 No such user here
        """)

    def test_SMTPUTF8(self) -> None:
        """UTF-8 is in a reply only if the client asked for it (RFC 6531 §3.7.4.2)."""
        server = self.serve(verify=True)
        now(server.directory.addAccount(Address("дима", "example.test"), None))
        server.greeted().check("""
            C: VRFY дима@example.test
            S: 252 2.6.8 Cannot show the address without SMTPUTF8
            C: VRFY дима@example.test SMTPUTF8
            S: 250 2.1.5 <дима@example.test>
            C: VRFY дима@example.test smtputf8
            S: 250 2.1.5 <дима@example.test>
            C: VRFY alice@example.test SMTPUTF8
            S: 250 2.1.5 <alice@example.test>
        """)

    def test_noEffect(self) -> None:
        """VRFY and HELP do nothing to the transaction (§4.1.1.6, §4.1.1.8)."""
        self.serve(verify=True).greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: VRFY alice@example.test
            S: 250 2.1.5 <alice@example.test>
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: HELP NOOP
            S: 214 2.0.0 NOOP
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)

    def test_targetFails(self) -> None:
        """A target that fails is a temporary failure, with nothing of its text."""
        server = self.serve(target=TroubledTarget("verify", KeyError("/var/db")), verify=True)
        server.greeted().check("""
            C: VRFY alice@example.test
            S: 451 4.3.0 Temporary failure, try again later
            C: VRFY alice@example.test
            S: 250 2.1.5 <alice@example.test>
        """)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class RegistryTests(SMTPTestCase):
    """
    What a server speaks stands in tables.
    """

    def test_everyCommandHasHelp(self) -> None:
        """HELP knows each command that there is, those of extensions too."""
        conversation = self.serve(
            queue=True,
            submission=True,
            urls="mx.example.test",
            xclientNetworks=NETWORKS,
            xforwardNetworks=NETWORKS,
        ).greeted()
        listed = conversation.send(b"HELP\r\n").split(b"\r\n")[0].partition(b": ")[2].split()
        for extension in EXTENSIONS:
            for command in extension.commands:
                self.assertIn(command.name, listed)
        for name in listed:
            self.assertTrue(
                conversation.send(b"HELP %b\r\n" % name).startswith(b"214 2.0.0 " + name)
            )
