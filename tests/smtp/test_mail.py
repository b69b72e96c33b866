"""
A mail transaction: MAIL, RCPT and the order of commands (RFC 5321 §3.3, §4.1.4).
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.smtp.support import SMTPTestCase, TroubledTarget, UnreachableRelay, now
from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.errors import MailError
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import Envelope, Recipient
from twisted_mailstack.smtp.registry import EXTENSIONS


class OrderTests(SMTPTestCase):
    """
    Which command may come when.
    """

    def test_example(self) -> None:
        """RFC 5321 appendix D.1, with our texts: one recipient of three is unknown."""
        server = self.serve()
        server.connect().check("""
            S: 220 mx.example.test ESMTP
            C: HELO bar.test
            S: 250 mx.example.test
            C: MAIL FROM:<Smith@bar.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<Green@example.test>
            S: 550 5.1.1 No such user here
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: Blah blah blah...
            C: ...etc. etc. etc.
            C: .
            S: 250 2.0.0 OK: Q1
            C: QUIT
            S: 221 2.0.0 mx.example.test closing
        """)
        text = b"Blah blah blah...\r\n..etc. etc. etc.\r\n"
        for name in ("alice", "bob"):
            self.assertEqual(
                server.inbox(name),
                [
                    self.stored(
                        text,
                        reversePath="<Smith@bar.test>",
                        recipient=f"{name}@example.test",
                        hello="bar.test",
                        protocol="SMTP",
                        single=False,
                    )
                ],
            )

    def test_several(self) -> None:
        """A session has as many transactions as the client likes; each is by itself."""
        server = self.serve()
        conversation = server.greeted()
        for number, name in enumerate(("alice", "bob", "alice"), 1):
            conversation.check(f"""
                C: MAIL FROM:<s{number}@far.test>
                S: 250 2.1.0 OK
                C: RCPT TO:<{name}@example.test>
                S: 250 2.1.5 OK
                C: DATA
                S: 354 End data with <CR><LF>.<CR><LF>
                C: text {number}
                C: .
                S: 250 2.0.0 OK: Q{number}
            """)
        self.assertEqual([len(server.inbox(name)) for name in ("alice", "bob")], [2, 1])
        self.assertTrue(server.inbox("bob")[0].startswith(b"Return-Path: <s2@far.test>\r\n"))
        conversation.check("C: DATA\nS: 503 5.5.1 Say MAIL first")

    def test_outOfOrder(self) -> None:
        """Commands out of order get 503, and all stays as it was (§4.1.4)."""
        self.serve().greeted().check("""
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
            C: DATA
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<a@far.test>
            S: 250 2.1.0 OK
            C: MAIL FROM:<b@far.test>
            S: 503 5.5.1 A transaction is under way
            C: DATA
            S: 554 5.5.1 No valid recipients
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: MAIL FROM:<c@far.test>
            S: 503 5.5.1 A transaction is under way
            C: DATA now
            S: 501 5.5.4 DATA takes no argument
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)

    def test_refusedMail(self) -> None:
        """A MAIL that isn't accepted begins nothing (§4.1.4: "stay in the same state")."""
        self.serve().greeted().check("""
            C: MAIL
            S: 501 5.5.4 Syntax: MAIL FROM:<address>
            C: MAIL FROM:
            S: 501 5.5.4 The path must be in angle brackets
            C: MAIL FROM:<a@>
            S: 501 5.5.4 Not an address: local-part@domain expected
            C: MAIL TO:<a@far.test>
            S: 501 5.5.4 Syntax: MAIL FROM:<address>
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<a@far.test>
            S: 250 2.1.0 OK
            C: RCPT
            S: 501 5.5.4 Syntax: RCPT TO:<address>
            C: RCPT TO:<>
            S: 501 5.5.4 The null path is no recipient
            C: RCPT FROM:<alice@example.test>
            S: 501 5.5.4 Syntax: RCPT TO:<address>
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
        """)

    def test_abandoned(self) -> None:
        """What a client leaves unfinished is delivered to nobody, however it leaves it."""
        server = self.serve()
        for end in (b"RSET\r\n", b"EHLO c.test\r\n", b"HELO c.test\r\n", b"QUIT\r\n", b"", None):
            conversation = server.greeted()
            conversation.send(b"MAIL FROM:<a@far.test>\r\nRCPT TO:<alice@example.test>\r\n")
            if end is None:
                conversation.send(b"DATA\r\nSubject: not finished\r\n\r\ntext\r\n")
            else:
                conversation.send(end)
            conversation.disconnect()
            self.assertTrue(conversation.finished)
            self.assertIsNone(conversation.failure)
        self.assertEqual(server.inbox(), [])


