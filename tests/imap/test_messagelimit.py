"""
MESSAGELIMIT (RFC 9738).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.imap.session import IMAPSettings
from twisted_mailstack.testing.conversation import Conversation


class LimitTests(SynchronousTestCase):
    """
    A mailbox with more messages than one command may be about.
    """

    def setUp(self) -> None:
        """1,005 messages, and a limit of 1,000."""
        self.server = self.filled(Server(maxMessages=1000))

    def filled(self, server: Server) -> Server:
        """
        @return: it, with messages.
        """
        writer = server.account.newContent()
        writer.write(MESSAGE)
        staged = now(writer.finish())
        inbox = now(server.account.openMailbox("INBOX"))
        now(inbox.append([(staged, frozenset(), 0, 0)] * 1005))
        return server

    def lines(self, client: Conversation, command: bytes) -> list[bytes]:
        """
        @return: the answer.
        """
        return client.send(b"a %b\r\n" % command).split(b"\r\n")[:-1]

    def test_capability(self) -> None:
        """The limit is announced where there is one."""
        (line, _) = self.lines(self.server.login(), b"CAPABILITY")
        self.assertIn(b"MESSAGELIMIT=1000", line.split())
        (line, _) = self.lines(Server().login(), b"CAPABILITY")
        self.assertNotIn(b"MESSAGELIMIT", line)

    def test_fetch(self) -> None:
        """FETCH gives the newest, and names the oldest of them."""
        client = self.server.select()
        for command, name in ((b"FETCH 1:*", b"FETCH"), (b"UID FETCH 1:*", b"UID FETCH")):
            *told, done = self.lines(client, command + b" (UID)")
            self.assertEqual(len(told), 1000)
            self.assertTrue(told[0].startswith(b"* 6 FETCH "))
            self.assertEqual(done, b"a OK [MESSAGELIMIT 1000 6] %b completed" % name)
        # No more than the limit.
        self.assertEqual(self.lines(client, b"FETCH 1:1000 (UID)")[-1], b"a OK FETCH completed")

    def test_store(self) -> None:
        """STORE changes the newest."""
        client = self.server.select()
        *_, done = self.lines(client, b"STORE 1:* +FLAGS.SILENT (\\Seen)")
        self.assertEqual(done, b"a OK [MESSAGELIMIT 1000 6] STORE completed")
        self.assertEqual(
            self.lines(client, b"SEARCH RETURN (ALL) UNSEEN")[0],
            b'* ESEARCH (TAG "a") ALL 1:5',
        )

    def test_twoCodes(self) -> None:
        """A response has one code: the other is in an untagged one."""
        client = self.server.select()
        *_, told, done = self.lines(client, b"STORE 1:* (UNCHANGEDSINCE 1) +FLAGS.SILENT (\\Seen)")
        self.assertEqual(told, b"* NO [MESSAGELIMIT 1000 6] done in part")
        self.assertTrue(done.startswith(b"a OK [MODIFIED 6:1005] "), done)

    def test_uidExpunge(self) -> None:
        """UID EXPUNGE removes the newest."""
        client = self.server.select()
        for numbers in (b"1:600", b"601:1005"):
            client.send(b"s STORE %b +FLAGS.SILENT (\\Deleted)\r\n" % numbers)
        *_, done = self.lines(client, b"UID EXPUNGE 1:*")
        self.assertEqual(done, b"a OK [MESSAGELIMIT 1000 6] UID EXPUNGE completed")
        self.assertEqual(self.lines(client, b"SEARCH ALL")[0], b"* SEARCH 1 2 3 4 5")

    def test_searchKeys(self) -> None:
        """
        §3.2: UIDAFTER and UIDBEFORE go on from a UID, which needn't be there; they take no set.
        """
        client = self.server.login()
        client.send(b"e ENABLE UIDONLY\r\ns SELECT INBOX\r\n")
        for keys, found in (
            (b"UIDAFTER 1003", b" ALL 1004:1005"),
            (b"UIDBEFORE 3", b" ALL 1:2"),
            (b"UIDBEFORE 1", b""),
            (b"UIDAFTER 1005", b""),
            (b"UIDAFTER 4294967295", b""),
            (b"UIDAFTER 5 UIDBEFORE 8", b" ALL 6:7"),
            (b"NOT UIDAFTER 1", b" ALL 1"),
        ):
            answer = self.lines(client, b"UID SEARCH RETURN (ALL) " + keys)
            self.assertEqual(answer[0], b'* ESEARCH (TAG "a") UID' + found, keys)
        for keys in (b"UIDAFTER", b"UIDAFTER 0", b"UIDBEFORE 1:2", b"UIDAFTER *", b"UIDBEFORE $"):
            (done,) = self.lines(client, b"UID SEARCH " + keys)
            self.assertTrue(done.startswith(b"a BAD "), keys)
        (done,) = self.lines(client, b"UID SEARCH UIDBEFORE 4294967296")
        self.assertTrue(done.startswith(b"a BAD "), done)

    def test_allOrNothing(self) -> None:
        """COPY and MOVE of too many do nothing."""
        client = self.server.select()
        for command in (b"COPY 1:* Sent", b"UID COPY 1:* Sent", b"MOVE 1:* Sent"):
            (done,) = self.lines(client, command)
            self.assertEqual(done, b"a NO [MESSAGELIMIT 1000] Too many messages at once")
        self.assertIn(b"MESSAGES 0", self.lines(client, b"STATUS Sent (MESSAGES)")[0])

    def test_noLimit(self) -> None:
        """Without a limit nothing changes."""
        client = self.filled(Server()).select()
        self.assertEqual(len(self.lines(client, b"FETCH 1:* (UID)")), 1006)

    def test_settings(self) -> None:
        """RFC 9738 §3: a limit is at least 1,000."""
        self.assertRaises(ValueError, IMAPSettings, hostname="x", maxMessages=999)
