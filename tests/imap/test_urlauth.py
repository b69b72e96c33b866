"""
URLAUTH: C{twisted_mailstack.imap.extensions.urlauth}, C{twisted_mailstack.auth.urls}.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from tests.imap.test_catenate import DRAFT
from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.imap.extensions import urlauth
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.records import SMALL_MESSAGE
from twisted_mailstack.testing.conversation import Conversation

HOST = b"imap.example.test"
ALICE = b"imap://alice%40example.test@" + HOST
INBOX = ALICE + b"/INBOX;UIDVALIDITY=1/;UID=1"


class URLAuthTests(SynchronousTestCase):
    """
    RFC 4467; a draft in alice's INBOX, with UID 1.
    """

    def setUp(self) -> None:
        """Alice and bob are logged in."""
        self.server = Server()
        self.server.deliver(DRAFT)
        self.server.addAccount("bob")
        self.authority = URLAuthority(
            self.server.store, "imap.example.test", self.server.clock.seconds
        )
        self.alice = self.login("alice")
        self.bob = self.login("bob")

    def login(self, user: str) -> Conversation:
        """
        @return: a session of that user.
        """
        client = self.server.login(user)
        self.server.sessions[-1].urls = self.authority
        return client

    def authorise(self, rump: bytes) -> bytes:
        """
        @return: the URL that alice gets.
        """
        answer = self.alice.send(b'a GENURLAUTH "' + rump + b'" INTERNAL\r\n')
        match = re.match(rb'\* GENURLAUTH "([^"]+)"\r\na OK GENURLAUTH completed\r\n\Z', answer)
        assert match is not None, answer
        return match.group(1)

    def fetch(self, client: Conversation, url: bytes) -> bytes | None:
        """
        @return: what that client gets for a URL.
        """
        answer = client.send(b'u URLFETCH "' + url + b'"\r\n')
        shown = b'* URLFETCH "' + url + b'" '
        self.assertTrue(answer.startswith(shown), answer)
        self.assertTrue(answer.endswith(b"\r\nu OK URLFETCH completed\r\n"), answer)
        value = answer[len(shown) : -len(b"\r\nu OK URLFETCH completed\r\n")]
        if value == b"NIL":
            return None
        size, _, data = value.partition(b"\r\n")
        self.assertEqual(size, b"{%d}" % len(data))
        return data

    def test_capability(self) -> None:
        """Where URLs can be authorised, and only there."""
        self.assertRegex(self.alice.send(b"a CAPABILITY\r\n"), rb" URLAUTH URL-PARTIAL[ \r]")
        without = self.server.login()
        self.assertNotIn(b" URLAUTH ", without.send(b"a CAPABILITY\r\n"))
        for command in (b"GENURLAUTH " + INBOX + b" INTERNAL", b"RESETKEY"):
            self.assertRegex(without.send(b"a " + command + b"\r\n"), b"^a (NO|BAD) ")

    def test_example(self) -> None:
        """
        §7's examples: a URL, its token at least 128 bits behind it, the URL otherwise as it was
        given; the same each time; and what it gives.
        """
        rump = INBOX + b"/;Section=1;urlauth=anonymous"
        url = self.authorise(rump)
        self.assertRegex(url, re.escape(rump) + rb":internal:[0-9a-f]{34,}\Z")
        self.assertEqual(self.authorise(rump), url)
        for client in (self.alice, self.bob):
            self.assertEqual(self.fetch(client, url), b"Our travel agent\r\n")
        self.assertEqual(self.fetch(self.bob, self.authorise(INBOX + b";URLAUTH=anonymous")), DRAFT)

    def test_several(self) -> None:
        """Several in one command."""
        one = INBOX + b"/;SECTION=1;URLAUTH=anonymous"
        other = INBOX + b"/;SECTION=2;URLAUTH=authuser"
        answer = self.alice.send(
            b'a GENURLAUTH "' + one + b'" INTERNAL "' + other + b'" internal\r\n'
        )
        match = re.match(rb'\* GENURLAUTH "(\S+)" "(\S+)"\r\na OK ', answer)
        assert match is not None
        first, second = match.groups()
        self.assertNotEqual(first[-64:], second[-64:])
        answer = self.bob.send(b'u URLFETCH "' + first + b'" "' + second + b'"\r\n')
        self.assertEqual(answer.count(b"* URLFETCH "), 2)
        self.assertIn(b"{18}\r\nOur travel agent\r\n\r\n", answer)
        self.assertIn(b"{6}\r\nAAAA\r\n", answer)

    def test_access(self) -> None:
        """§3: who may use it; what is for submission isn't for IMAP."""
        for access, alice, bob in (
            (b"anonymous", True, True),
            (b"authuser", True, True),
            (b"user+bob%40example.test", False, True),
            (b"user+BOB%40EXAMPLE.TEST", False, True),
            (b"user+alice%40example.test", True, False),
            (b"user+nobody%40example.test", False, False),
            (b"user+nonsense", False, False),
            (b"submit+bob%40example.test", False, False),
            (b"submit+alice%40example.test", False, False),
        ):
            url = self.authorise(INBOX + b"/;SECTION=2;URLAUTH=" + access)
            for client, may in ((self.alice, alice), (self.bob, bob)):
                self.assertEqual(self.fetch(client, url), b"AAAA\r\n" if may else None, access)

    def test_expire(self) -> None:
        """§3: "EXPIRE": until then, and not then."""
        rump = INBOX + b"/;SECTION=2;EXPIRE=1970-01-01T00:01:40Z;URLAUTH=anonymous"
        url = self.authorise(rump)
        self.server.clock.advance(99)
        self.assertEqual(self.fetch(self.bob, url), b"AAAA\r\n")
        self.server.clock.advance(1)
        self.assertIdentical(self.fetch(self.bob, url), None)
        self.assertRegex(self.alice.send(b'a GENURLAUTH "' + rump + b'" INTERNAL\r\n'), b"^a NO ")

    def test_forged(self) -> None:
        """Whatever is changed of a URL, it isn't authorised any more."""
        rump = INBOX + b"/;SECTION=2;EXPIRE=1970-01-01T00:01:40Z;URLAUTH=user+bob%40example.test"
        url = self.authorise(rump)
        self.assertEqual(self.fetch(self.bob, url), b"AAAA\r\n")
        for old, new in (
            (b"SECTION=2", b"SECTION=1"), (b"00:01:40", b"00:09:40"),
            (b";EXPIRE=1970-01-01T00:01:40Z", b""),
            (b"UID=1", b"UID=2"), (b";UIDVALIDITY=1", b""), (b"user+bob", b"user+alice"),
            (b"URLAUTH=user+bob%40example.test", b"URLAUTH=anonymous"), (b"INBOX", b"Sent"),
            (b"alice%40", b"bob%40"), (b"imap://", b"IMAP://"), (b":internal:", b":external:"),
            (b"imap.example.test", b"imap.example.org"),
            (b"/;SECTION=2", b"/;SECTION=2/;PARTIAL=0.1"),
        ):  # fmt: skip
            self.assertEqual(url.count(old), 1)
            self.assertIdentical(self.fetch(self.bob, url.replace(old, new)), None, new)
        for token in (url[-66:-1] + b"%c" % (ord("0") + (url[-1:] == b"0")), b"0" * 66, b"1" * 32):
            self.assertIdentical(self.fetch(self.bob, rump + b":internal:" + token), None)
        self.assertIdentical(self.fetch(self.bob, rump), None)
        self.assertIdentical(self.fetch(self.bob, INBOX), None)

    def test_reset(self) -> None:
        """RESETKEY: what was authorised before is void, in that mailbox or in all; bob's isn't."""
        now(self.server.account.createMailbox("other"))
        self.server.deliver(DRAFT, "other")
        one = INBOX + b"/;SECTION=2;URLAUTH=anonymous"
        other = ALICE + b"/other/;UID=1/;SECTION=2;URLAUTH=anonymous"
        urls = self.authorise(one), self.authorise(other)
        self.assertEqual(
            self.alice.send(b"a34 RESETKEY INBOX INTERNAL\r\n"),
            b"a34 OK [URLMECH INTERNAL] RESETKEY completed\r\n",
        )
        self.assertIdentical(self.fetch(self.bob, urls[0]), None)
        self.assertEqual(self.fetch(self.bob, urls[1]), b"AAAA\r\n")
        self.assertEqual(self.fetch(self.bob, self.authorise(one)), b"AAAA\r\n")
        self.bob.send(b"a RESETKEY\r\n")
        self.assertEqual(self.fetch(self.bob, urls[1]), b"AAAA\r\n")
        self.assertEqual(self.alice.send(b"a33 RESETKEY\r\n"), b"a33 OK All keys removed\r\n")
        self.assertIdentical(self.fetch(self.bob, urls[1]), None)
        self.assertRegex(self.alice.send(b"a RESETKEY missing\r\n"), rb"^a NO \[NONEXISTENT\] ")

    def test_selected(self) -> None:
        """§8: SELECT and EXAMINE tell the mechanisms that there are, where they are of use."""
        for command in (b"SELECT INBOX", b"EXAMINE Sent"):
            answer = self.alice.send(b"a %b\r\n" % command)
            self.assertRegex(answer, rb"(?m)^\* OK \[URLMECH INTERNAL\] ")
        self.assertNotIn(b"URLMECH", self.unauthorised())

    def unauthorised(self) -> bytes:
        """
        @return: the answer to SELECT where nobody authorises URLs, and of another's mailbox.
        """
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(
            self.server.store.sharing.change(
                inbox.mailboxId, "bob@example.test", FlagOperation.REPLACE, frozenset("lr")
            )
        )
        others = self.bob.send(b'a SELECT "Other Users/alice@example.test/INBOX"\r\n')
        self.assertIn(b"a OK ", others)
        return others + self.server.login().send(b"a SELECT INBOX\r\n")

    def test_notYours(self) -> None:
        """GENURLAUTH is for one's own mailboxes on this server, and for those that are there."""
        for rump in (
            b"imap://bob%40example.test@" + HOST + b"/INBOX/;UID=1;URLAUTH=anonymous",
            b"imap://" + HOST + b"/INBOX/;UID=1;URLAUTH=anonymous",
            b"imap://alice%40example.test@other.example/INBOX/;UID=1;URLAUTH=anonymous",
            ALICE + b"/missing/;UID=1;URLAUTH=anonymous",
            b"/INBOX/;UID=1;URLAUTH=anonymous",
        ):
            answer = self.alice.send(b'a GENURLAUTH "' + rump + b'" INTERNAL\r\n')
            self.assertRegex(answer, b"^a NO ", rump)
        answer = self.alice.send(b'a GENURLAUTH "' + INBOX + b';URLAUTH=anonymous" OTHER\r\n')
        self.assertRegex(answer, rb"^a NO \[URLMECH INTERNAL\] ")

    def test_malformed(self) -> None:
        """BAD."""
        for command in (
            b"GENURLAUTH", b"GENURLAUTH INTERNAL", b'GENURLAUTH "' + INBOX + b'" INTERNAL',
            b'GENURLAUTH "' + INBOX + b';URLAUTH=anonymous"', b"URLFETCH", b"URLFETCH nonsense",
            b'GENURLAUTH "' + INBOX + b";URLAUTH=anonymous:internal:" + b"1" * 32 + b'" INTERNAL',
            b'URLFETCH ""', b"URLFETCH " + INBOX + b" ", b"RESETKEY ", b"RESETKEY INBOX ",
        ):  # fmt: skip
            self.assertRegex(self.alice.send(b"a " + command + b"\r\n"), b"^a BAD ", command)
        self.patch(urlauth, "MAX_URLS", 1)
        self.assertRegex(
            self.alice.send(b'a URLFETCH "' + INBOX + b'" "' + INBOX + b'"\r\n'),
            rb"^a NO \[LIMIT\] ",
        )

    def test_gone(self) -> None:
        """What is no longer there is NIL: message, mailbox, owner; a disabled owner's too."""
        url = self.authorise(INBOX + b"/;SECTION=2;URLAUTH=anonymous")
        part = self.authorise(INBOX + b"/;SECTION=9;URLAUTH=anonymous")
        self.assertIdentical(self.fetch(self.bob, part), None)
        directory = self.server.store.directory
        address = Address("alice", "example.test")
        now(directory.setEnabled(address, False))
        self.assertIdentical(self.fetch(self.bob, url), None)
        now(directory.setEnabled(address, True))
        self.assertEqual(self.fetch(self.bob, url), b"AAAA\r\n")
        self.alice.send(b"s SELECT INBOX\r\nx STORE 1 +FLAGS.SILENT (\\Deleted)\r\ny EXPUNGE\r\n")
        self.assertIdentical(self.fetch(self.bob, url), None)
        now(directory.removeAccount(address))
        self.assertIdentical(self.fetch(self.bob, url), None)

    def test_seen(self) -> None:
        """Reading by URL leaves no trace in the mailbox."""
        self.fetch(self.bob, self.authorise(INBOX + b";URLAUTH=anonymous"))
        self.alice.send(b"s SELECT INBOX\r\n")
        self.assertIn(b"FLAGS (\\Recent)", self.alice.send(b"f FETCH 1 FLAGS\r\n"))

    def test_large(self) -> None:
        """However large; a NUL can't be in a string."""
        data = b"Subject: x\r\n\r\n" + b"\0x" * SMALL_MESSAGE
        uid = self.server.deliver(data)
        url = self.authorise(ALICE + b"/INBOX/;UID=%d;URLAUTH=anonymous" % uid)
        self.assertEqual(self.fetch(self.bob, url), data.replace(b"\0", b"\x80"))
        url = self.authorise(ALICE + b"/INBOX/;UID=%d/;PARTIAL=9.4;URLAUTH=anonymous" % uid)
        self.assertEqual(self.fetch(self.bob, url), b"x\r\n\r")
