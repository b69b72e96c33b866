"""
MULTISEARCH (RFC 7377).
"""

from __future__ import annotations

import re
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from tests.imap.test_acl import ROOT, SharingTestCase
from tests.imap.test_esearch import SearchingTestCase
from tests.imap.test_indexed import IndexedServer
from twisted_mailstack.errors import NoSuchMailbox, StoreDamaged, SyntaxProblem
from twisted_mailstack.imap import search
from twisted_mailstack.imap.extensions import multisearch
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.sources import MailboxFilter, readFilter, readFilters
from twisted_mailstack.model.records import MailboxInfo
from twisted_mailstack.storage.sql import index


class MultiTestCase(SearchingTestCase):
    """
    Mailboxes with UIDVALIDITY from 7: folder1, folder2, folder2/banana, folder2/banana/ripe,
    folder2/peach, folder3.
    """

    def setUp(self) -> None:
        """Make them, with one flagged message of two in each but folder2."""
        super().setUp()
        self.names = ["folder1", "folder2/banana/ripe", "folder2/peach", "folder3"]
        for name in self.names:
            now(self.server.account.createMailbox(name))
        for name in ("folder1", "folder2/banana", "folder2/banana/ripe", "folder2/peach"):
            self.server.deliver(mailbox=name)
            self.server.deliver(mailbox=name, flags=["\\Flagged"])

    def found(self, answer: bytes) -> dict[str, str]:
        """
        @return: the data by mailbox's name, each with the tag C{t} and a UIDVALIDITY.
        """
        lines = answer.decode().split("\r\n")
        self.assertTrue(lines[-2].startswith("t OK "), answer)
        found: dict[str, str] = {}
        for line in lines[:-2]:
            self.assertRegex(line, r'\A\* ESEARCH \(TAG "t" MAILBOX \S+ UIDVALIDITY \d+\) UID')
            name = line.split("MAILBOX ")[1].split(" ")[0]
            self.assertNotIn(name, found)
            found[name] = line.partition(") UID")[2].strip()
        return found


