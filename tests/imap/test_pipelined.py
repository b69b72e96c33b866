"""
Commands that are sent without waiting for answers (RFC 9051 §5.5), and mailboxes that are renamed,
deleted or emptied under a session (RFC 2180), for clients of every kind and over both stores.
"""

from __future__ import annotations

import re
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.client import splitResponses
from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.conversation import Conversation

#: Of each kind one: what reads, what changes flags, what adds, what removes, what selects.
COMMANDS = (
    b"FETCH 1:* (UID FLAGS)",
    b"UID FETCH 2 BODY[TEXT]",
    b"STORE 2 +FLAGS (\\Deleted)",
    b"UID STORE 1:3 FLAGS.SILENT (work)",
    b"SEARCH DELETED",
    b"UID SEARCH RETURN (SAVE ALL) SEEN",
    b"FETCH $ (UID FLAGS)",
    b"EXPUNGE",
    b"UID EXPUNGE 1:2",
    b"COPY 1:2 INBOX",
    b"MOVE 1 Sent",
    b"APPEND INBOX {3+}\r\nnew",
    b"REPLACE 1 INBOX {3+}\r\nnew",
    b"SELECT Sent",
    b"EXAMINE INBOX",
    b"CLOSE",
    b"STATUS INBOX (MESSAGES UNSEEN UIDNEXT)",
    b"SORT (REVERSE ARRIVAL) UTF-8 ALL",
    b"NOOP",
)
#: What a client enables, and the NOTIFY that it gives, by its kind.
KINDS: dict[str, tuple[str, bytes]] = {
    "plain": ("", b""),
    "QRESYNC": ("QRESYNC", b""),
    "UIDONLY": ("UIDONLY", b""),
    "NOTIFY": ("", b"NOTIFY SET (SELECTED (MessageNew MessageExpunge FlagChange))"),
    "all": ("QRESYNC UIDONLY", b"NOTIFY SET (SELECTED (MessageNew MessageExpunge FlagChange))"),
}


class StoresTestCase(SynchronousTestCase):
    """
    Servers over both stores.
    """

    def servers(self) -> list[Server]:
        """
        @return: one over each, with four messages in INBOX, none recent.
        """
        stepped = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(stepped.store.stop()))
        servers = [Server(), stepped]
        for server in servers:
            for number in range(4):
                server.deliver(b"\r\ntext\r\n", flags=["\\Deleted"] if number == 2 else [])
            now(now(server.account.openMailbox("INBOX")).claimRecent())
        return servers

    def client(self, server: Server, kind: str, mailbox: str = "INBOX") -> Conversation:
        """
        @return: a client of that kind, with the mailbox selected.
        """
        enabled, notify = KINDS[kind]
        client = server.login()
        if enabled:
            client.send(f"e ENABLE {enabled}\r\n".encode())
        self.assertIn(b"s OK ", client.send(f"s SELECT {mailbox}\r\n".encode()))
        if notify:
            self.assertIn(b"n OK ", client.send(b"n " + notify + b"\r\n"))
        return client


