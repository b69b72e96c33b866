"""
ACL (RFC 4314), LIST-MYRIGHTS (RFC 8440) and mailboxes of others (RFC 2342):
C{twisted_mailstack.imap.extensions.acl}, and every command under every right.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.stepped import SteppedServer
from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.rights import ORDER
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.testing.faulty import FaultyStore

BOB = "bob@example.test"
#: Alice's mailboxes as Bob sees them.
ROOT = "Other Users/alice@example.test"


class SharingTestCase(SynchronousTestCase):
    """
    Alice has mailboxes that Bob and Carol may use.
    """

    def setUp(self) -> None:
        """Alice has Work, and below it Old, each with a message."""
        self.server = self.makeServer()
        self.alice = self.server.account
        self.bob = self.server.addAccount("bob")
        self.carol = self.server.addAccount("carol")
        for name in ("Work", "Work/Old"):
            self.run_(self.alice.createMailbox(name))
            self.server.deliver(mailbox=name)

    def makeServer(self) -> Server:
        """
        @return: the server.
        """
        return Server()

    def run_(self, awaitable: Any) -> Any:
        """
        @return: the result of something of the store.
        """
        return now(awaitable)

    def grant(
        self,
        rights: str,
        mailbox: str = "Work",
        identifier: str = BOB,
        account: IAccount | None = None,
    ) -> None:
        """
        Replace somebody's rights, Bob's in Work if nothing is said.
        """
        opened = self.run_((account or self.alice).openMailbox(mailbox))
        self.run_(
            self.server.store.sharing.change(
                opened.mailboxId, identifier, FlagOperation.REPLACE, frozenset(rights)
            )
        )

    def flags(self, mailbox: str = "Work", account: IAccount | None = None) -> list[set[str]]:
        """
        @return: the flags of the messages in a mailbox.
        """
        opened = self.run_((account or self.alice).openMailbox(mailbox))
        return [set(each) for each in self.run_(opened.changesSince(0)).flags]


class SyntaxTests(SharingTestCase):
    """
    The commands, and RFC 4314's own examples with other numbers.
    """

    def test_capability(self) -> None:
        """ACL and RIGHTS=, with t, e, x and k, and none of RFC 2086's rights (§2.2, §5.1.1)."""
        answer = self.server.login().send(b"a CAPABILITY\r\n")
        self.assertRegex(answer, rb" ACL RIGHTS=kxten LIST-MYRIGHTS ")

    def test_setAndGet(self) -> None:
        """§3.1's example: rights are replaced, added and taken away; c and d are more than one."""
        self.server.login().check(
            """
            C: A001 SETACL Work bob@example.test lrswi
            S: A001 OK SETACL completed
            C: A002 GETACL Work
            S: * ACL Work "alice@example.test" lrswipkxteancd "bob@example.test" lrswi
            S: A002 OK GETACL completed
            C: A003 SETACL Work bob@example.test +cda
            S: A003 OK SETACL completed
            C: A004 GETACL Work
            S: * ACL Work "alice@example.test" lrswipkxteancd "bob@example.test" lrswikxteacd
            S: A004 OK GETACL completed
            C: A005 SETACL Work bob@example.test -dwa
            S: A005 OK SETACL completed
            C: A006 SETACL Work -bob@example.test x
            S: A006 OK SETACL completed
            C: A007 SETACL Work anyone l
            S: A007 OK SETACL completed
            C: A008 GETACL Work
            S: * ACL Work "alice@example.test" lrswipkxteancd "-bob@example.test" xc LIST
            S: A008 OK GETACL completed
            """.replace("LIST", 'anyone l "bob@example.test" lrsikxc')
        )

    def test_delete(self) -> None:
        """§3.2: DELETEACL removes an entry and leaves the negative one; a second time likewise."""
        self.grant("lr")
        self.grant("w", identifier=f"-{BOB}")
        self.server.login().check(
            """
            C: B001 DELETEACL Work Bob@EXAMPLE.test
            S: B001 OK DELETEACL completed
            C: B002 DELETEACL Work bob@example.test
            S: B002 OK DELETEACL completed
            C: B003 GETACL Work
            S: * ACL Work "alice@example.test" lrswipkxteancd "-bob@example.test" w
            S: B003 OK GETACL completed
            C: B004 SETACL Work bob@example.test ""
            S: B004 OK SETACL completed
            """
        )

    def test_unknownRights(self) -> None:
        """§3.1: an unrecognised right is BAD, and nothing is changed."""
        self.server.login().check(
            """
            C: A035 SETACL Work bob@example.test lrQswicda
            S: A035 BAD Uppercase rights are not allowed
            C: A036 SETACL Work bob@example.test lrqswicda
            S: A036 BAD The right q is not supported
            C: A037 SETACL Work bob@example.test +l0
            S: A037 BAD The right 0 is not supported
            C: A038 GETACL Work
            S: * ACL Work "alice@example.test" lrswipkxteancd
            S: A038 OK GETACL completed
            """
        )

    def test_identifiers(self) -> None:
        """
        An identifier is prepared first, and BAD if nothing is left of it (§3); one of nobody is NO.
        A domain, anyone and anonymous are identifiers.
        """
        self.server.login().check(
            """
            C: a SETACL Work "" l
            S: a BAD It is empty
            C: b SETACL Work - l
            S: b BAD The identifier is empty
            C: c SETACL Work nobody@example.test l
            S: c NO [NONEXISTENT] No such user here
            C: d SETACL Work smith l
            S: d NO [NONEXISTENT] No such user here
            C: e SETACL Work @elsewhere.test l
            S: e NO [NONEXISTENT] No such user here
            C: f SETACL Work @Example.Test l
            S: f OK SETACL completed
            C: g SETACL Work anonymous r
            S: g OK SETACL completed
            C: h SETACL Work "b\u00adob@example.test" r
            S: h OK SETACL completed
            C: i GETACL Work
            S: * ACL Work "alice@example.test" lrswipkxteancd "@example.test" l LIST
            S: i OK GETACL completed
            """.replace("LIST", 'anonymous r "bob@example.test" r')
        )
        client = self.server.login()
        self.assertRegex(client.send(b'a SETACL Work "\xff" l\r\n'), rb"^a BAD ")
        self.assertRegex(client.send(b'a SETACL Work "\xc2\x80" l\r\n'), rb"^a BAD ")

    def test_listRights(self) -> None:
        """§3.4: what can be granted, each right by itself, the identifier as it was given."""
        self.server.login().check(
            """
            C: a001 LISTRIGHTS Work Bob@Example.TEST
            S: * LISTRIGHTS Work "Bob@Example.TEST" "" l r s w i p k x t e a n c d
            S: a001 OK LISTRIGHTS completed
            C: a002 LISTRIGHTS Work anyone
            S: * LISTRIGHTS Work anyone "" l r s w i p k x t e a n c d
            S: a002 OK LISTRIGHTS completed
            C: a003 LISTRIGHTS Work alice@example.test
            S: * LISTRIGHTS Work "alice@example.test" lrswipkxteancd
            S: a003 OK LISTRIGHTS completed
            C: a004 LISTRIGHTS Work -alice@example.test
            S: * LISTRIGHTS Work "-alice@example.test" ""
            S: a004 OK LISTRIGHTS completed
            """
        )

    def test_owner(self) -> None:
        """An owner always has all rights, and a client that writes them back may."""
        self.server.login().check(
            """
            C: a SETACL Work alice@example.test lrswipkxteancd
            S: a OK SETACL completed
            C: b SETACL Work alice@example.test lr
            S: b NO [CANNOT] The owner of a mailbox has all rights in it
            C: c SETACL Work alice@example.test -a
            S: c NO [CANNOT] The owner of a mailbox has all rights in it
            C: d DELETEACL Work alice@example.test
            S: d NO [CANNOT] The owner of a mailbox has all rights in it
            C: e SETACL Work -alice@example.test w
            S: e NO [CANNOT] The owner of a mailbox has all rights in it
            C: f MYRIGHTS Work
            S: * MYRIGHTS Work lrswipkxteancd
            S: f OK MYRIGHTS completed
            C: g MYRIGHTS inbox
            S: * MYRIGHTS INBOX lrswipkxteancd
            S: g OK MYRIGHTS completed
            C: h MYRIGHTS Nowhere
            S: h NO [NONEXISTENT] No such mailbox
            """
        )

    def test_syntax(self) -> None:
        """What is missing or too much is BAD; literals and quoted strings are as good as atoms."""
        client = self.server.login()
        for command in (
            *("GETACL", "GETACL Work x", "SETACL Work bob@example.test", "SETACL Work", "MYRIGHTS"),
            *("LISTRIGHTS Work", "DELETEACL Work", "SETACL Work a b c", "MYRIGHTS Work x"),
        ):
            self.assertRegex(client.send(f"a {command}\r\n".encode()), rb"^a BAD ", command)
        answer = client.send(b'a SETACL {4+}\r\nWork "bob@example.test" {2+}\r\nlr\r\n')
        self.assertEqual(answer, b"a OK SETACL completed\r\n")

    def test_pipelined(self) -> None:
        """SETACL is done before what follows it in a pipeline (§5.1.1)."""
        client = self.server.login()
        self.server.login("bob")
        answer = client.send(
            b"a SETACL Work bob@example.test lrs\r\nb GETACL Work\r\nc DELETEACL Work"
            b" bob@example.test\r\nd GETACL Work\r\n"
        )
        self.assertRegex(answer, rb'(?s)"bob@example.test" lrs\r\nb OK.*ancd\r\nd OK')