class SourceTests(MultiTestCase):
    """
    Which mailboxes are searched (§2.2).
    """

    def test_capability(self) -> None:
        """It is announced."""
        self.assertIn(b" MULTISEARCH ", self.server.login().send(b"a CAPABILITY\r\n"))

    def test_example(self) -> None:
        """The example of §3: two commands, without any mailbox selected, answered by tag."""
        client = self.server.login()
        validity = {
            name: now(now(self.server.account.openMailbox(name)).status()).uidValidity
            for name in ("folder1", "folder2/banana", "folder2/banana/ripe", "folder2/peach")
        }
        answer = client.send(
            b'tag1 ESEARCH IN (mailboxes "folder1" subtree "folder2") unseen\r\n'
            b'tag2 ESEARCH IN (mailboxes "folder1" subtree-one "folder2") subject "meeting"\r\n'
        )
        expected = [
            f'* ESEARCH (TAG "{tag}" MAILBOX {name} UIDVALIDITY {validity[name]}) UID ALL 1:2'
            for tag, names in (
                ("tag1", ("folder1", "folder2/banana", "folder2/banana/ripe", "folder2/peach")),
                ("tag2", ("folder1", "folder2/banana", "folder2/peach")),
            )
            for name in names
        ]
        expected.insert(4, "tag1 OK ESEARCH completed")
        expected.append("tag2 OK ESEARCH completed")
        self.assertEqual(answer.decode().split("\r\n")[:-1], expected)

    def test_specifiers(self) -> None:
        """
        Each of them, in any case; a mailbox comes once, however often it is meant.
        """
        now(self.server.account.setSubscribed("folder2/peach", True))
        now(self.server.account.setSubscribed("nowhere", True))
        self.server.deliver(flags=["\\Flagged"])
        client = self.server.login()
        everywhere = ["INBOX", "folder1", "folder2/banana", "folder2/banana/ripe", "folder2/peach"]
        for sources, names in (
            ("mailboxes folder1", ["folder1"]),
            ("mailboxes (folder1 folder2/peach)", ["folder1", "folder2/peach"]),
            ("mailboxes folder1 mailboxes folder1", ["folder1"]),
            ("mailboxes (folder1 folder1)", ["folder1"]),
            ("mailboxes {7+}\r\nfolder1", ["folder1"]),
            ("mailboxes nowhere", []),
            ("mailboxes (nowhere folder1)", ["folder1"]),
            ("mailboxes folder2", []),
            ("mailboxes FOLDER1", []),
            ("mailboxes inbox", ["INBOX"]),
            ("subtree folder2", ["folder2/banana", "folder2/banana/ripe", "folder2/peach"]),
            ("SUBTREE-ONE folder2", ["folder2/banana", "folder2/peach"]),
            ("subtree-one folder2/banana", ["folder2/banana", "folder2/banana/ripe"]),
            ("subtree (folder1 folder2/peach)", ["folder1", "folder2/peach"]),
            ("subtree fold", []),
            ("subscribed", ["INBOX", "folder2/peach"]),
            ("personal", everywhere),
            ("Personal inboxes", everywhere),
            ("inboxes", everywhere),
        ):
            answer = client.send(f"t ESEARCH IN ({sources}) FLAGGED\r\n".encode())
            self.assertEqual(sorted(self.found(answer)), sorted(names), sources)

    def test_selected(self) -> None:
        """
        Without source options, or with "selected", the selected mailbox: with UIDs, and what its
        client knows of it.
        """
        client = self.fill("F.F")
        self.server.deliver(flags=["\\Flagged"])
        for sources in (b"", b"IN (selected) "):
            answer = client.send(b"t ESEARCH %bRETURN (COUNT) FLAGGED\r\n" % sources)
            lines = [line for line in answer.split(b"\r\n") if b"ESEARCH" in line or not line]
            # The message that came meanwhile is found once it was told.
            self.assertEqual(
                self.found(b"\r\n".join(lines)), {"INBOX": f"COUNT {3 if sources else 2}"}
            )
        answer = client.send(b"t ESEARCH IN (selected mailboxes (folder1 INBOX)) 1\r\n")
        self.assertEqual(self.found(answer), {"INBOX": "ALL 2", "folder1": "ALL 1"})

    def test_selectedStays(self) -> None:
        """
        "An ESEARCH command with source options does not affect which mailbox, if any, is currently
        selected", and takes no C{\\Recent}.
        """
        client = self.fill("F")
        client.send(b"t ESEARCH IN (personal) ALL\r\n")
        client.check("""
            C: a FETCH 1 UID
            S: * 1 FETCH (UID 2)
            S: a OK FETCH completed
        """)
        answer = self.server.select("folder1").send(b"a SEARCH RECENT\r\n")
        self.assertTrue(answer.startswith(b"* SEARCH 1 2\r\n"), answer)

    def test_states(self) -> None:
        """
        Before login never; "selected" only with one selected, else BAD.
        """
        client = self.server.login()
        for command in (
            "ESEARCH ALL",
            "ESEARCH RETURN (ALL) ALL",
            "ESEARCH IN (selected) ALL",
            "ESEARCH IN (personal selected) ALL",
        ):
            self.assertBad(client, command)
        outside = self.server.connect()
        outside.wire.take()
        self.assertBad(outside, "ESEARCH IN (personal) ALL")

    def test_numbers(self) -> None:
        """
        Sequence numbers mean others in each mailbox, and none where there are less (§2).
        """
        client = self.fill("FFF")
        answer = client.send(b"t ESEARCH IN (selected mailboxes folder1 mailboxes Sent) 2:3\r\n")
        self.assertEqual(self.found(answer), {"INBOX": "ALL 3:4", "folder1": "ALL 2"})

    def test_noExpunge(self) -> None:
        """
        No EXPUNGE during it, as there may be numbers among its keys.
        """
        client = self.fill("FFF")
        self.expunge(b"2")
        answer = client.send(b"t ESEARCH IN (personal) 2:3 SUBJECT x\r\n")
        self.assertNotIn(b" EXPUNGE\r\n", answer)
        self.assertIn(b"t OK ESEARCH completed\r\n", answer)
        # Of the selected one it is told that it will be told (RFC 5530 §3).
        for sources in (b"", b"IN (personal selected) "):
            answer = client.send(b"t ESEARCH %bSUBJECT x\r\n" % sources)
            self.assertIn(b"t OK [EXPUNGEISSUED] ESEARCH completed\r\n", answer)
            self.assertNotIn(b" EXPUNGE\r\n", answer)
        self.assertIn(b"* 1 EXPUNGE\r\n", client.send(b"n NOOP\r\n"))

    def test_cannotBeOpened(self) -> None:
        """
        Mailboxes that can't be opened, or go meanwhile, "MUST be ignored"; the others are searched.
        """
        client = self.server.login()
        opened = type(self.server.account).openMailbox

        async def openMailbox(account: object, name: str) -> object:
            if name == "folder1":
                raise NoSuchMailbox()
            return await opened(account, name)

        self.patch(type(self.server.account), "openMailbox", openMailbox)
        answer = client.send(b"t ESEARCH IN (mailboxes folder1 subtree folder2) FLAGGED\r\n")
        self.assertEqual(
            sorted(self.found(answer)), ["folder2/banana", "folder2/banana/ripe", "folder2/peach"]
        )

    def test_goes(self) -> None:
        """
        One that is deleted, or can't be read, while it is searched is left out.
        """
        client = self.server.login()
        mailbox = now(self.server.account.openMailbox("folder1"))
        fetch = type(mailbox).fetch

        async def fetching(self: object, uids: object, attributes: object) -> object:
            if self is mailbox or getattr(self, "mailboxId", "") == mailbox.mailboxId:
                raise StoreDamaged()
            return await fetch(self, uids, attributes)

        self.patch(type(mailbox), "fetch", fetching)
        answer = client.send(b"t ESEARCH IN (mailboxes (folder1 folder2/peach)) LARGER 1\r\n")
        self.assertEqual(self.found(answer), {"folder2/peach": "ALL 1:2"})

    def test_syntaxErrors(self) -> None:
        """What isn't in the grammar."""
        client = self.fill("F")
        for command in (
            "ESEARCH",
            "ESEARCH ",
            "ESEARCH IN ALL",
            "ESEARCH IN () ALL",
            "ESEARCH IN (selected)",
            "ESEARCH IN (selected-delayed) ALL",
            "ESEARCH IN (mailboxes) ALL",
            "ESEARCH IN (mailboxes ()) ALL",
            "ESEARCH IN (mailboxes (a b) ALL",
            "ESEARCH IN (folder1) ALL",
            "ESEARCH IN (mailboxes folder*) ALL",
            "ESEARCH IN (personal  inboxes) ALL",
            "ESEARCH IN (personal (frobnicate)) ALL",
            "ESEARCH IN (personal) RETURN (FROBNICATE) ALL",
            "ESEARCH IN (mailboxes nowhere) FROBNICATE",
            "ESEARCH RETURN (ALL) IN (personal) ALL",
            "ESEARCH CHARSET UTF-8 IN (personal) ALL",
        ):
            self.assertBad(client, command)