class ReversePathTests(SMTPTestCase):
    """
    What MAIL takes.
    """

    def test_null(self) -> None:
        """The null reverse-path is no address, and stays null (RFC 5321 §4.5.5)."""
        seen: list[Envelope] = []

        class Seeing(PolicyStep):
            def reversePath(self, envelope: Envelope) -> None:
                seen.append(envelope)

        server = self.serve(policies=[Seeing()])
        server.greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        self.assertIsNone(seen[0].reversePath)
        self.assertTrue(server.inbox()[0].startswith(b"Return-Path: <>\r\nDelivered-To: "))

    def test_forms(self) -> None:
        """
        Address literals, quoted local-parts, source routes; case of the local-part is kept (§2.4),
        quotes are those that are needed (§4.1.2).
        """
        server = self.serve()
        conversation = server.greeted()
        for number, (path, shown) in enumerate(
            (
                ("<user@[127.0.0.1]>", "<user@[127.0.0.1]>"),
                ("<user@[IPv6:2001:DB8:0::1]>", "<user@[IPv6:2001:db8::1]>"),
                ('<"Joe Smith"@FAR.Test>', '<"Joe Smith"@far.test>'),
                ('<"JoeSmith"@far.test>', "<JoeSmith@far.test>"),
                ("<@a.test,@b.test:User@far.test>", "<User@far.test>"),
                ("<under_score@host_1.far.test>", "<under_score@host_1.far.test>"),
                ("<bounces+alice=example.test@far.test>", "<bounces+alice=example.test@far.test>"),
            )
        ):
            conversation.send(f"MAIL FROM:{path}\r\nRCPT TO:<alice@example.test>\r\n".encode())
            self.assertTrue(conversation.send(b"DATA\r\n").startswith(b"354 "), path)
            self.assertTrue(conversation.send(b".\r\n").startswith(b"250 "), path)
            stored = server.inbox()[number]
            self.assertEqual(stored.split(b"\r\n")[0], f"Return-Path: {shown}".encode())

    def test_temporary(self) -> None:
        """A policy puts a sender off with 4yz, and the transaction hasn't begun."""

        class Later(PolicyStep):
            def reversePath(self, envelope: Envelope) -> None:
                if envelope.reversePath is not None:
                    raise MailError("Try later", smtpCode=451, enhancedStatus="4.7.1")

        self.serve(policies=[Later()]).greeted().check("""
            C: MAIL FROM:<a@far.test>
            S: 451 4.7.1 Try later
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)


class ParameterTests(SMTPTestCase):
    """
    Parameters of MAIL and RCPT: known, rightly spelt, or refused.
    """

    def test_unknown(self) -> None:
        """What isn't known gets 555 (RFC 5321 §4.1.1.11), never silence; nothing has begun."""
        self.serve().greeted().check("""
            C: MAIL FROM:<a@far.test> X-PRIORITY=1
            S: 555 5.5.4 X-PRIORITY is not a known parameter
            C: MAIL FROM:<a@far.test> SIZE=1 FOO
            S: 555 5.5.4 FOO is not a known parameter
            C: MAIL FROM:<a@far.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test> FOO=bar
            S: 555 5.5.4 FOO is not a known parameter
            C: RCPT TO:<alice@example.test> SIZE=1
            S: 555 5.5.4 SIZE is not a known parameter
            C: DATA
            S: 554 5.5.1 No valid recipients
        """)

    def test_malformed(self) -> None:
        """What is no parameter at all, or comes twice, is a syntax error."""
        self.serve().greeted().check("""
            C: MAIL FROM:<a@far.test> SIZE=
            S: 501 5.5.4 Malformed parameter
            C: MAIL FROM:<a@far.test> =1
            S: 501 5.5.4 Malformed parameter
            C: MAIL FROM:<a@far.test> BODY=7BIT BODY=7BIT
            S: 501 5.5.4 BODY is given twice
            C: MAIL FROM:<a@far.test>SIZE=1
            S: 501 5.5.4 A space must follow the path
        """)

    def test_withoutExtension(self) -> None:
        """Parameters of an extension that isn't there aren't known."""
        self.serve(extensions=()).greeted().check("""
            C: MAIL FROM:<a@far.test> SIZE=1
            S: 555 5.5.4 SIZE is not a known parameter
        """)

    def test_everyOne(self) -> None:
        """
        Each parameter of each extension has values that are wrong, which get 501; and after HELO,
        and where its extension isn't there, none is known (RFC 5321 §4.1.1.11: 555). A transaction
        has never begun by that.
        """
        wrong = {
            "SIZE": ("", "=x", "=-1", "=1e3", "=123456789012345678901"),
            "BODY": ("", "=9BIT", "=8BITMIME,7BIT"),
            "SMTPUTF8": ("=1", "=yes"),
            "AUTH": ("", "=a+", "=a+2", "=a+zz"),
            "RET": ("", "=ALL", "=FULL,HDRS"),
            "ENVID": ("", "=a+", "=" + "x" * 101),
            "REQUIRETLS": ("=1",),
            "MT-PRIORITY": ("", "=10", "=+1", "=-0", "=01"),
            "BY": ("", "=1", "=1;X", "=;R", "=1234567890;N", "=0;R"),
            "HOLDFOR": ("", "=x", "=-1"),
            "HOLDUNTIL": ("", "=tomorrow", "=2023-11-14", "=2023-02-30T00:00:00Z"),
            "NOTIFY": ("", "=ALWAYS", "=NEVER,DELAY", "=DELAY,,FAILURE"),
            "ORCPT": ("", "=rfc822", "=;a", "=rfc822;a+", "=a@b;c"),
        }
        mail = {keyword: each for each in EXTENSIONS for keyword in each.mailParameters}
        rcpt = {keyword: each for each in EXTENSIONS for keyword in each.rcptParameters}
        self.assertEqual(sorted(wrong), sorted({**mail, **rcpt}))
        begin = b"MAIL FROM:<alice@example.test>"
        for submission in (False, True):
            server = self.serve(queue=True, submission=submission, maxErrors=1000)
            conversation = server.authenticated()
            for owners, command, before in (
                (mail, begin, b""),
                (rcpt, b"RCPT TO:<bob@example.test>", begin + b"\r\n"),
            ):
                if before:
                    conversation.send(before)
                for keyword in owners:
                    for value in wrong[keyword]:
                        line = command + f" {keyword}{value}".encode()
                        # Held messages are for submission (RFC 4865 §4).
                        code = b"555" if keyword[:4] == "HOLD" and not submission else b"501"
                        self.assertEqual(conversation.send(line + b"\r\n")[:3], code, line)
            self.assertEqual(conversation.send(b"DATA\r\n")[:3], b"554")
        for keyword in wrong:
            others = [
                each
                for each in EXTENSIONS
                if keyword not in each.mailParameters and keyword not in each.rcptParameters
            ]
            for hello, extensions in (("EHLO", others), ("HELO", EXTENSIONS)):
                server = self.serve(queue=True, extensions=extensions, login=False)
                conversation = server.greeted(f"{hello} client.test")
                if keyword in rcpt:
                    conversation.send(begin + b"\r\n")
                    answer = conversation.send(f"RCPT TO:<a@example.test> {keyword}\r\n".encode())
                else:
                    answer = conversation.send(begin + f" {keyword}\r\n".encode())
                self.assertEqual(answer[:3], b"555", (hello, keyword))
        fresh = self.serve().connect()
        fresh.wire.take()
        self.assertEqual(fresh.send(begin + b" FOO\r\n")[:3], b"503")

    def test_given(self) -> None:
        """What was given is in the envelope, for policies and delivery."""
        seen: list[Envelope] = []

        class Seeing(PolicyStep):
            def reversePath(self, envelope: Envelope) -> None:
                seen.append(envelope)

        self.serve(policies=[Seeing()]).greeted().check("""
            C: MAIL FROM:<a@far.test> size=12 BODY=8bitmime SMTPUTF8
            S: 250 2.1.0 OK
        """)
        self.assertEqual(seen[0].parameters, {"SIZE": "12", "BODY": "8bitmime", "SMTPUTF8": None})
        self.assertEqual(seen[0].helo, "client.test")
        self.assertEqual(seen[0].connection.peer, "192.0.2.1")
        self.assertIsNone(seen[0].authenticated)


class RecipientTests(SMTPTestCase):
    """
    What RCPT takes.
    """

    def test_postmaster(self) -> None:
        """
        The postmaster is reached without a domain, in any case, and at each of our domains
        (RFC 5321 §4.5.1: MUST), though nobody has that address.
        """
        server = self.serve()
        now(server.directory.addDomain("other.test"))
        conversation = server.greeted()
        for address in (
            *("<postmaster>", "<Postmaster>", "<POSTMASTER>", "<postmaster@example.test>"),
            *("<PostMaster@Example.Test>", "<postmaster@other.test>"),
        ):
            conversation.check(f"""
                C: MAIL FROM:<>
                S: 250 2.1.0 OK
                C: RCPT TO:{address}
                S: 250 2.1.5 OK
                C: RSET
                S: 250 2.0.0 OK
            """)
        conversation.check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<postmaster@far.test>
            S: 550 5.7.1 Relaying denied
            C: RCPT TO:<Postmaster>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q7
        """)
        (octets,) = server.inbox()
        self.assertIn(b"\r\nDelivered-To: alice@example.test\r\n", octets)
        # That the client said <postmaster> is no path that a trace field may have.
        self.assertNotIn(b"for <", octets)

    def test_relaying(self) -> None:
        """A stranger can't send to other domains (RFC 5321 §3.6.2: 550)."""
        self.serve().greeted().check("""
            C: MAIL FROM:<alice@example.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<someone@far.test>
            S: 550 5.7.1 Relaying denied
            C: RCPT TO:<@example.test:someone@far.test>
            S: 550 5.7.1 Relaying denied
            C: RCPT TO:<someone%far.test@example.test>
            S: 550 5.1.1 No such user here
            C: RCPT TO:<"someone@far.test"@example.test>
            S: 550 5.1.1 No such user here
            C: RCPT TO:<someone@example.test.far.test>
            S: 550 5.7.1 Relaying denied
            C: RCPT TO:<someone@[192.0.2.1]>
            S: 550 5.7.1 Relaying denied
            C: DATA
            S: 554 5.5.1 No valid recipients
        """)

    def test_authenticatedElsewhere(self) -> None:
        """
        Where there is no relay, our own user is told at once and for good that mail to other
        domains can't be sent; not that it is denied to them.
        """
        self.serve().authenticated().check("""
            C: MAIL FROM:<alice@example.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<someone@far.test>
            S: 550 5.7.1 someone@far.test: this server does not relay mail to other domains
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
        """)

    def test_spooled(self) -> None:
        """With a relay our own user's mail goes into the spool, a stranger's still doesn't."""
        server = self.serve(relay=UnreachableRelay())
        server.greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<someone@far.test>
            S: 550 5.7.1 Relaying denied
        """)
        server.authenticated().check("""
            C: MAIL FROM:<alice@example.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<someone@far.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: to far away
            C: .
            S: 250 2.0.0 OK: Q2
        """)
        ((queued, text),) = server.queued()
        self.assertEqual([str(each.address) for each in queued.recipients], ["someone@far.test"])
        self.assertTrue(text.endswith(b"\r\nto far away\r\n"))

    def test_case(self) -> None:
        """Domains are compared without regard to case (§2.4), our own local-parts too."""
        server = self.serve()
        server.greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<Alice@EXAMPLE.Test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        # As it was written, but for the domain.
        self.assertIn(b"\r\nDelivered-To: Alice@example.test\r\n", server.inbox()[0])

    def test_quoted(self) -> None:
        """Quoted forms are equivalent (§4.1.2: MUST)."""
        server = self.serve()
        now(server.directory.addAccount(Address("joe smith", "example.test"), None))
        server.greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<"alice"@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<"al\\ice"@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<"Joe Smith"@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<joe smith@example.test>
            S: 501 5.5.4 Invalid local-part
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        self.assertEqual(len(server.inbox()), 1)
        self.assertIn(
            b'\r\nDelivered-To: "Joe Smith"@example.test\r\n', server.inbox("joe smith")[0]
        )

    def test_tooMany(self) -> None:
        """
        Beyond the limit 452 is said (§4.5.3.1.10: MUST), as often as the client likes; those before
        get the message.
        """
        server = self.serve(maxRecipients=100, maxErrors=5)
        for number in range(130):
            server.addAccount(f"u{number}")
        conversation = server.greeted()
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
        answers = conversation.send(
            b"".join(b"RCPT TO:<u%d@example.test>\r\n" % number for number in range(130))
        ).split(b"\r\n")[:-1]
        self.assertEqual(answers[:100], [b"250 2.1.5 OK"] * 100)
        self.assertEqual(answers[100:], [b"452 4.5.3 Too many recipients"] * 30)
        conversation.check("""
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        boxes = [len(server.inbox(f"u{number}")) for number in range(130)]
        self.assertEqual(boxes, [1] * 100 + [0] * 30)

    def test_deadAddresses(self) -> None:
        """A list with some dead addresses gets through (§7.8: "most or all" has to be wrong)."""
        server = self.serve(maxErrors=5)
        conversation = server.greeted()
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
        for _ in range(10):
            conversation.check("""
                C: RCPT TO:<nobody@example.test>
                S: 550 5.1.1 No such user here
                C: RCPT TO:<alice@example.test>
                S: 250 2.1.5 OK
            """)
        conversation.check("""
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)

    def test_guessing(self) -> None:
        """Who asks for one unknown address after the other is sent away."""
        conversation = self.serve(maxErrors=5).greeted()
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
        for number in range(5):
            conversation.check(f"""
                C: RCPT TO:<guess{number}@example.test>
                S: 550 5.1.1 No such user here
            """)
        conversation.check("""
            C: RCPT TO:<guess6@example.test>
            S: 421 4.7.0 mx.example.test too many errors
        """)
        self.assertTrue(conversation.finished)

    def test_temporary(self) -> None:
        """A temporary refusal of one recipient doesn't touch the others, and isn't held against
        the client."""

        class Greylisting(PolicyStep):
            def recipient(self, envelope: Envelope, recipient: Recipient) -> None:
                if recipient.address.localPart == "bob":
                    raise MailError("Come back", smtpCode=450, enhancedStatus="4.7.1")

        server = self.serve(policies=[Greylisting()], maxErrors=2)
        conversation = server.greeted()
        conversation.check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
        """)
        for _ in range(10):
            conversation.check("C: RCPT TO:<bob@example.test>\nS: 450 4.7.1 Come back")
        conversation.check("""
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        self.assertEqual([len(server.inbox("alice")), len(server.inbox("bob"))], [1, 0])

    def test_failing(self) -> None:
        """A target that fails at RCPT: 451, and the transaction is over, since nobody knows its
        state; nothing of the machine is told."""
        target = TroubledTarget("addRecipient", OSError("/var/lib/secret: disk on fire"), at=2)
        server = self.serve(target=target)
        server.greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<bob@example.test>
            S: 451 4.3.0 Temporary failure, try again later
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(target.aborted, 1)

    def test_waiting(self) -> None:
        """A target may take its time; the reply waits for it."""
        answer: Deferred[None] = Deferred()
        conversation = self.serve(target=TroubledTarget("addRecipient", answer)).greeted()
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
        self.assertEqual(conversation.send(b"RCPT TO:<alice@example.test>\r\n"), b"")
        answer.callback(None)
        conversation.check("S: 250 2.1.5 OK")


class TransactionLimitTests(SMTPTestCase):
    """
    How many messages a connection may bring.
    """

    def test_limit(self) -> None:
        """One more than allowed: 421, and the connection is closed; the earlier ones stay."""
        server = self.serve(maxTransactions=2)
        conversation = server.greeted()
        for number in (1, 2):
            conversation.check(f"""
                C: MAIL FROM:<>
                S: 250 2.1.0 OK
                C: RCPT TO:<alice@example.test>
                S: 250 2.1.5 OK
                C: DATA
                S: 354 End data with <CR><LF>.<CR><LF>
                C: .
                S: 250 2.0.0 OK: Q{number}
            """)
        conversation.check("C: MAIL FROM:<>\nS: 421 4.7.0 mx.example.test too many messages")
        self.assertTrue(conversation.finished)
        self.assertEqual(len(server.inbox()), 2)
        # The next connection has a count of its own.
        server.greeted().check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
