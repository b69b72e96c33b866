"""
A store that fails at its n-th call, for every n: the client is told of a temporary failure, and
never that a message was taken which wasn't.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.smtp.support import PLAIN, Server, SMTPTestCase
from twisted_mailstack.errors import StoreDamaged, TemporaryFailure
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.testing.faulty import Fault, FaultyStore


class FaultTests(SMTPTestCase):
    """
    See the module.
    """

    LINES = (
        "EHLO client.test",
        f"AUTH PLAIN {PLAIN}",
        "VRFY alice@example.test",
        "MAIL FROM:<alice@example.test> SIZE=100",
        "RCPT TO:<alice@example.test>",
        "RCPT TO:<team+tag@example.test>",
        "RCPT TO:<someone@example.test>",
        "RCPT TO:<Postmaster>",
        "RCPT TO:<someone@far.test>",
        "DATA",
        "Subject: x\r\n\r\nQUIT\r\n.",
        "NOOP",
        "QUIT",
    )

    def make(self) -> tuple[Server, FaultyStore]:
        """
        @return: a server, and what it sees of its store.
        """
        stores: list[FaultyStore] = []

        def around(store: IMailStore) -> FaultyStore:
            stores.append(FaultyStore(store))
            return stores[0]

        server = self.serve(around=around, verify=True)
        server.alias("team@example.test", "bob@example.test", "other@example.test")
        server.alias("other@example.test", "bob@example.test", "alice@example.test")
        return server, stores[0]

    def talk(self, server: Server) -> dict[str, str]:
        """
        As a client does it: the text is sent only after 354.

        @return: the code of the reply to each line.
        """
        conversation = server.connect(secure=True)
        conversation.wire.take()
        codes: dict[str, str] = {}
        for line in self.LINES:
            if line.endswith("\r\n.") and codes["DATA"] != "354":
                continue
            answer = conversation.send(line.encode() + b"\r\n")
            self.assertRegex(answer, rb"\A(?:250-[^\r\n]*\r\n)*[0-9]{3} [^\r\n]*\r\n\Z", line)
            self.assertNotIn(b"Fault", answer)
            codes[line] = answer.split(b"\r\n")[-2][:3].decode()
        self.assertTrue(conversation.finished)
        self.assertIsNone(conversation.failure)
        return codes

    def test_none(self) -> None:
        """Without failures all is as it should be."""
        server, _ = self.make()
        codes = self.talk(server)
        self.assertEqual(
            list(codes.values()),
            "250 235 250 250 250 250 550 250 550 354 250 250 221".split(),
        )
        self.assertEqual([len(server.inbox(name)) for name in ("alice", "bob")], [1, 1])

    def test_each(self) -> None:
        """One call after the other fails, in three ways."""
        server, store = self.make()
        self.talk(server)
        calls = list(store.calls)
        self.assertGreater(len(calls), 15)
        kinds: tuple[Callable[[], Exception], ...] = (Fault, TemporaryFailure, StoreDamaged)
        for kind in kinds:
            for number, name in enumerate(calls, 1):
                server, store = self.make()
                store.failAt(number, kind)
                codes = self.talk(server)
                if kind is Fault:
                    self.assertEqual(len(self.flushLoggedErrors(Fault)), 1, name)
                failed = [line for line, code in codes.items() if code in ("451", "454")]
                self.assertGreaterEqual(len(failed), 1, name)
                self.assertEqual(server.store.staged, set(), name)
                taken = codes.get(self.LINES[-3]) == "250"
                alice, bob = (len(server.inbox(each)) for each in ("alice", "bob"))
                reached = {
                    line
                    for line, code in codes.items()
                    if line.startswith("RCPT") and code == "250"
                }
                expected = taken and any(
                    line in reached for line in (self.LINES[4], self.LINES[5], self.LINES[7])
                )
                self.assertEqual(alice, int(expected), (name, codes))
                self.assertEqual(bob, int(taken and self.LINES[5] in reached), (name, codes))