Case = Callable[[Conversation], bytes]


def tagged(answer: bytes) -> str:
    """
    @return: the tagged response's beginning: OK, BAD, or NO with its code.
    """
    match = re.search(rb"(?m)^x (OK|BAD|NO \[\w+\]|NO)", answer)
    return match.group(1).decode() if match else repr(answer)


def command(text: str) -> Case:
    """
    @return: sends a command.
    """
    return lambda client: client.send(f"x {text}\r\n".encode())


def append(client: Conversation) -> bytes:
    """APPEND to Work."""
    return client.send(
        b'x APPEND "%b/Work" {%d+}\r\n%b\r\n' % (ROOT.encode(), len(MESSAGE), MESSAGE)
    )


#: By command: what it needs, in Work or Work/Old, in which Bob has the same rights. What is
#: behind C{|} is missing with NOPERM in any case.
AUTHENTICATED: dict[str, tuple[Case, str]] = {
    "STATUS": (command(f'STATUS "{ROOT}/Work" (MESSAGES)'), "r"),
    "SELECT": (command(f'SELECT "{ROOT}/Work"'), "r"),
    "EXAMINE": (command(f'EXAMINE "{ROOT}/Work"'), "r"),
    "GETACL": (command(f'GETACL "{ROOT}/Work"'), "a"),
    "SETACL": (command(f'SETACL "{ROOT}/Work" carol@example.test l'), "a"),
    "DELETEACL": (command(f'DELETEACL "{ROOT}/Work" carol@example.test'), "a"),
    "LISTRIGHTS": (command(f'LISTRIGHTS "{ROOT}/Work" anyone'), "a"),
    "APPEND": (append, "i"),
    "CREATE": (command(f'CREATE "{ROOT}/Work/New"'), "|k"),
    "RENAME": (command(f'RENAME "{ROOT}/Work/Old" "{ROOT}/Work/Older"'), "x|k"),
    "DELETE": (command(f'DELETE "{ROOT}/Work/Old"'), "x"),
    "GETQUOTAROOT": (command(f'GETQUOTAROOT "{ROOT}/Work"'), "r"),
}