class ReturnTests(MultiTestCase):
    """
    Return options (§2.1, §2.2).
    """

    def test_everyMailbox(self) -> None:
        """
        The values are of each mailbox; PARTIAL too; none for one without a match, COUNT neither.
        """
        client = self.server.login()
        for options, data in (
            ("", "ALL 2"),
            ("RETURN () ", "ALL 2"),
            ("RETURN (COUNT) ", "COUNT 1"),
            ("RETURN (MIN MAX COUNT) ", "MIN 2 MAX 2 COUNT 1"),
            ("RETURN (PARTIAL 1:1) ", "PARTIAL (1:1 2)"),
            ("RETURN (PARTIAL 2:3) ", "PARTIAL (2:3 NIL)"),
            ("RETURN (CONTEXT COUNT) ", "COUNT 1"),
        ):
            command = f"t ESEARCH IN (mailboxes (folder1 folder3)) {options}FLAGGED\r\n"
            answer = client.send(command.encode())
            self.assertEqual(self.found(answer), {"folder1": data}, options)
        answer = client.send(b"t ESEARCH IN (mailboxes folder3) RETURN (COUNT) ALL\r\n")
        self.assertEqual(answer, b"t OK ESEARCH completed\r\n")

    def test_save(self) -> None:
        """
        SAVE is for the selected mailbox as the only one; else BAD.
        """
        client = self.fill("F.F")
        for sources in ("personal", "selected mailboxes folder1", "mailboxes INBOX"):
            self.assertBad(client, f"ESEARCH IN ({sources}) RETURN (SAVE) ALL")
        for sources in ("", "IN (selected) "):
            answer = client.send(f"t ESEARCH {sources}RETURN (SAVE) FLAGGED\r\n".encode())
            self.assertEqual(answer, b"t OK ESEARCH completed\r\n")
            self.assertEqual(
                client.send(b"a SEARCH $\r\n"), b"* SEARCH 1 3\r\na OK SEARCH completed\r\n"
            )
            client.send(b"a SEARCH RETURN (SAVE) UNFLAGGED\r\n")

    def test_saveNothing(self) -> None:
        """A search that finds nothing saves that."""
        client = self.fill("F.F")
        client.send(b"a SEARCH RETURN (SAVE) ALL\r\n")
        client.send(b"t ESEARCH RETURN (SAVE) DELETED\r\n")
        self.assertTrue(client.send(b"a SEARCH $\r\n").startswith(b"* SEARCH\r\n"))

    def test_update(self) -> None:
        """
        UPDATE "MUST apply only to the currently selected mailbox".
        """
        self.assertBad(self.server.login(), "ESEARCH IN (personal) RETURN (UPDATE) ALL")
        client = self.fill("F.")
        self.assertBad(client, "ESEARCH IN (mailboxes folder1) RETURN (UPDATE) ALL")
        answer = client.send(
            b"t ESEARCH IN (selected mailboxes folder1) RETURN (UPDATE) FLAGGED\r\n"
        )
        self.assertEqual(self.found(answer), {"INBOX": "", "folder1": ""})
        self.server.deliver(mailbox="folder1", flags=["\\Flagged"])
        self.assertRegex(
            client.send(b"a STORE 2 +FLAGS.SILENT (\\Flagged)\r\n"),
            rb"\A\* ESEARCH \(TAG \"t\" MAILBOX INBOX UIDVALIDITY \d+\) UID ADDTO \(0 3\)\r\na OK ",
        )

    def test_tagReuse(self) -> None:
        """
        The tag of a search that is kept up is refused to another (RFC 5267 §4.3), with or without
        other mailboxes.
        """
        client = self.fill("F.")
        client.send(b"x ESEARCH RETURN (UPDATE COUNT) FLAGGED\r\n")
        self.assertBad(client, "ESEARCH RETURN (UPDATE) SEEN")
        self.assertBad(client, "ESEARCH IN (selected personal) RETURN (UPDATE) SEEN")
        self.assertBad(client, "SEARCH RETURN (UPDATE) SEEN")

    def test_names(self) -> None:
        """
        Names of mailboxes are written as the session writes them: in modified UTF-7, or in UTF-8.
        """
        now(self.server.account.createMailbox("a b/grüße"))
        self.server.deliver(mailbox="a b/grüße")
        client = self.server.login()
        answer = client.send(b't ESEARCH IN (subtree "a b") ALL\r\n')
        self.assertIn(b' MAILBOX "a b/gr&APwA3w-e" UIDVALIDITY ', answer)
        self.server.sessions[-1].enabled.add(b"IMAP4REV2")
        answer = client.send('t ESEARCH IN (mailboxes "a b/grüße") ALL\r\n'.encode())
        self.assertIn(b' MAILBOX "a b/gr\xc3\xbc\xc3\x9fe" UIDVALIDITY ', answer)

    def test_uidOnly(self) -> None:
        """With UIDONLY there are no sequence numbers here either."""
        client = self.server.login()
        client.send(b"a ENABLE UIDONLY\r\n")
        answer = client.send(b"t ESEARCH IN (personal) 1\r\n")
        self.assertTrue(answer.startswith(b"t BAD [UIDREQUIRED] "), answer)
        answer = client.send(b"t ESEARCH IN (personal) UID 1\r\n")
        self.assertIn("folder1", self.found(answer))