class PipelinedTests(StoresTestCase):
    """
    Pairs of commands in one piece.
    """

    def answers(self, server: Server, pieces: list[bytes]) -> bytes:
        """
        @return: all that a new client is told.
        """
        client = server.select()
        answer = b"".join(client.send(piece) for piece in pieces)
        client.disconnect()
        return answer

    def test_everyPair(self) -> None:
        """
        Two commands that come in one piece are answered as if the second had been sent when the
        first was answered: the server needn't tell which pairs are ambiguous (RFC 9051 §5.5), as it
        runs none at once. The time of arrival is all that may differ.
        """
        for first, second in product(COMMANDS, repeat=2):
            pair = [b"a " + first + b"\r\n", b"b " + second + b"\r\n"]
            apart = self.answers(self.four(), pair)
            self.assertEqual(self.answers(self.four(), [b"".join(pair)]), apart, pair)
            ends = [each[:4] for each in splitResponses(apart) if each[:2] in (b"a ", b"b ")]
            self.assertEqual([each[:2] for each in ends], [b"a ", b"b "], (pair, apart))

    def four(self) -> Server:
        """
        @return: a new server in memory, as those of L{servers}.
        """
        server = Server()
        for number in range(4):
            server.deliver(b"\r\ntext\r\n", flags=["\\Deleted"] if number == 2 else [])
        return server

    def test_everyPairOverSQL(self) -> None:
        """Over the SQL store, where each of them waits."""
        pairs = [
            (
                b"STORE 1:* +FLAGS.SILENT (x)",
                b"FETCH 1:* FLAGS",
                rb"(?s)a OK.*\* 1 FETCH .*x.*b OK",
            ),
            (b"APPEND INBOX {3+}\r\nnew", b"FETCH * UID", rb"(?s)EXISTS.*a OK.*UID 5\).*b OK"),
            (b"EXPUNGE", b"FETCH 3 UID", rb"(?s)\* 3 EXPUNGE.*a OK.*\* 3 FETCH \(UID 4\).*b OK"),
            (b"MOVE 1 Sent", b"FETCH 1 UID", rb"(?s)EXPUNGE.*a OK.*\* 1 FETCH \(UID 2\).*b OK"),
            (b"SELECT Sent", b"SEARCH ALL", rb"(?s)\* 0 EXISTS.*a OK.*\* SEARCH\r\nb OK"),
            (b"CLOSE", b"FETCH 1 UID", rb"(?s)a OK.*b BAD"),
            (b"CREATE new", b"SELECT new", rb"(?s)a OK.*b OK"),
            (b"COPY 1 new", b"CREATE new", rb"(?s)a NO \[TRYCREATE\].*b OK"),
            (b"UID SEARCH RETURN (SAVE) DELETED", b"FETCH $ UID", rb"(?s)a OK.*3 FETCH.*b OK"),
            (b"FETCH 1 BODY[TEXT]", b"SEARCH SEEN", rb"(?s)\\Seen.*a OK.*\* SEARCH 1\r\nb OK"),
        ]
        for first, second, expected in pairs:
            server = self.servers()[1]
            client = server.select()
            server.store.atOnce = False
            answer = client.send(b"a " + first + b"\r\nb " + second + b"\r\n")
            server.store.atOnce = True
            self.assertRegex(answer, expected)