#: Likewise, with Bob's INBOX selected.
FROM_OWN: dict[str, tuple[Case, str]] = {
    "COPY": (command(f'COPY 1 "{ROOT}/Work"'), "i"),
    "UID COPY": (command(f'UID COPY 1 "{ROOT}/Work"'), "i"),
    "MOVE": (command(f'MOVE 1 "{ROOT}/Work"'), "i"),
}

#: Likewise, with Work selected.
SELECTED: dict[str, tuple[Case, str]] = {
    "FETCH": (command("FETCH 1 (FLAGS BODY.PEEK[])"), ""),
    "SEARCH": (command("SEARCH ALL"), ""),
    "COPY": (command("COPY 1 INBOX"), ""),
    "STORE seen": (command(r"STORE 1 +FLAGS (\Seen)"), "|s"),
    "STORE deleted": (command(r"UID STORE 1 +FLAGS (\Deleted)"), "|t"),
    "STORE keyword": (command("STORE 1 FLAGS ($Forwarded)"), "|w"),
    "STORE flagged": (command(r"STORE 1 -FLAGS.SILENT (\Flagged)"), "|w"),
    "STORE shared": (command('STORE 1 ANNOTATION (/comment (value.shared "x"))'), "|n"),
    "STORE private": (command('STORE 1 ANNOTATION (/comment (value.priv "x"))'), ""),
    "FETCH ANNOTATION": (command("FETCH 1 (ANNOTATION (/* value))"), ""),
    "EXPUNGE": (command("EXPUNGE"), "|e"),
    "UID EXPUNGE": (command("UID EXPUNGE 1"), "|e"),
    "MOVE": (command("MOVE 1 INBOX"), "|te"),
    "CLOSE": (command("CLOSE"), ""),
}

#: Nothing, each right alone, all but each, all.
SETS = ("", *ORDER, *(ORDER.replace(each, "") for each in ORDER), ORDER)


def expected(rights: str, needed: str) -> str:
    """
    @return: how a command ends.
    """
    first, _, always = needed.partition("|")
    if not set(first) <= set(rights):
        return "NO [NOPERM]" if "l" in rights else "NO [NONEXISTENT]"
    return "OK" if set(always) <= set(rights) else "NO [NOPERM]"


class MatrixTests(SharingTestCase):
    """
    All commands, each under all rights (RFC 4314 §4).
    """

    sets = SETS

    def share(self, rights: str) -> None:
        """
        Bob has these rights in Work and Work/Old.
        """
        for name in ("Work", "Work/Old"):
            self.grant(rights, name)

    def attempt(self, before: str, cases: dict[str, tuple[Case, str]], also: str = "") -> None:
        """
        Try each command under each set of rights, each time in a new world.

        @param before: a command that comes first.
        @param also: only sets with this right.
        """
        for rights in self.sets:
            if also not in rights:
                continue
            for name, (case, needed) in cases.items():
                self.setUp()
                self.server.deliver(account=self.bob)
                self.share(rights)
                client = self.server.login("bob")
                if before:
                    self.assertRegex(client.send(f"s {before}\r\n".encode()), rb"(?m)^s OK")
                answer = tagged(case(client))
                self.assertEqual(answer, expected(rights, needed), (name, rights))

    def test_authenticated(self) -> None:
        """Commands that name a mailbox."""
        self.attempt("", AUTHENTICATED)

    def test_fromOwn(self) -> None:
        """COPY and MOVE out of one's own mailbox."""
        self.attempt("SELECT INBOX", FROM_OWN)

    def test_selected(self) -> None:
        """Commands on messages: who selected a mailbox could read it."""
        self.attempt(f'SELECT "{ROOT}/Work"', SELECTED, "r")

    def test_listed(self) -> None:
        """LIST and LSUB have a mailbox if it may be looked up, and never say NO (§4)."""
        for rights in self.sets:
            self.share(rights)
            client = self.server.login("bob")
            answer = client.send(b'x LIST "" *\r\n')
            self.assertEqual(b"Work" in answer, "l" in rights, rights)
            self.assertEqual(tagged(answer), "OK")

    def test_myRights(self) -> None:
        """MYRIGHTS needs one of l, r, i, k, x and a (§4)."""
        for rights in self.sets:
            self.share(rights)
            answer = self.server.login("bob").send(f'x MYRIGHTS "{ROOT}/Work"\r\n'.encode())
            known = bool(set(rights) & set("lrikxa"))
            self.assertEqual(tagged(answer), "OK" if known else "NO [NONEXISTENT]", rights)

    def test_seen(self) -> None:
        r"""FETCH of a text sets \Seen only with s, and is no failure without (§4)."""
        for rights in self.sets:
            if "r" not in rights:
                continue
            self.setUp()
            self.share(rights)
            client = self.server.login("bob")
            client.send(f's SELECT "{ROOT}/Work"\r\n'.encode())
            self.assertEqual(tagged(client.send(b"x FETCH 1 BODY[TEXT]\r\n")), "OK")
            self.assertEqual("\\Seen" in self.flags()[0], "s" in rights, rights)

    def test_readWrite(self) -> None:
        """
        SELECT says READ-WRITE if anything may be changed: i, e, s, w or t (§5.2), or n (RFC 5257
        §3.4).
        """
        for rights in self.sets:
            if "r" not in rights:
                continue
            self.share(rights)
            client = self.server.login("bob")
            answer = client.send(f's SELECT "{ROOT}/Work"\r\n'.encode())
            writing = bool(set(rights) & set("ieswtn"))
            self.assertEqual(b"s OK [READ-WRITE]" in answer, writing, rights)
            self.assertEqual(b"s OK [READ-ONLY]" in answer, not writing, rights)
            permanent = re.search(rb"PERMANENTFLAGS \(([^)]*)\)", answer)
            assert permanent is not None
            listed = set(permanent.group(1).decode().split())
            flags = {"s": {"\\Seen"}, "t": {"\\Deleted"}}
            flags["w"] = {"\\Answered", "\\Flagged", "\\Draft", "\\*"}
            wanted = set().union(*(each for right, each in flags.items() if right in rights))
            self.assertEqual(listed, wanted, rights)