class RightsTests(SharingTestCase):
    """
    With ACL (RFC 7377 §2.2): what Bob may not see "MUST be ignored".
    """

    def found(self, sources: str) -> list[str]:
        """
        @return: the mailboxes in which Bob finds something.
        """
        client = self.server.login("bob")
        command = f"a ESEARCH IN ({sources}) RETURN (COUNT) ALL\r\n"
        lines = client.send(command.encode()).decode().split("\r\n")
        self.assertEqual(lines[-2:], ["a OK ESEARCH completed", ""], lines)
        found = [re.search(r'MAILBOX ("[^"]+"|\S+) UIDVALIDITY', line) for line in lines[:-2]]
        return [each[1].strip('"') if each else "" for each in found]

    def test_rights(self) -> None:
        """
        C{r} for every mailbox, and C{l} for one that isn't named; other people's aren't personal.
        """
        self.server.deliver(account=self.bob)
        named = f'mailboxes ("{ROOT}/Work" INBOX)'
        subtree = f'subtree "{ROOT}/Work"'
        for rights, byName, below in (
            ("", [], []),
            ("l", [], []),
            ("lr", [f"{ROOT}/Work"], [f"{ROOT}/Work"]),
            ("lrswi", [f"{ROOT}/Work"], [f"{ROOT}/Work"]),
        ):
            self.grant(rights)
            self.assertEqual(sorted(self.found(named)), ["INBOX", *byName], rights)
            self.assertEqual(self.found(subtree), below, rights)
            self.assertEqual(self.found("personal"), ["INBOX"], rights)
        self.grant("lr", "Work/Old")
        self.assertEqual(self.found(subtree), [f"{ROOT}/Work", f"{ROOT}/Work/Old"])

    def test_readAlone(self) -> None:
        """
        C{r} without C{l}: found if it is named, but not below a name.
        """
        self.grant("r")
        self.assertEqual(self.found(f'mailboxes "{ROOT}/Work"'), [f"{ROOT}/Work"])
        self.assertEqual(self.found(f'subtree "{ROOT}"'), [])