class UnderneathTests(StoresTestCase):
    """
    What others do to the mailbox that is selected.
    """

    def test_renamed(self) -> None:
        """
        If another session renames the mailbox, who has it selected goes on (RFC 2180 §3.4): it is
        told of new mail and of flags, and changes them; the old name, if somebody makes a mailbox
        of it, is of another.
        """
        for server, kind in product(self.servers(), KINDS):
            now(server.account.createMailbox("here"))
            server.deliver(mailbox="here")
            client, other = self.client(server, kind, "here"), server.login()
            self.assertIn(b"a OK", other.send(b"a RENAME here there\r\nb CREATE here\r\n"))
            server.deliver(mailbox="here")
            server.deliver(mailbox="there")
            client.settle()
            told = client.wire.take() + client.send(b"a NOOP\r\n")
            self.assertEqual(re.findall(rb"\* \d+ EXISTS", told), [b"* 2 EXISTS"], kind)
            self.assertIn(
                b"\r\nb OK", b"\r\n" + client.send(b"b UID STORE 1:* +FLAGS.SILENT (x)\r\n")
            )
            found = [flags for _, flags in self.flags(server, "there") if "x" in flags]
            self.assertEqual(len(found), 2, kind)
            self.assertEqual([f for _, f in self.flags(server, "here") if "x" in f], [])
            client.send(b"c UID STORE 1 +FLAGS (\\Deleted)\r\nd EXPUNGE\r\n")
            self.assertEqual([uid for uid, _ in self.flags(server, "there")], [2])
            client.disconnect()
            other.send(b"c DELETE here\r\nd DELETE there\r\n")

    def flags(self, server: Server, name: str) -> list[tuple[int, frozenset[str]]]:
        """
        @return: UIDs and flags.
        """
        changes = now(now(server.account.openMailbox(name)).changesSince(0))
        return list(zip(changes.uids, changes.flags, strict=True))

    def test_deleted(self) -> None:
        """
        If another session deletes the mailbox, each kind of client is told so and disconnected
        (RFC 2180 §3.3), at once if it listens; and the command under way is answered.
        """
        for server, kind, command in product(
            self.servers(),
            KINDS,
            (b"NOOP", b"UID FETCH 1:* FLAGS", b"UID STORE 1 +FLAGS (x)", b"IDLE"),
        ):
            now(server.account.createMailbox("here"))
            server.deliver(mailbox="here")
            client, other = self.client(server, kind, "here"), server.login()
            if command == b"IDLE":
                self.assertEqual(client.send(b"i IDLE\r\n"), b"+ idling\r\n")
            self.assertIn(b"a OK", other.send(b"a DELETE here\r\n"))
            client.settle()
            told = client.wire.take()
            if KINDS[kind][1] or command == b"IDLE":
                self.assertEqual(told, b"* BYE the selected mailbox was deleted\r\n", kind)
            else:
                self.assertEqual(told, b"")
                told = client.send(b"a " + command + b"\r\n")
                self.assertEqual(told.count(b"* BYE "), 1, told)
                self.assertRegex(told, rb"\r\na (OK|NO) ")
            self.assertTrue(client.finished, (kind, command))
            self.assertIsNone(client.failure)
            other.disconnect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_expungedUnderneath(self) -> None:
        """
        Messages that another session expunged (RFC 2180 §4): FETCH answers for those that are left
        and says NO for the others, or gives what it knows of them (§4.1); STORE changes those that
        are left and says NO unless it is silent (§4.2.1-4.2.3); COPY copies what is left (§4.4);
        with UIDs none of that is a failure (RFC 9051 §6.4.9). EXPUNGE is told where it may be.
        """
        table = (
            (b"FETCH 1:4 UID", b"OK", 4),
            (b"FETCH 1:4 RFC822.SIZE", b"NO [EXPUNGEISSUED]", 2),
            (b"STORE 1:4 +FLAGS (x)", b"NO [EXPUNGEISSUED]", 2),
            (b"STORE 1:4 +FLAGS.SILENT (x)", b"OK", 0),
            (b"SEARCH ALL", b"OK", 0),
            (b"COPY 1:4 Sent", b"OK [COPYUID", 0),
            (b"COPY 1:2 Sent", b"NO [EXPUNGEISSUED]", 0),
            (b"MOVE 1:2 Sent", b"NO [EXPUNGEISSUED]", 0),
            (b"UID FETCH 1:4 RFC822.SIZE", b"OK", 2),
            (b"UID STORE 1:4 +FLAGS (x)", b"OK", 2),
            (b"UID COPY 1:2 Sent", b"OK", 0),
            (b"UID MOVE 1:2 Sent", b"OK", 0),
            (b"UID SEARCH ALL", b"OK", 0),
        )
        for command, expected, fetched in table:
            for server in self.servers():
                client = server.select()
                inbox = now(server.account.openMailbox("INBOX"))
                now(inbox.expunge(NumberSet([(1, 2)]), False))
                answer = client.send(b"a " + command + b"\r\n")
                self.assertIn(b"\r\na " + expected, b"\r\n" + answer, command)
                self.assertEqual(len(re.findall(rb"\* \d+ FETCH", answer)), fetched, answer)
                held = command.startswith((b"FETCH", b"STORE", b"SEARCH"))
                self.assertEqual(answer.count(b" EXPUNGE\r\n"), 0 if held else 2, answer)
                answer = client.send(b"b NOOP\r\n")
                self.assertEqual(answer.count(b" EXPUNGE\r\n"), 2 if held else 0, answer)
                client.disconnect()

    def test_flagsUnderneath(self) -> None:
        """
        Each kind of client is told what others made of flags, in its own words, and what it asks
        for is as it is.
        """
        words = {
            "plain": rb"\* 2 FETCH \(FLAGS \(y\)\)",
            "QRESYNC": rb"\* 2 FETCH \(UID 2 FLAGS \(y\) MODSEQ \(\d+\)\)",
            "UIDONLY": rb"\* 2 UIDFETCH \(FLAGS \(y\)\)",
            "NOTIFY": rb"\* 2 FETCH \(UID 2 FLAGS \(y\)\)",
            "all": rb"\* 2 UIDFETCH \(FLAGS \(y\) MODSEQ \(\d+\)\)",
        }
        for server in self.servers():
            for kind, expected in words.items():
                inbox = now(server.account.openMailbox("INBOX"))
                now(inbox.storeFlags(NumberSet([(2, 2)]), FlagOperation.REPLACE, frozenset()))
                client = self.client(server, kind)
                now(inbox.storeFlags(NumberSet([(2, 2)]), FlagOperation.ADD, frozenset(("y",))))
                client.settle()
                self.assertRegex(client.wire.take() + client.send(b"a NOOP\r\n"), expected)
                client.disconnect()
