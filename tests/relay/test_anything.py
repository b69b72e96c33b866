"""
Hosts that do anything at all.
"""

from __future__ import annotations

import random
from typing import Any

from tests.relay.server import CLOSE, HANG
from tests.relay.support import message
from tests.relay.test_relay import CONTENT, MX, RelayTestCase
from twisted_mailstack.errors import MailError
from twisted_mailstack.relay.mtasts import parsePolicy
from twisted_mailstack.smtp.clientsession import BytesContent

STAGES = ("greeting", "EHLO", "HELO", "STARTTLS", "MAIL", "RCPT", "DATA", "message", "RSET", "QUIT")
FAULTS = (
    *(CLOSE, HANG, "", "421 4.3.2 Bye", "450 4.0.0 No", "550 5.0.0 No", "250 OK", "354 Go"),
    *("220 Go", "334 ", "599", "2", "250-\r\n250-PIPELINING", "\0\xff", "250 OK\r\n250 OK"),
    *("250-a\r\n250-STARTTLS\r\n250 CHUNKING", "250-a\r\n250-PIPELINING\r\n250 SIZE 1"),
)


class AnythingTests(RelayTestCase):
    """
    Whatever a host does, and when, a message has a result or an error that says so, and nothing is
    left open.
    """

    def test_anything(self) -> None:
        """Several things go wrong at once, with and without TLS, policies and demands."""
        chance = random.Random(8460)
        for number in range(200):
            self.once(chance)
            self.assertEqual(self.flushLoggedErrors(), [], number)

    def once(self, chance: random.Random) -> None:
        """One message on its way to one host."""
        self.server.certificate = chance.choice([None, self.issued.server, self.nobodys.server])
        self.server.offered = chance.choice([(), ("PIPELINING",), ("PIPELINING", "CHUNKING")])
        self.server.replies = {
            chance.choice(["", "tls "]) + chance.choice(STAGES): chance.choice(FAULTS)
            for _ in range(chance.randrange(4))
        }
        mode = chance.choice(["none", "testing", "enforce"])
        text = f"version: STSv1\nmode: {mode}\nmx: {MX}\nmax_age: 1\n"
        self.policies.policy = parsePolicy(text.encode())
        parameters: dict[str, str | None] = {"REQUIRETLS": None} if chance.random() < 0.2 else {}
        sent = message("bob@example.org", "carol@example.org", **parameters)
        before = self.taken()
        attempt = self.start(self.relay().connect("example.org", sent))
        self.wait(attempt)
        result: Any = self.successResultOf(attempt.addErrback(lambda failure: failure.value))
        if isinstance(result, Exception):
            self.assertIsInstance(result, MailError)
            self.assertEqual(self.taken(), before)
        else:
            sending = self.start(result.send(sent, BytesContent(CONTENT)))
            self.wait(sending)
            results = self.successResultOf(sending)
            self.assertEqual(len(results), 2)
            if not self.lies():
                delivered = any(each.delivered for each in results)
                # (An empty one, for nobody, doesn't count: RFC 2920 §3.1.)
                self.assertEqual(self.taken() - before, delivered, self.server.replies)
            closing = self.start(result.close())
            self.wait(closing)
            self.successResultOf(closing)
        self.internet.wait(60)
        self.assertIdle()

    def lies(self) -> bool:
        """
        @return: whether the host may say that it took what it didn't, or the contrary.
        """
        replies = self.server.replies
        return "message" in str(replies) or bool(
            {"354 Go", "334 ", FAULTS[-3]} & set(replies.values())
        )

    def taken(self) -> int:
        """
        @return: how often the message was taken.
        """
        return self.server.messages.count(CONTENT)

    def wait(self, work: Any) -> None:
        """Let it end, though nothing may come."""
        for _ in range(12):
            if work.called:
                return
            self.internet.wait(101)
