"""
A store that fails, at whichever call, while messages are added: nothing is half done, nothing
hangs, and the session goes on. C{twisted_mailstack.imap.commands.append}, and what is built on it.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from tests.imap.test_catenate import DRAFT
from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.storage.memory import MemoryMailStore, MemoryStaged
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.testing.faulty import Fault, FaultyStore

#: Commands in Drafts, whose one message has UID 1, and what they leave in Drafts and Sent.
COMMANDS: dict[bytes, tuple[int, int]] = {
    b"APPEND Sent (\\Seen kw) {3+}\r\nabc": (1, 1),
    b"APPEND Sent {3+}\r\nabc (\\Seen kw) {3+}\r\ndef": (1, 2),
    b"APPEND Sent CATENATE (URL ;UID=1 TEXT {1+}\r\nx URL /Drafts/;UID=1/;SECTION=1) {1+}\r\ny": (
        1,
        2,
    ),
    b"APPEND Sent ~{45+}\r\nContent-Transfer-Encoding: binary\r\n\r\nab\0\0efg": (1, 1),
    b"APPEND Sent UTF8 (~{5+}\r\nabcde)": (1, 1),
    b"REPLACE 1 Sent {1+}\r\nx": (0, 1),
    b"UID REPLACE 1 Drafts CATENATE (URL ;UID=1 TEXT {1+}\r\nx)": (1, 0),
}


class FaultTests(SynchronousTestCase):
    """
    See the module.
    """

    def setUp(self) -> None:
        """Who stages something lets go of it."""
        self.staged: set[int] = set()
        create, discard = MemoryStaged.__init__, MemoryStaged.discard

        def created(staged: MemoryStaged, data: bytes) -> None:
            create(staged, data)
            self.staged.add(id(staged))

        def discarded(staged: MemoryStaged) -> None:
            discard(staged)
            self.staged.discard(id(staged))

        self.patch(MemoryStaged, "__init__", created)
        self.patch(MemoryStaged, "discard", discarded)

    def start(self) -> tuple[Conversation, FaultyStore]:
        """
        @return: a session in Drafts, and the store that may fail.
        """
        self.store = FaultyStore(MemoryMailStore())
        self.server = Server(store=cast(IMailStore, self.store))
        self.server.deliver(DRAFT, "Drafts")
        client = self.server.select("Drafts")
        self.store.calls.clear()
        return client, self.store

    def left(self) -> tuple[int, int]:
        """
        @return: how many messages are in Drafts and Sent.
        """
        account = cast(Any, self.server.account).wrapped
        drafts, sent = (
            now(now(account.openMailbox(name)).status()).messages for name in ("Drafts", "Sent")
        )
        return drafts, sent

    def test_everyCall(self) -> None:
        """Each command, failing at each of its calls in turn, for a known reason and an unknown."""
        for command, done in COMMANDS.items():
            client, store = self.start()
            self.assertRegex(client.send(b"a " + command + b"\r\n"), b"a OK ", command)
            self.assertEqual(self.left(), done, command)
            names = list(store.calls)
            for number, name in enumerate(names, 1):
                for error in (Fault, TemporaryFailure):
                    client, store = self.start()
                    store.failAt(number, error)
                    answer = client.send(b"a " + command + b"\r\n")
                    store.heal()
                    where = (command, number, name, error, answer)
                    match = b"a (NO|OK) [^\r]*\r\n\\Z"
                    self.assertRegex(answer, match, where)
                    if b"a OK " in answer:
                        # What was to be told besides is told later.
                        self.assertEqual(self.left(), done, where)
                    else:
                        self.assertEqual(self.left(), (1, 0), where)
                    self.assertEqual(self.staged, set(), where)
                    self.assertRegex(client.send(b"b NOOP\r\n"), b"b OK ", where)
                    self.flushLoggedErrors(Fault, TemporaryFailure)

    def test_URLs(self) -> None:
        """URLFETCH is NIL or NO, GENURLAUTH and RESETKEY are NO; the session goes on."""
        plain = b"imap://alice%40example.test@imap.example.test/Drafts/;UID=1;URLAUTH=anonymous"
        client, store = self.start()
        authority = URLAuthority(cast(Any, store), "imap.example.test", lambda: 0)
        url = now(authority.authorise(self.server.account, plain))
        for command in (
            b'GENURLAUTH "' + plain + b'" INTERNAL',
            b'URLFETCH "' + url + b'"',
            b"RESETKEY Drafts",
        ):
            number = 0
            while True:
                client = self.server.login()
                self.server.sessions[-1].urls = authority
                number += 1
                before = len(store.calls)
                store.failAt(number, TemporaryFailure)
                answer = client.send(b"a " + command + b"\r\n")
                store.heal()
                if len(store.calls) - before < number:
                    break
                if client.finished:
                    # Octets were promised that couldn't be read.
                    self.assertIn(b"URLFETCH", answer)
                    self.flushLoggedErrors(TemporaryFailure)
                    continue
                self.assertRegex(answer, b"a NO |NIL\r\na OK ", (command, number))
                self.assertRegex(client.send(b"b NOOP\r\n"), b"b OK ")
            self.assertTrue(number > 1, command)