class SQLMatrixTests(MatrixTests):
    """
    The same over the SQL store, with fewer sets.
    """

    sets = ("", "l", "lr", "r", "lri", "lrswipkxtea", "lrswipkte", "i")

    def makeServer(self) -> Server:
        """See L{SharingTestCase.makeServer}."""
        server = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(server.store.stop()))
        return server


class FlagsTests(SharingTestCase):
    """
    Flags where only some may be changed (RFC 4314 §4).
    """

    def select(self, rights: str) -> Conversation:
        """
        @return: Bob's session with Work selected.
        """
        self.grant(rights)
        client = self.server.login("bob")
        client.send(f's SELECT "{ROOT}/Work"\r\n'.encode())
        return client

    def test_partly(self) -> None:
        """STORE doesn't fail if one of the flags may be changed; the others aren't."""
        client = self.select("lrs")
        client.check(
            r"""
            C: a STORE 1 +FLAGS (\Seen \Deleted $Forwarded)
            S: * 1 FETCH (FLAGS (\Seen \Recent))
            S: a OK STORE completed
            """.replace(r"\Seen \Recent", r"\Recent \Seen")
        )
        self.assertEqual(self.flags(), [{"\\Seen"}])

    def test_replaced(self) -> None:
        """FLAGS replaces only those that may be changed, and SILENT tells what became of them."""
        self.server.deliver(mailbox="Work", flags=("\\Seen", "\\Deleted", "\\Answered"))
        client = self.select("lrw")
        client.check(
            r"""
            C: a UID STORE 2 FLAGS.SILENT (\Flagged \Seen)
            S: * 2 FETCH (UID 2 FLAGS (\Flagged \Deleted \Seen))
            S: a OK UID STORE completed
            """
        )
        self.assertEqual(self.flags()[1], {"\\Flagged", "\\Seen", "\\Deleted"})

    def test_none(self) -> None:
        """With no right to any of the flags, STORE is refused and nothing is changed."""
        client = self.select("lrs")
        self.assertEqual(tagged(client.send(b"x STORE 1 FLAGS ($Forwarded)\r\n")), "NO [NOPERM]")
        client = self.select("lr")
        self.assertEqual(tagged(client.send(b"x STORE 1 FLAGS ()\r\n")), "NO [NOPERM]")
        self.assertEqual(self.flags(), [set()])

    def test_copied(self) -> None:
        r"""§4's example: TargetMailbox with C{rwis} loses \Deleted, with C{rsti} all but two."""
        flags = (("\\Draft", "\\Deleted"), ("\\Answered",), ("$Forwarded", "\\Seen"))
        for each in flags:
            self.server.deliver(flags=each, account=self.bob)
        for rights, expected in (
            ("rwis", [{"\\Draft"}, {"\\Answered"}, {"$Forwarded", "\\Seen"}]),
            ("rsti", [{"\\Deleted"}, set(), {"\\Seen"}]),
        ):
            self.grant(rights)
            client = self.server.login("bob")
            client.send(b"s SELECT INBOX\r\n")
            answer = client.send(f'x COPY 1:3 "{ROOT}/Work"\r\n'.encode())
            self.assertEqual(tagged(answer), "OK")
            self.assertEqual(self.flags()[-3:], expected)

    def test_appended(self) -> None:
        """APPEND doesn't fail for flags that may not be set (§4)."""
        self.grant("is")
        client = self.server.login("bob")
        answer = client.send(
            b'x APPEND "%b/Work" (\\Seen \\Deleted key) {%d+}\r\n%b\r\n'
            % (ROOT.encode(), len(MESSAGE), MESSAGE)
        )
        self.assertRegex(answer, rb"^x OK \[APPENDUID ")
        self.assertEqual(self.flags()[-1], {"\\Seen"})

    def test_closed(self) -> None:
        """CLOSE without e expunges nothing, and is OK (§4)."""
        client = self.select("lrt")
        client.send(b"a STORE 1 +FLAGS (\\Deleted)\r\n")
        self.assertEqual(client.send(b"x CLOSE\r\n"), b"x OK CLOSE completed\r\n")
        self.assertEqual(self.flags(), [{"\\Deleted"}])
        client = self.select("lre")
        client.send(b"x CLOSE\r\n")
        self.assertEqual(self.flags(), [])

    def test_recent(self) -> None:
        r"""Who may not take note of messages takes no C{\Recent} from those who may."""
        self.grant("lr")
        client = self.server.login("bob")
        self.assertIn(b"* 0 RECENT", client.send(f's SELECT "{ROOT}/Work"\r\n'.encode()))
        self.assertIn(b"* 1 RECENT", self.server.login().send(b"s SELECT Work\r\n"))