class SQLReturnTests(ReturnTests):
    """
    The same over the SQL store.
    """

    def makeServer(self) -> Server:
        """See L{SearchingTestCase}."""
        return SteppedServer(self.mktemp())


class FilterTests(SynchronousTestCase):
    """
    C{filter-mailboxes} as values.
    """

    def test_parsed(self) -> None:
        """Kinds and names."""
        cursor = Cursor(b'mailboxes ("a b" inbox) subtree x selected)')
        self.assertEqual(
            [(each.kind, list(each.names)) for each in readFilters(cursor)],
            [(b"MAILBOXES", ["a b", "INBOX"]), (b"SUBTREE", ["x"]), (b"SELECTED", [])],
        )
        self.assertEqual(cursor.rest(), b")")

    def test_refused(self) -> None:
        """A kind that isn't allowed here."""
        with self.assertRaises(SyntaxProblem):
            readFilter(Cursor(b"selected"), (b"PERSONAL",))

    def test_personal(self) -> None:
        """Other people's mailboxes aren't personal; by name they are meant."""
        info = MailboxInfo("Other Users/bob", "M9", True, True)
        self.assertFalse(MailboxFilter(b"PERSONAL").matches(info, personal=False))
        self.assertFalse(MailboxFilter(b"INBOXES").matches(info, personal=False))
        self.assertTrue(MailboxFilter(b"SUBSCRIBED").matches(info, personal=False))
        named = MailboxFilter(b"MAILBOXES", ("Other Users/bob",))
        self.assertTrue(named.matches(info, personal=False))


