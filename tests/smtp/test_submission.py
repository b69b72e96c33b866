"""
What a submission server does to the text (RFC 6409 §8).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.support import TODAY, TODAY_TEXT, Server, SMTPTestCase
from twisted_mailstack.smtp.submission import SubmissionFilter
from twisted_mailstack.testing.conversation import Conversation

DATE = f"Date: {TODAY_TEXT}\r\n".encode()
MESSAGE_ID = b"Message-ID: <Q1@mx.example.test>\r\n"


class SubmissionFilterTests(SynchronousTestCase):
    """
    L{SubmissionFilter}.
    """

    def submit(self, *pieces: bytes, zone: int = 0) -> bytes:
        """
        @return: what becomes of a message.
        """
        made = SubmissionFilter("Q1", "mx.example.test", TODAY, zone)
        return b"".join([*map(made.feed, pieces), made.finish()])

    def test_missing(self) -> None:
        """Date (§8.2) and Message-ID (§8.3) are added at the header's end, each if it lacks."""
        body = b"\r\nDate: x\r\nMessage-ID: <y@z>\r\nBcc: a\r\n"
        for header, added in (
            (b"Subject: x\r\n", DATE + MESSAGE_ID),
            (b"Subject: x\r\ndate: Mon, 1 Jan 2024 00:00:00 +0000\r\n", MESSAGE_ID),
            (b"MESSAGE-ID : <a@b>\r\nSubject: x\r\n", DATE),
            (b"Message-Id: <a@b>\r\nDate: 1\r\n", b""),
            # Those of who sent it on earlier are others.
            (b"Resent-Date: 1\r\nResent-Message-ID: <a@b>\r\n", DATE + MESSAGE_ID),
            (b"Subject: x\r\n Date: folded\r\n Message-ID: folded\r\n", DATE + MESSAGE_ID),
        ):
            self.assertEqual(self.submit(header + body), header + added + body)

    def test_zone(self) -> None:
        """The date is the server's local time."""
        self.assertIn(b"Date: Wed, 15 Nov 2023 03:43:20 +0530\r\n", self.submit(b"", zone=330))

    def test_blindCopies(self) -> None:
        """
        Bcc goes (RFC 5322 §3.6.3), with all its lines, and Resent-Bcc (§3.6.6); nobody else's
        field does.
        """
        for field in (
            b"Bcc: a@b,\r\n c@d\r\n",
            b"BCC:\r\n",
            b"Resent-Bcc: a@b\r\n",
            b"bcc\t: x\r\n",
        ):
            self.assertEqual(
                self.submit(b"To: x@y\r\n" + field + b"Cc: z@y\r\n\r\n"),
                b"To: x@y\r\nCc: z@y\r\n" + DATE + MESSAGE_ID + b"\r\n",
            )
        kept = b"X-Bcc: a\r\nBcc-Copy: b\r\nSubject: x\r\n Bcc: c\r\n" + DATE + MESSAGE_ID + b"\r\n"
        self.assertEqual(self.submit(kept), kept)

    def test_everythingElse(self) -> None:
        """Not an octet of anything else is altered, however odd it is, wherever it is cut."""
        header = (
            b"From: \xffa@b (\xe2\x82\xac)\r\nodd line\r\n:\r\n \r\nDate: 1\r\nMessage-ID: 1\r\n"
        )
        message = header + b"\r\n\x00\x80.\r\n..\r\r\n\n"
        self.assertEqual(self.submit(message), message)
        for cut in range(len(message)):
            self.assertEqual(self.submit(message[:cut], message[cut:]), message, cut)


class SubmissionTests(SMTPTestCase):
    """
    The same, in a session.
    """

    def begin(self, server: Server) -> Conversation:
        """
        @return: alice's session, in which a message to bob may begin.
        """
        conversation = server.authenticated()
        conversation.check("""
            C: MAIL FROM:<alice@example.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
        """)
        return conversation

    def stored_(self, text: bytes) -> bytes:
        """
        @return: the message as bob gets it.
        """
        return self.stored(
            text,
            reversePath="<alice@example.test>",
            recipient="bob@example.test",
            protocol="ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384)",
        )

    def test_data(self) -> None:
        """What DATA brings is completed."""
        server = self.serve(submission=True)
        conversation = self.begin(server)
        conversation.send(b"DATA\r\n")
        conversation.check("""
            C: From: alice@example.test
            C: Bcc: bob@example.test
            C:
            C: ..text
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        self.assertEqual(
            server.inbox("bob"),
            [self.stored_(b"From: alice@example.test\r\n" + DATE + MESSAGE_ID + b"\r\n.text\r\n")],
        )

    def test_chunks(self) -> None:
        """So is what BDAT brings, whatever the chunks, and also without any line's end."""
        server = self.serve(submission=True)
        conversation = self.begin(server)
        replies = [
            conversation.send(b"BDAT %d%b\r\n%b" % (len(chunk), last, chunk))
            for chunk, last in ((b"Su", b""), (b"bject: x\r\nBc", b""), (b"c: a\r\nA: 1", b" LAST"))
        ]
        self.assertEqual([reply[:3] for reply in replies], [b"250"] * 3, replies)
        self.assertEqual(
            server.inbox("bob"),
            [self.stored_(b"Subject: x\r\nA: 1\r\n" + DATE + MESSAGE_ID)],
        )

    def test_normalised(self) -> None:
        """Where bare line ends become CRLF, that comes first, so that no Bcc hides behind one."""
        server = self.serve(submission=True, bareNewlines="normalise")
        conversation = self.begin(server)
        for chunk, last in ((b"A: 1\nBcc: a\rDa", b""), (b"te: 2\r\n\nbody\r", b" LAST")):
            conversation.send(b"BDAT %d%b\r\n%b" % (len(chunk), last, chunk))
        self.assertEqual(
            server.inbox("bob"),
            [self.stored_(b"A: 1\r\nDate: 2\r\n" + MESSAGE_ID + b"\r\nbody\r\n")],
        )

    def test_relayed(self) -> None:
        """What is relayed is completed, too."""
        server = self.serve(submission=True, queue=True)
        conversation = server.authenticated()
        conversation.send(b"MAIL FROM:<alice@example.test>\r\nRCPT TO:<x@far.test>\r\nDATA\r\n")
        conversation.send(b"Subject: x\r\nBcc: y@far.test\r\n\r\n.\r\n")
        ((_, text),) = server.queued()
        self.assertTrue(text.endswith(b"\r\nSubject: x\r\n" + DATE + MESSAGE_ID + b"\r\n"), text)
        self.assertNotIn(b"y@far.test", text)

    def test_notSubmission(self) -> None:
        """A server that receives alters nothing (RFC 5321 §6.4), also from who is logged in."""
        server = self.serve()
        conversation = self.begin(server)
        conversation.send(b"DATA\r\n")
        conversation.send(b"Bcc: x\r\n\r\n.\r\n")
        self.assertEqual(server.inbox("bob"), [self.stored_(b"Bcc: x\r\n\r\n")])