class RunningTests(SharingTestCase):
    """
    Rights that change while sessions run: each command looks at those of its time.
    """

    def setUp(self) -> None:
        """Bob has Work selected, Alice is logged in."""
        super().setUp()
        self.grant("lrs")
        self.owner = self.server.login()
        self.client = self.server.login("bob")
        self.client.send(f's SELECT "{ROOT}/Work"\r\n'.encode())

    def test_more(self) -> None:
        """What is granted may be done at once, and PERMANENTFLAGS says so (§5.1.1)."""
        self.owner.send(b"a SETACL Work bob@example.test +tw\r\n")
        self.client.check(
            r"""
            C: a NOOP
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
            S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] KEPT
            S: a OK NOOP completed
            C: b STORE 1 +FLAGS.SILENT (\Deleted)
            S: b OK STORE completed
            """.replace("KEPT", "Flags that are kept")
        )

    def test_less(self) -> None:
        """What is taken away may be done no more."""
        self.owner.send(b"a SETACL Work bob@example.test -s\r\n")
        self.client.check(
            r"""
            C: a STORE 1 +FLAGS.SILENT (\Seen)
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
            S: * OK [PERMANENTFLAGS ()] Flags that are kept
            S: a NO [NOPERM] Permission denied
            """
        )

    def test_unreadable(self) -> None:
        """A session whose mailbox may not be read any more ends with BYE (§5.1.1)."""
        self.owner.send(b"a SETACL Work bob@example.test -r\r\n")
        answer = self.client.send(b"a FETCH 1 BODY[]\r\n")
        self.assertEqual(
            answer,
            b"* BYE the selected mailbox may not be read any more\r\n"
            b"a NO [NOPERM] Permission denied\r\n",
        )
        self.assertTrue(self.client.finished)

    def test_gone(self) -> None:
        """One that may not even be seen any more is as good as deleted, in IDLE at once."""
        self.client.send(b"a IDLE\r\n")
        self.owner.send(b"b DELETEACL Work bob@example.test\r\n")
        self.client.settle()
        self.assertIn(b"* BYE the selected mailbox was deleted\r\n", self.client.wire.take())
        self.assertTrue(self.client.finished)

    def test_news(self) -> None:
        """What one of them does, the other is told."""
        self.grant("lrswite")
        self.client.send(b"a NOOP\r\n")
        self.owner.send(b"s SELECT Work\r\n")
        self.owner.send(b"a STORE 1 +FLAGS (\\Answered)\r\n")
        self.assertRegex(self.client.send(b"b NOOP\r\n"), rb"\* 1 FETCH \(FLAGS \(.*\\Answered\)\)")
        self.client.send(b"c STORE 1 +FLAGS (\\Deleted)\r\nd EXPUNGE\r\n")
        self.assertIn(b"* 1 EXPUNGE\r\n", self.owner.send(b"e NOOP\r\n"))

    def test_removedOwner(self) -> None:
        """With its owner a mailbox goes for everybody."""
        self.run_(self.server.store.directory.removeAccount(self.alice.address))
        self.assertIn(b"* BYE ", self.client.send(b"a NOOP\r\n"))