class ClosedTests(SynchronousTestCase):
    """
    Mailboxes that needn't be opened to know that nothing in them matches.
    """

    words = ("alpha", "beta", "gamma")

    def setUp(self) -> None:
        """Eight mailboxes, in some of them messages; some are indexed."""
        self.patch(index, "SLICE", 7)
        self.server = IndexedServer(self.mktemp())
        self.addCleanup(lambda: now(self.server.store.stop()))
        self.names = [f"box{number}" for number in range(8)]
        for name in self.names:
            now(self.server.account.createMailbox(name))
        self.opened: list[str] = []

    def fill(self, chance: Random) -> None:
        """
        Put messages into random mailboxes, with random texts and flags.
        """
        for _ in range(chance.randrange(12)):
            flags = [flag for flag in ("\\Seen", "\\Deleted", "Key") if chance.random() < 0.5]
            texts = [" ".join(chance.sample(self.words, chance.randrange(3))) for _ in range(2)]
            data = "Subject: {}\r\n\r\n{}\r\n".format(*texts).encode()
            self.server.deliver(data, chance.choice(self.names[:6]), flags)

    def query(self, chance: Random, depth: int = 0) -> str:
        """
        @return: random search keys.
        """
        kinds = ("flag", "text", "text", "and", "or", "not", "fuzzy", "number")
        kind = chance.choice(kinds[:3] if depth > 2 else kinds)
        more = depth + 1
        if kind == "flag":
            flags = "ALL SEEN UNSEEN DELETED UNDELETED FLAGGED NEW OLD RECENT".split()
            return chance.choice([*flags, "KEYWORD KEY", "KEYWORD other", "UNKEYWORD key"])
        if kind == "text":
            word = chance.choice((*self.words, "alph", "nowhere", "be"))
            return f"{chance.choice(('SUBJECT', 'BODY', 'TEXT', 'FROM'))} {word}"
        if kind == "and":
            return f"({self.query(chance, more)} {self.query(chance, more)})"
        if kind == "or":
            return f"OR {self.query(chance, more)} {self.query(chance, more)}"
        if kind == "number":
            return chance.choice(("1", "2:*", "UID 1:2"))
        return f"{kind.upper()} {self.query(chance, more)}"

    def test_same(self) -> None:
        """
        Whatever is asked, each mailbox's messages are those that it has when it is searched alone,
        however many are searched at once, and however far the index is.
        """
        self.patch(search, "FEW", 0)
        for seed in range(25):
            chance = Random(seed)
            self.fill(chance)
            self.server.build(chance.randrange(3))
            self.patch(multisearch, "FEW", chance.choice((0, 3, 100)))
            client = self.server.login()
            for _ in range(6):
                query = self.query(chance)
                answer = client.send(f"t ESEARCH IN (PERSONAL) {query}\r\n".encode()).decode()
                self.assertIn("t OK", answer)
                found = dict(re.findall(r"MAILBOX (\S+) UIDVALIDITY \d+\) UID ALL (\S+)", answer))
                alone = {}
                for name in ("INBOX", *self.names):
                    client.send(f"e EXAMINE {name}\r\n".encode())
                    # \\Recent is what a session has claimed: a search of many claims nothing.
                    if re.search("NEW|OLD|RECENT", query):
                        client.send(b"u UNSELECT\r\n")
                        one = client.send(f"t ESEARCH IN (MAILBOXES {name}) {query}\r\n".encode())
                    else:
                        one = client.send(f"t UID SEARCH RETURN (ALL) {query}\r\n".encode())
                        client.send(b"u UNSELECT\r\n")
                    uids = re.search(rb"UID ALL (\S+)", one)
                    if uids:
                        alone[name] = uids.group(1).decode()
                self.assertEqual(found, alone, query)

    def watch(self) -> None:
        """
        Note which mailboxes are opened.
        """
        account = type(self.server.account)
        openMailbox = account.openMailbox

        async def noted(account_: Any, name: str) -> Any:
            self.opened.append(name)
            return await openMailbox(account_, name)

        self.patch(account, "openMailbox", noted)

    def search(self, query: str) -> list[str]:
        """
        @return: the mailboxes that were opened.
        """
        client = self.server.login()
        self.opened.clear()
        answer = client.send(f"t ESEARCH IN (PERSONAL) {query}\r\n".encode())
        self.assertIn(b"t OK", answer)
        return list(self.opened)

    def test_notOpened(self) -> None:
        """
        What has no text that is needed, or none with flags that are, isn't opened; of a text that
        mustn't be there nothing is concluded, nor of one in a message that isn't indexed.
        """
        self.server.deliver(b"Subject: alpha\r\n\r\nbeta\r\n", "box0", ["\\Seen"])
        self.server.deliver(b"Subject: beta\r\n\r\nalpha\r\n", "box1", ["\\Deleted"])
        self.server.deliver(b"Subject: gamma\r\n\r\ngamma\r\n", "box2", ["Key"])
        self.server.build(2)
        self.watch()
        for query, opened in (
            ("ALL", [0, 1, 2]),
            ("TEXT alpha", [0, 1]),
            ("SUBJECT alpha", [0]),
            ("BODY alpha", [1]),
            ("TEXT nowhere", []),
            ("NOT TEXT alpha", [0, 1, 2]),
            ("OR SUBJECT alpha BODY gamma", [0, 2]),
            ("OR SUBJECT alpha FLAGGED", [0, 1, 2]),
            ("TEXT alpha UNSEEN", [1]),
            ("FUZZY TEXT alphas", [0, 1, 2]),
            ("UNSEEN", [1, 2]),
            ("SEEN", [0]),
            ("DELETED", [1]),
            ("UNDELETED", [0, 2]),
            ("KEYWORD key", [2]),
            ("UNKEYWORD key", [0, 1, 2]),
        ):
            if "FUZZY" in query:
                self.assertLessEqual({"box0", "box1"}, set(self.search(query)))
            else:
                self.assertEqual(self.search(query), [f"box{number}" for number in opened], query)
        self.server.deliver(b"Subject: x\r\n\r\nx\r\n", "box3")
        self.assertEqual(self.search("TEXT nowhere"), ["box3"])
        # Named, and not known by an id before it is opened.
        self.assertIn(b"t OK", self.server.login().send(b"t ESEARCH IN (MAILBOXES box2) ALL\r\n"))
