"""
QUOTA (RFC 9208): C{twisted_mailstack.imap.extensions.quota}.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer_only

from tests.imap.stepped import SteppedServer
from tests.imap.support import MESSAGE, ClearPasswords, Server, now
from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.storage.memory import MemoryMailStore


class QuotaTests(SynchronousTestCase):
    """
    Alice has a quota; the administrator sets it.
    """

    def setUp(self) -> None:
        """A server with the two, and Bob."""
        self.server = self.makeServer()
        self.directory = self.server.store.directory
        self.server.portal = Portal(
            MailRealm(self.server.store, [Address("admin", "example.test")]),
            [DirectoryChecker(self.directory, ClearPasswords())],
        )
        self.server.addAccount("admin")
        self.bob = self.server.addAccount("bob")
        self.limit(64 * 1024, 1000)

    def makeServer(self) -> Server:
        """
        @return: the server.
        """
        return Server()

    def limit(self, octets: int | None, messages: int | None, mailboxes: int | None = 20) -> None:
        """
        Set Alice's quota.
        """
        now(self.directory.setQuota(self.server.account.address, octets, messages, mailboxes))

    def test_capability(self) -> None:
        """Each resource is named (§5); QUOTASET for those who may."""
        self.assertRegex(
            self.server.connect().wire.take(), rb" QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE "
        )
        for user, offered in (("alice", False), ("admin", True)):
            answer = self.server.login(user).send(b"a CAPABILITY\r\n")
            self.assertRegex(answer, rb" QUOTA=RES-MAILBOX QUOTA=RES-ANNOTATION-STORAGE ")
            self.assertEqual(b" QUOTASET" in answer, offered)

    def test_getQuotaRoot(self) -> None:
        """§4.1.2: the root of a mailbox that is there or isn't, and what it has of its limits."""
        self.server.deliver()
        self.server.login().check(
            """
            C: G0002 GETQUOTAROOT inbox
            S: * QUOTAROOT INBOX "alice@example.test"
            S: * QUOTA "alice@example.test" (STORAGE 1 64 MESSAGE 1 1000 MAILBOX 6 20)
            S: G0002 OK GETQUOTAROOT completed
            C: G0003 GETQUOTAROOT "Not yet there"
            S: * QUOTAROOT "Not yet there" "alice@example.test"
            S: * QUOTA "alice@example.test" (STORAGE 1 64 MESSAGE 1 1000 MAILBOX 6 20)
            S: G0003 OK GETQUOTAROOT completed
            C: G0001 GETQUOTA alice@example.test
            S: * QUOTA "alice@example.test" (STORAGE 1 64 MESSAGE 1 1000 MAILBOX 6 20)
            S: G0001 OK GETQUOTA completed
            """
        )

    def test_unlimited(self) -> None:
        """Resources that aren't named are not limited (§4.2.1); 0 is a limit."""
        self.limit(None, 0)
        self.server.login().check(
            """
            C: a GETQUOTA "alice@example.test"
            S: * QUOTA "alice@example.test" (MESSAGE 0 0 MAILBOX 6 20)
            S: a OK GETQUOTA completed
            """
        )

    def test_rounded(self) -> None:
        """STORAGE is in units of 1024 octets (§5.1): use is rounded up, the limit down."""
        self.server.deliver(b"x" * 1025)
        self.limit(3 * 1024 - 1, None)
        answer = self.server.login().send(b"a GETQUOTA alice@example.test\r\n")
        self.assertIn(b"(STORAGE 2 2 MAILBOX", answer)

    def test_set(self) -> None:
        """§4.1.3: what isn't named is not limited any more; what holds then is told."""
        self.server.login("admin").check(
            """
            C: S0001 SETQUOTA "alice@example.test" (STORAGE 510 mailbox 8)
            S: * QUOTA "alice@example.test" (STORAGE 0 510 MAILBOX 6 8)
            S: S0001 OK SETQUOTA completed
            C: S0002 SETQUOTA alice@example.test (MESSAGE 2 MAILBOX 7)
            S: * QUOTA "alice@example.test" (MESSAGE 0 2 MAILBOX 6 7)
            S: S0002 OK SETQUOTA completed
            C: S0003 SETQUOTA nobody@example.test (STORAGE 1)
            S: S0003 NO [NONEXISTENT] No such quota root
            C: S0004 SETQUOTA alice@example.test (STORAGE 5 X-ANYTHING 5)
            S: S0004 NO [CANNOT] That resource can't be limited
            C: S0005 GETQUOTA alice@example.test
            S: * QUOTA "alice@example.test" (MESSAGE 0 2 MAILBOX 6 7)
            S: S0005 OK GETQUOTA completed
            """
        )
        client = self.server.login()
        for expected in (b"OK", b"OK", b"NO [OVERQUOTA]"):
            answer = client.send(b"x APPEND INBOX {%d+}\r\n%b\r\n" % (len(MESSAGE), MESSAGE))
            self.assertIn(b"x " + expected, answer)
        self.assertIn(b"a OK ", client.send(b"a CREATE one\r\n"))
        self.assertIn(b"a NO [OVERQUOTA] ", client.send(b"a CREATE two\r\n"))

    def test_everythingAllowed(self) -> None:
        """An empty list takes all limits away, and the largest number is one."""
        client = self.server.login("admin")
        answer = client.send(b"a SETQUOTA alice@example.test ()\r\n")
        self.assertNotIn(b"STORAGE", answer)
        self.assertNotIn(b"MESSAGE", answer)
        answer = client.send(b"b SETQUOTA alice@example.test (STORAGE %d)\r\n" % (2**63 - 1))
        self.assertIn(b"(STORAGE 0 %d" % ((2**63 - 1) // 1024), answer)
        answer = client.send(b"c SETQUOTA alice@example.test (MESSAGE %d)\r\n" % (2**63 - 1))
        self.assertIn(b"(MESSAGE 0 %d" % (2**63 - 1), answer)

    def test_annotations(self) -> None:
        """
        §5.4: all annotations in units of 1024 octets, whoever noted them; what is more is refused,
        and nothing of it is stored.
        """
        self.server.login("admin").check(
            """
            C: a SETQUOTA alice@example.test (MAILBOX 20 ANNOTATION-STORAGE 2)
            S: * QUOTA "alice@example.test" (MAILBOX 6 20 ANNOTATION-STORAGE 0 2)
            S: a OK SETQUOTA completed
            """
        )
        self.server.deliver()
        self.server.deliver()
        client = self.server.select()
        value = b"x" * 1025
        note = b'(/comment (value.priv "%b"))'
        self.assertIn(b"a OK", client.send(b"a STORE 1 ANNOTATION " + note % value + b"\r\n"))
        told = b'* QUOTA "alice@example.test" (MAILBOX 6 20 ANNOTATION-STORAGE 2 2)\r\n'
        self.assertIn(told, client.send(b"b GETQUOTAROOT INBOX\r\n"))
        answer = client.send(b"c STORE 1:2 ANNOTATION " + note % value + b"\r\n")
        self.assertIn(b"c NO [OVERQUOTA] ", answer)
        append = b"APPEND INBOX ANNOTATION %b {%d+}\r\n%b\r\n"
        answer = client.send(b"d " + append % (note % value, len(MESSAGE), MESSAGE))
        self.assertIn(b"d NO [OVERQUOTA] ", answer)
        self.assertIn(b"e NO [OVERQUOTA] ", client.send(b"e COPY 1 Sent\r\n"))
        self.assertIn(b"f OK", client.send(b"f COPY 2 Sent\r\n"))
        answer = client.send(b"g " + append % (note % value[:1023], len(MESSAGE), MESSAGE))
        self.assertIn(b"g OK", answer)
        self.assertIn(told, client.send(b"h GETQUOTA alice@example.test\r\n"))
        self.assertIn(
            b"i NO [OVERQUOTA] ",
            client.send(b'i STORE 2 ANNOTATION (/comment (value.shared "x"))\r\n'),
        )
        self.assertIn(b"j OK", client.send(b"j STORE 1 ANNOTATION (/comment (value.priv NIL))\r\n"))
        self.assertIn(
            b" ANNOTATION-STORAGE 1 2)", client.send(b"k GETQUOTA alice@example.test\r\n")
        )
        # What isn't named is not limited any more (§4.1.3).
        answer = self.server.login("admin").send(
            b"a SETQUOTA alice@example.test (MAILBOX 20 MESSAGE 9)\r\n"
        )
        self.assertIn(b"(MESSAGE 4 9 MAILBOX 6 20)", answer)
        self.assertIn(b"l OK", client.send(b"l STORE 1:2 ANNOTATION " + note % value + b"\r\n"))

    def test_notEverybody(self) -> None:
        """Only administrators set quotas, not even owners their own."""
        for user in ("alice", "bob"):
            self.server.login(user).check(
                """
                C: a SETQUOTA "alice@example.test" (STORAGE 510)
                S: a NO [NOPERM] Permission denied
                C: b SETQUOTA "nobody@example.test" (NOTHING 510)
                S: b NO [NOPERM] Permission denied
                """
            )

    def test_syntax(self) -> None:
        """What can't be read is BAD."""
        client = self.server.login("admin")
        for text in (
            *("GETQUOTA", "GETQUOTA a b", "GETQUOTAROOT", "SETQUOTA a", "SETQUOTA a STORAGE 1"),
            *("SETQUOTA a (STORAGE)", "SETQUOTA a (STORAGE 1", "SETQUOTA a (STORAGE x)"),
            *("SETQUOTA a (STORAGE -1)", "SETQUOTA a (STORAGE 1 STORAGE 2)"),
            *(
                f"SETQUOTA a (STORAGE {2**63})",
                "SETQUOTA a (STORAGE 1) x",
                "SETQUOTA a (X 1MESSAGE 2)",
            ),
        ):
            self.assertRegex(client.send(f"a {text}\r\n".encode()), rb"^a BAD ", text)

    def test_others(self) -> None:
        """
        Whose quota it is, others see only if they may read something that counts for it (§6); what
        is used by others is confidential (§8).
        """
        sharing = self.server.store.sharing
        inbox = now(self.server.account.openMailbox("INBOX"))
        client = self.server.login("bob")
        for rights, answer in (
            ("", b"a NO [NONEXISTENT] No such quota root"),
            ("liswk", b"a NO [NONEXISTENT] No such quota root"),
            ("r", b'* QUOTA "alice@example.test" (STORAGE '),
        ):
            change = frozenset(rights)
            now(sharing.change(inbox.mailboxId, "bob@example.test", FlagOperation.REPLACE, change))
            self.assertIn(answer, client.send(b"a GETQUOTA alice@example.test\r\n"))
        client.check(
            """
            C: b GETQUOTAROOT "Other Users/alice@example.test"
            S: * QUOTAROOT "Other Users/alice@example.test" "alice@example.test"
            S: * QUOTA "alice@example.test" (STORAGE 0 64 MESSAGE 0 1000 MAILBOX 6 20)
            S: b OK GETQUOTAROOT completed
            C: c GETQUOTAROOT "Other Users/alice@example.test/Sent"
            S: c NO [NONEXISTENT] No such mailbox
            C: d GETQUOTA nobody@example.test
            S: d NO [NONEXISTENT] No such quota root
            C: e GETQUOTA ""
            S: e NO [NONEXISTENT] No such quota root
            """
        )

    def test_deleted(self) -> None:
        r"""§4.1.4: how many messages have \Deleted, and the octets that EXPUNGE would free."""
        for flags in ((), ("\\Deleted",), ("\\Deleted", "\\Seen")):
            self.server.deliver(flags=flags)
        client = self.server.login()
        self.assertEqual(
            client.send(b"S0003 STATUS INBOX (MESSAGES DELETED DELETED-STORAGE)\r\n"),
            b"* STATUS INBOX (MESSAGES 3 DELETED 2 DELETED-STORAGE %d)\r\n"
            b"S0003 OK STATUS completed\r\n" % (2 * len(MESSAGE)),
        )
        self.assertIn(b"(DELETED-STORAGE 0)", client.send(b"a STATUS Sent (DELETED-STORAGE)\r\n"))

    def test_copy(self) -> None:
        """COPY and MOVE into an account that is full say OVERQUOTA (§4.3.1)."""
        self.server.deliver()
        self.limit(None, 1)
        client = self.server.select()
        self.assertIn(b"a NO [OVERQUOTA]", client.send(b"a COPY 1 Sent\r\n"))
        self.assertIn(b"b OK", client.send(b"b MOVE 1 Sent\r\n"))


class SQLQuotaTests(QuotaTests):
    """
    The same over the SQL store.
    """

    def makeServer(self) -> Server:
        """See L{QuotaTests.makeServer}."""
        server = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(server.store.stop()))
        return server


class AloneTests(SynchronousTestCase):
    """
    A store whose accounts can't share.
    """

    def test_own(self) -> None:
        """There is one's own quota, and nobody sets any."""

        @implementer_only(IMailStore)
        class Alone(MemoryMailStore):
            """A store that can't share."""

        store: Any = Alone()
        server = Server(store=store)
        now(store.directory.setQuota(server.account.address, None, 5))
        server.login().check(
            """
            C: a GETQUOTAROOT INBOX
            S: * QUOTAROOT INBOX "alice@example.test"
            S: * QUOTA "alice@example.test" (MESSAGE 0 5)
            S: a OK GETQUOTAROOT completed
            C: b GETQUOTA bob@example.test
            S: b NO [NONEXISTENT] No such quota root
            C: c SETQUOTA alice@example.test (MESSAGE 7)
            S: c NO [NOPERM] Permission denied
            C: d MYRIGHTS INBOX
            S: d BAD There are no access control lists here
            """
        )