class NamesTests(SharingTestCase):
    """
    Names of mailboxes of others.
    """

    def test_listed(self) -> None:
        r"""
        Other users' mailboxes are below their name; with C{%} the levels are told though they
        are no mailboxes (RFC 2342 §5.7, RFC 3501 §6.3.8).
        """
        self.grant("lr", "Work/Old")
        self.server.login("bob").check(
            r"""
            C: a LIST "" %
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * LIST (\HasNoChildren \Archive) "/" Archive
            S: * LIST (\HasNoChildren \Drafts) "/" Drafts
            S: * LIST (\HasNoChildren \Junk) "/" Junk
            S: * LIST (\Noselect \HasChildren) "/" "Other Users"
            S: * LIST (\HasNoChildren \Sent) "/" Sent
            S: * LIST (\HasNoChildren \Trash) "/" Trash
            S: a OK LIST completed
            C: b LIST "" "Other Users/%"
            S: * LIST (\Noselect \HasChildren) "/" "Other Users/alice@example.test"
            S: b OK LIST completed
            C: c LIST "Other Users/" *
            S: * LIST (\HasNoChildren) "/" "Other Users/alice@example.test/Work/Old"
            S: c OK LIST completed
            """
        )

    def test_inbox(self) -> None:
        """The name of an account stands for its INBOX; special uses are those of its owner."""
        self.grant("lr", "INBOX")
        self.grant("lr", "Sent")
        self.server.deliver()
        client = self.server.login("bob")
        client.check(
            r"""
            C: a LIST "" "Other Users/*" RETURN (MYRIGHTS)
            S: * LIST (\HasChildren) "/" "Other Users/alice@example.test"
            S: * MYRIGHTS "Other Users/alice@example.test" lr
            S: * LIST (\HasNoChildren) "/" "Other Users/alice@example.test/Sent"
            S: * MYRIGHTS "Other Users/alice@example.test/Sent" lr
            S: a OK LIST completed
            C: b STATUS "Other Users/alice@example.test" (MESSAGES)
            S: * STATUS "Other Users/alice@example.test" (MESSAGES 1)
            S: b OK STATUS completed
            """
        )

    def test_myRightsListed(self) -> None:
        r"""
        RFC 8440 §4: each mailbox has its rights behind its line; what is no mailbox, or is told for
        those below it, has none.
        """
        self.server.login().check(
            r"""
            C: A01 LIST "" (INBOX Work%) RETURN (MYRIGHTS)
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * MYRIGHTS INBOX lrswipkxteancd
            S: * LIST (\HasChildren) "/" Work
            S: * MYRIGHTS Work lrswipkxteancd
            S: A01 OK LIST completed
            C: a SUBSCRIBE Work/Old
            S: a OK SUBSCRIBE completed
            C: A02 LIST (SUBSCRIBED RECURSIVEMATCH) "" W% RETURN (MYRIGHTS)
            S: * LIST (\HasChildren) "/" Work ("CHILDINFO" ("SUBSCRIBED"))
            S: A02 OK LIST completed
            """
        )
        self.grant("l", "Work/Old")
        self.server.login("bob").check(
            r"""
            C: A03 LIST "" "Other Users/alice@example.test/Work/%" RETURN (MYRIGHTS)
            S: * LIST (\HasNoChildren) "/" "Other Users/alice@example.test/Work/Old"
            S: * MYRIGHTS "Other Users/alice@example.test/Work/Old" l
            S: A03 OK LIST completed
            """
        )

    def test_subscribed(self) -> None:
        """Subscriptions are one's own, of names of others too, and outlive the right to see."""
        self.grant("lr")
        client = self.server.login("bob")
        client.check(
            r"""
            C: a SUBSCRIBE "Other Users/alice@example.test/Work"
            S: a OK SUBSCRIBE completed
            C: b LSUB "" "Other*"
            S: * LSUB () "/" "Other Users/alice@example.test/Work"
            S: b OK LSUB completed
            C: c LIST (SUBSCRIBED) "" "Other*"
            S: * LIST (\HasNoChildren \Subscribed) "/" "Other Users/alice@example.test/Work"
            S: c OK LIST completed
            """
        )
        self.grant("")
        client.check(
            r"""
            C: a LIST "" "Other*"
            S: a OK LIST completed
            C: b LSUB "" "Other*"
            S: * LSUB () "/" "Other Users/alice@example.test/Work"
            S: b OK LSUB completed
            C: c UNSUBSCRIBE "Other Users/alice@example.test/Work"
            S: c OK UNSUBSCRIBE completed
            C: d LSUB "" "Other*"
            S: d OK LSUB completed
            """
        )

    def test_created(self) -> None:
        """
        A new mailbox inherits from its superior (§4), an account's INBOX being above all: so who
        creates one can use it.
        """
        self.grant("lrik", "INBOX")
        self.grant("r", "INBOX", "carol@example.test")
        self.server.login("bob").check(
            """
            C: a CREATE "Other Users/alice@example.test/Plans/Next"
            S: a OK [MAILBOXID (M1-10)] CREATE completed
            C: b MYRIGHTS "Other Users/alice@example.test/Plans"
            S: * MYRIGHTS "Other Users/alice@example.test/Plans" lrikc
            S: b OK MYRIGHTS completed
            C: c MYRIGHTS "Other Users/alice@example.test/Plans/Next"
            S: * MYRIGHTS "Other Users/alice@example.test/Plans/Next" lrikc
            S: c OK MYRIGHTS completed
            C: d CREATE "Other Users/alice@example.test/Plans"
            S: d NO [ALREADYEXISTS] That mailbox exists already
            """.replace("(M1-10)", f"(M1-{self.nextId(1)})")
        )
        self.server.login("carol").check(
            """
            C: a MYRIGHTS "Other Users/alice@example.test/Plans/Next"
            S: * MYRIGHTS "Other Users/alice@example.test/Plans/Next" r
            S: a OK MYRIGHTS completed
            """
        )

    def nextId(self, after: int) -> int:
        """
        @return: the number of the id that a mailbox will get, that many ids later.
        """
        info = self.run_(self.alice.createMailbox("probe"))
        self.run_(self.alice.deleteMailbox("probe"))
        return int(info.mailboxId.rpartition("-")[2]) + 1 + after

    def test_hidden(self) -> None:
        """What may not be seen answers as what isn't there, whatever is tried (§6)."""
        self.grant("lr", "INBOX", "carol@example.test")
        client = self.server.login("bob")
        for text in (
            *('SELECT "%s"', 'EXAMINE "%s"', 'STATUS "%s" (MESSAGES)', 'GETACL "%s"'),
            *('MYRIGHTS "%s"', 'SETACL "%s" anyone l', 'DELETEACL "%s" anyone', 'DELETE "%s"'),
            *('LISTRIGHTS "%s" anyone', 'CREATE "%s/x"', 'RENAME "%s" "%s/y"', 'LIST "" "%s"'),
            *(
                'RENAME Sent "%s/y"',
                'GETQUOTAROOT "%s"',
                'SETACL "%s" nobody l',
                'APPEND "%s" {1+}',
            ),
        ):
            answers = {
                client.send(f"a {text.replace('%s', name)}\r\n".encode())
                for name in (
                    *(f"{ROOT}/Work", f"{ROOT}/Nothing", ROOT, "Other Users/nobody@example.test"),
                    *(
                        "Other Users/nobody@example.test/x",
                        "Shared/x",
                        "Shared/x/y",
                        f"{ROOT}/INBOX",
                    ),
                    *("Other Users/not an address/x", "Other Users/bob@example.test/INBOX"),
                )
                if not text.startswith("APPEND")
            }
            self.assertLessEqual(len(answers), 1, (text, answers))
        self.assertEqual(
            client.send(f'a CREATE "{ROOT}/Work"\r\n'.encode()),
            client.send(f'a CREATE "{ROOT}/Nothing"\r\n'.encode()),
        )

    def test_tryCreate(self) -> None:
        """TRYCREATE is said only where CREATE would be allowed (RFC 9051 §7.1)."""
        self.grant("lk")
        self.server.deliver(account=self.bob)
        client = self.server.login("bob")
        client.send(b"s SELECT INBOX\r\n")
        for name, answer in (
            (f"{ROOT}/Work/New", "NO [TRYCREATE]"),
            (f"{ROOT}/New", "NO [NONEXISTENT]"),
            ("Other Users/nobody@example.test/x", "NO [NONEXISTENT]"),
            ("Shared/x", "NO [NONEXISTENT]"),
            ("Other Users", "NO [NONEXISTENT]"),
            ("New", "NO [TRYCREATE]"),
        ):
            self.assertEqual(tagged(client.send(f'x COPY 1 "{name}"\r\n'.encode())), answer, name)

    def test_renamedAcross(self) -> None:
        """RENAME doesn't lead from one account to another."""
        self.grant("lrswipkxtea")
        self.grant("lrk", "INBOX")
        client = self.server.login("bob")
        for old, new in (
            ("Sent", f"{ROOT}/Work/Sent"),
            (f"{ROOT}/Work", "Work"),
            (f"{ROOT}/Work", "Other Users/carol@example.test/Work"),
            (f"{ROOT}/Work", "Shared/x"),
            ("INBOX", f"{ROOT}/Work/x"),
        ):
            answer = client.send(f'x RENAME "{old}" "{new}"\r\n'.encode())
            self.assertEqual(
                answer,
                b"x NO [CANNOT] A mailbox stays in its account: copy the messages instead\r\n",
            )
        answer = client.send(f'x RENAME "{ROOT}/Work" "{ROOT}/Done"\r\n'.encode())
        self.assertEqual(tagged(answer), "OK")
        # The list stays (§4).
        self.assertIn(b" lrswipkxteacd", client.send(f'x MYRIGHTS "{ROOT}/Done"\r\n'.encode()))

    def test_reserved(self) -> None:
        """One's own mailboxes don't get the names that others are below."""
        client = self.server.login()
        for name in (b'"Other Users"', b"Shared"):
            self.assertEqual(tagged(client.send(b"x CREATE %b\r\n" % name)), "NO [CANNOT]")
            self.assertEqual(tagged(client.send(b"x RENAME Work %b\r\n" % name)), "NO [CANNOT]")

    def test_older(self) -> None:
        """A mailbox of one's own that had such a name before goes on having it."""
        self.run_(self.bob.createMailbox("Shared/Pictures"))
        client = self.server.login("bob")
        client.check(
            r"""
            C: a LIST "" Shared* RETURN (MYRIGHTS)
            S: * LIST (\HasChildren) "/" Shared
            S: * MYRIGHTS Shared lrswipkxteancd
            S: * LIST (\HasNoChildren) "/" Shared/Pictures
            S: * MYRIGHTS Shared/Pictures lrswipkxteancd
            S: a OK LIST completed
            C: b STATUS Shared/Pictures (MESSAGES)
            S: * STATUS Shared/Pictures (MESSAGES 0)
            S: b OK STATUS completed
            C: c RENAME Shared/Pictures Pictures
            S: c OK RENAME completed
            C: d DELETE Shared
            S: d OK DELETE completed
            """
        )

    def test_public(self) -> None:
        """A public account has its mailboxes below Shared, by its public name."""
        self.run_(self.server.store.sharing.publish(self.alice.accountId, "office"))
        self.grant("lrswite", "INBOX", "@example.test")
        self.grant("lr", "Work", "anyone")
        for user in ("bob", "carol"):
            self.server.login(user).check(
                r"""
                C: a LIST "" Shared/*
                S: * LIST (\HasChildren) "/" Shared/office
                S: * LIST (\HasNoChildren) "/" Shared/office/Work
                S: a OK LIST completed
                C: b LIST "" "Other Users/*"
                S: b OK LIST completed
                C: c MYRIGHTS Shared/office
                S: * MYRIGHTS Shared/office lrswited
                S: c OK MYRIGHTS completed
                """
            )

    def test_anonymous(self) -> None:
        """What is granted to anonymous is nobody's who has a name."""
        self.grant("lr", "Work", "anonymous")
        self.assertNotIn(b"Work", self.server.login("bob").send(b'a LIST "" *\r\n'))

    def test_negative(self) -> None:
        """What is taken away from somebody isn't given by anything else (§2)."""
        self.grant("lrs", "Work", "anyone")
        self.grant("s", "Work", f"-{BOB}")
        for user, rights in (("bob", b"lr"), ("carol", b"lrs")):
            answer = self.server.login(user).send(f'a MYRIGHTS "{ROOT}/Work"\r\n'.encode())
            self.assertIn(b" %b\r\n" % rights, answer)

    def test_administered(self) -> None:
        """Who has a passes rights on, to others and to himself, and to the owner's cost never."""
        self.grant("la")
        self.server.login("bob").check(
            """
            C: a SETACL "Other Users/alice@example.test/Work" carol@example.test lr
            S: a OK SETACL completed
            C: b SETACL "Other Users/alice@example.test/Work" bob@example.test +r
            S: b OK SETACL completed
            C: c SETACL "Other Users/alice@example.test/Work" alice@example.test l
            S: c NO [CANNOT] The owner of a mailbox has all rights in it
            C: d GETACL "Other Users/alice@example.test/Work"
            S: * ACL "Other Users/alice@example.test/Work" "alice@example.test" lrswipkxteancd LIST
            S: d OK GETACL completed
            """.replace("LIST", '"bob@example.test" lra "carol@example.test" lr')
        )

    def test_between(self) -> None:
        """Messages go from one person's mailbox to another's, whoever moves them."""
        self.grant("lrte")
        self.grant("li", "INBOX", BOB, self.carol)
        client = self.server.login("bob")
        client.send(f's SELECT "{ROOT}/Work"\r\n'.encode())
        answer = client.send(b'x MOVE 1 "Other Users/carol@example.test"\r\n')
        self.assertEqual(tagged(answer), "OK")
        self.assertIn(b"* 1 EXPUNGE", answer)
        self.assertEqual((self.flags(), self.flags("INBOX", self.carol)), ([], [set()]))

    def test_overQuota(self) -> None:
        """What doesn't fit into the owner's account is refused, whose account has room or not."""
        self.grant("li")
        directory = self.server.store.directory
        self.run_(directory.setQuota(self.alice.address, 1000, None))
        client = self.server.login("bob")
        client.send(b"s SELECT INBOX\r\n")
        statement = b'x APPEND "%b/Work" {%d+}\r\n%b\r\n' % (ROOT.encode(), 2000, b"x" * 2000)
        self.assertEqual(tagged(client.send(statement)), "NO [OVERQUOTA]")
        self.run_(directory.setQuota(self.alice.address, None, None))
        self.run_(directory.setQuota(self.bob.address, 1, None))
        self.assertEqual(tagged(client.send(statement)), "OK")


class FaultTests(SynchronousTestCase):
    """
    A store that fails at each of the calls that a command makes.
    """

    def test_everyCall(self) -> None:
        """A command of ACL or QUOTA says NO, or does what it says; nothing is half done."""
        wrapped = MemoryMailStore()
        store = FaultyStore(wrapped)
        server = Server(store=store)
        server.addAccount("bob")
        now(server.account.createMailbox("Work"))
        client = server.login()
        work = now(wrapped.openAccount(server.account.accountId))
        control = wrapped.sharing
        mailboxId = now(work.openMailbox("Work")).mailboxId
        for text in (
            *("GETACL Work", f"SETACL Work {BOB} lr", f"DELETEACL Work {BOB}", "MYRIGHTS Work"),
            *(f"LISTRIGHTS Work {BOB}", "GETQUOTAROOT Work", "GETQUOTA alice@example.test"),
            *('LIST "" * RETURN (MYRIGHTS)', "NAMESPACE", "STATUS Work (DELETED-STORAGE)"),
        ):
            command_ = f"x {text}\r\n".encode()
            before = len(store.calls)
            self.assertEqual(tagged(client.send(command_)), "OK", text)
            for number in range(len(store.calls) - before):
                known = now(control.entries(mailboxId))
                store.failAt(number + 1)
                answer = tagged(client.send(command_))
                store.heal()
                self.flushLoggedErrors()
                self.assertEqual(answer, "NO [SERVERBUG]", (text, number))
                self.assertEqual(now(control.entries(mailboxId)), known)

    def test_others(self) -> None:
        """So does what is done with a mailbox of somebody else."""
        wrapped = MemoryMailStore()
        store = FaultyStore(wrapped)
        server = Server(store=store)
        server.addAccount("bob")
        alice = now(wrapped.openAccount(server.account.accountId))
        inbox = now(alice.openMailbox("INBOX"))
        everything = frozenset(ORDER)
        now(wrapped.sharing.change(inbox.mailboxId, BOB, FlagOperation.REPLACE, everything))
        client = server.login("bob")
        for text in (
            *(f'STATUS "{ROOT}" (MESSAGES)', f'SELECT "{ROOT}"', f'MYRIGHTS "{ROOT}"'),
            *(f'GETACL "{ROOT}"', f'SETACL "{ROOT}" anyone l', f'DELETE "{ROOT}/a"'),
            f'CREATE "{ROOT}/a"',
        ):
            command_ = f"x {text}\r\n".encode()
            before = len(store.calls)
            first = tagged(client.send(command_))
            for number in range(len(store.calls) - before):
                store.failAt(number + 1)
                answer = tagged(client.send(command_))
                store.heal()
                self.flushLoggedErrors()
                self.assertIn(answer, ("NO [SERVERBUG]", "NO [ALREADYEXISTS]", first), text)
