"""
Extensions that touch each other: what holds where several of them are in use at once.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from tests.imap.test_acl import (
    ROOT,
    SETS,
    SharingTestCase,
    command,
    expected,
    tagged,
)
from tests.imap.test_compress import Compressed
from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.testing.conversation import Conversation

EVERYTHING = "(selected (MessageNew (FLAGS) MessageExpunge FlagChange))"


def pushed(client: Conversation) -> list[str]:
    """
    @return: the lines that the server sent without being asked.
    """
    client.settle()
    return client.wire.take().decode("utf-8").splitlines()


class Rev2Tests(SynchronousTestCase):
    """
    IMAP4rev2 (RFC 9051) with extensions that are older than it.
    """

    def setUp(self) -> None:
        """Two messages, and alice speaks IMAP4rev2."""
        self.server = Server()
        for _ in range(2):
            self.server.deliver()
        self.client = self.server.login()
        self.client.send(b"e ENABLE IMAP4rev2\r\n")

    def test_newMessages(self) -> None:
        """
        RFC 9051 §7.5.2: "If the server chooses to send unsolicited FETCH responses, they MUST
        include UID FETCH item": those of NOTIFY, too.
        """
        self.client.send(f"s SELECT INBOX\r\nn NOTIFY SET {EVERYTHING}\r\n".encode())
        self.server.deliver()
        self.assertEqual(pushed(self.client), ["* 3 EXISTS", "* 3 FETCH (UID 3 FLAGS ())"])

    def test_nothingRecent(self) -> None:
        r"""RFC 9051, Appendix E: there is no RECENT and no C{\Recent}, whoever would tell it."""
        said = b""
        for line in (
            *("a ENABLE QRESYNC", "b SELECT INBOX (QRESYNC (1 1))", "c FETCH 1:* FLAGS"),
            *("d SEARCH RETURN (UPDATE) ALL", "e STORE 1 +FLAGS (x)", "f COPY 1 INBOX"),
            *("g MOVE 1 INBOX", "h APPEND INBOX {3+}\r\na:b", "i REPLACE 2 INBOX {3+}\r\na:b"),
            *("j IDLE\r\nDONE", "k UID FETCH 1:* FLAGS (CHANGEDSINCE 1)", "l EXAMINE INBOX"),
            f"m NOTIFY SET STATUS {EVERYTHING} (personal (MessageNew MessageExpunge FlagChange))",
            *('n LIST "" * RETURN (STATUS (MESSAGES UNSEEN))', "o CLOSE", "p NOTIFY NONE"),
        ):
            self.server.deliver()
            answer = self.client.send(line.encode() + b"\r\n")
            self.assertIn(f"{line[0]} OK ".encode(), answer, line)
            said += answer
        self.assertNotIn(b"RECENT", said.upper())

    def test_namesSwitched(self) -> None:
        """
        Who enables IMAP4rev2 or UTF8=ACCEPT after NOTIFY or ENABLE METADATA is told names in UTF-8
        from then on (RFC 6855 §3, RFC 9051 §5.1).
        """
        for enabled in ("IMAP4rev2", "UTF8=ACCEPT"):
            client = self.server.login()
            events = "MailboxName SubscriptionChange MessageNew MessageExpunge"
            client.send(f"n NOTIFY SET (personal ({events}))\r\n".encode())
            client.send(b"m ENABLE METADATA\r\n")
            other = self.server.login()
            other.send(b"x CREATE &AOk-\r\n")
            self.assertEqual(pushed(client), ['* LIST (\\HasNoChildren) "/" &AOk-'])
            client.send(f"e ENABLE {enabled}\r\n".encode())
            other.send(b"x SUBSCRIBE &AOk-\r\n")
            self.assertEqual(pushed(client), ['* LIST (\\HasNoChildren \\Subscribed) "/" "\u00e9"'])
            other.send(b'x SETMETADATA &AOk- (/private/comment "x")\r\n')
            self.assertEqual(pushed(client), ['* METADATA "\u00e9" /private/comment'])
            self.server.deliver(mailbox="\u00e9")
            self.assertEqual(pushed(client)[0], '* STATUS "\u00e9" (UIDNEXT 2 MESSAGES 1)')
            other.send(b"x UNSUBSCRIBE &AOk-\r\nx DELETE &AOk-\r\n")


class UIDOnlyTests(SynchronousTestCase):
    """
    UIDONLY (RFC 9586 §3) with extensions that tell something unasked, or that take numbers.
    """

    def setUp(self) -> None:
        """Four messages, selected by a client that has only UIDs."""
        self.server = Server()
        for _ in range(4):
            self.server.deliver()
        self.client = self.server.login()
        self.client.send(b"e ENABLE UIDONLY\r\ns SELECT INBOX\r\n")

    def test_pushed(self) -> None:
        """NOTIFY, and updates of a sorted search, name messages by their UIDs alone."""
        self.client.send(f"n NOTIFY SET {EVERYTHING}\r\n".encode())
        self.client.check(
            """
            C: u UID SORT RETURN (UPDATE ALL) (ARRIVAL) UTF-8 ALL
            S: * ESEARCH (TAG "u") UID ALL 1:4
            S: u OK UID SORT completed
            """
        )
        other = self.server.select()
        other.send(b"x STORE 2 +FLAGS (\\Deleted)\r\n")
        self.assertEqual(pushed(self.client), ["* 2 UIDFETCH (FLAGS (\\Recent \\Deleted))"])
        other.send(b"x EXPUNGE\r\n")
        self.assertEqual(
            pushed(self.client), ['* ESEARCH (TAG "u") UID REMOVEFROM (2 2)', "* VANISHED 2"]
        )
        self.server.deliver()
        self.assertEqual(
            pushed(self.client),
            [
                *("* 4 EXISTS", "* 4 RECENT", '* ESEARCH (TAG "u") UID ADDTO (4 5)'),
                "* 5 UIDFETCH (FLAGS (\\Recent))",
            ],
        )

    def test_refused(self) -> None:
        """Numbers of messages are refused wherever they may stand, and nothing else is done."""
        for line in (
            *(
                "SEARCH ALL",
                "UID SEARCH 1",
                "UID SEARCH RETURN (SAVE) NOT 1:2",
                "SORT (DATE) A ALL",
            ),
            *("UID SORT (DATE) UTF-8 OR 1 SEEN", "UID SORT RETURN (UPDATE) (DATE) UTF-8 1:*"),
            *("THREAD REFS UTF-8 ALL", "UID THREAD REFS UTF-8 (1:2)", "ESEARCH IN (selected) 1"),
            *("ESEARCH IN (mailboxes Sent) RETURN (COUNT) 1", "UID SEARCH FUZZY 1"),
            *("FETCH 1 FLAGS", "STORE 1 FLAGS (x)", "COPY 1 Sent", "MOVE 1 Sent"),
            *("REPLACE 1 INBOX {3+}\r\na:b", "SELECT INBOX (QRESYNC (1 1 1:2 (1 1)))"),
        ):
            answer = self.client.send(f"x {line}\r\n".encode())
            if "QRESYNC" not in line:
                self.assertRegex(answer, rb"\Ax BAD \[UIDREQUIRED\] [^\n]*\n(\* BAD |\Z)", line)
            else:
                self.assertRegex(answer, rb"\Ax BAD ", line)
        self.client.check(
            """
            C: a UID SEARCH RETURN (PARTIAL -1:-2) UID 1:3
            S: * ESEARCH (TAG "a") UID PARTIAL (-1:-2 2:3)
            S: a OK UID SEARCH completed
            C: b UID FETCH 1:* FLAGS (PARTIAL -1:-1)
            S: * 4 UIDFETCH (FLAGS (\\Recent))
            S: b OK UID FETCH completed
            """
        )

    def test_gone(self) -> None:
        """A message that went before REPLACE or FETCH: told by VANISHED, never by a number."""
        self.server.select().send(b"x STORE 3 +FLAGS (\\Deleted)\r\nx EXPUNGE\r\n")
        self.client.check(
            """
            C: a UID REPLACE 3 INBOX {3+}
            C: a:b
            S: a NO [EXPUNGEISSUED] There is no such message
            C: b UID REPLACE 4 INBOX {3+}
            C: a:b
            S: * OK [APPENDUID 1 5] Replacement ready
            S: * VANISHED 3:4
            S: * 3 EXISTS
            S: * 3 RECENT
            S: b OK UID REPLACE completed
            """
        )


class CompressedTests(SynchronousTestCase):
    """
    QRESYNC, NOTIFY and COMPRESS at once (RFC 7162, RFC 5465, RFC 4978).
    """

    def test_pushed(self) -> None:
        """What is pushed is compressed, comes at once, and has modSeqs and VANISHED."""
        server = Server()
        for _ in range(3):
            server.deliver()
        client = server.login()
        client.send(b"e ENABLE QRESYNC\r\nc COMPRESS DEFLATE\r\n")
        compressed = Compressed(client)
        answer = compressed.send(f"s SELECT INBOX\r\nn NOTIFY SET {EVERYTHING}\r\n".encode())
        self.assertTrue(answer.endswith(b"n OK NOTIFY completed\r\n"))

        def told() -> list[str]:
            client.settle()
            return compressed.inflater.decompress(client.wire.take()).decode().splitlines()

        other = server.select()
        other.send(b"x STORE 2 +FLAGS (\\Deleted)\r\n")
        self.assertEqual(told(), ["* 2 FETCH (UID 2 FLAGS (\\Recent \\Deleted) MODSEQ (11))"])
        other.send(b"x EXPUNGE\r\n")
        self.assertEqual(told(), ["* VANISHED 2", "* OK [HIGHESTMODSEQ 12] told"])
        server.deliver()
        self.assertEqual(
            told(), ["* 3 EXISTS", "* 3 RECENT", "* 3 FETCH (UID 4 FLAGS (\\Recent) MODSEQ (13))"]
        )
        answer = compressed.send(b"f UID FETCH 1:* FLAGS (CHANGEDSINCE 11 VANISHED)\r\n")
        self.assertEqual(
            answer.decode().splitlines(),
            [
                *("* VANISHED (EARLIER) 2", "* 3 FETCH (UID 4 FLAGS (\\Recent) MODSEQ (13))"),
                "f OK UID FETCH completed",
            ],
        )


class RenamedTests(SynchronousTestCase):
    """
    MULTISEARCH (RFC 7377) in a mailbox that the session itself gave another name.
    """

    def test_selected(self) -> None:
        """It is told by the name that it has, also when what is above it was renamed."""
        server = Server()
        now(server.account.createMailbox("Work/Old"))
        server.deliver(mailbox="Work/Old")
        client = server.select("Work/Old")
        for old, new, name in (
            ("Work/Old", "Work/Older", "Work/Older"),
            ("Work", "Job", "Job/Older"),
            ("Sent", "Posted", "Job/Older"),
        ):
            client.send(f"r RENAME {old} {new}\r\n".encode())
            answer = client.send(b"a ESEARCH IN (selected) RETURN (COUNT) ALL\r\n")
            self.assertIn(f'(TAG "a" MAILBOX {name} UIDVALIDITY '.encode(), answer)


class UnauthenticatedTests(SynchronousTestCase):
    """
    UNAUTHENTICATE (RFC 8437 §3) after everything else.
    """

    def test_asNew(self) -> None:
        """
        Who logs in next is answered as on a new connection, whatever the one before did: enabled,
        selected, saved, kept up, was told of, compressed.
        """
        server = Server()
        bob = server.addAccount("bob")
        for account in (server.account, bob):
            server.deliver(account=account)
        fresh = server.connect()
        used = server.connect()
        for client in (fresh, used):
            client.wire.take()
        for line in (
            "LOGIN alice@example.test secret",
            "ENABLE IMAP4rev2 QRESYNC UIDONLY UTF8=ACCEPT METADATA",
            "NOTIFY SET (selected (MessageNew MessageExpunge FlagChange)) (personal (MailboxName))",
            "SELECT INBOX",
            "UID SEARCH RETURN (SAVE UPDATE) ALL",
            "UID SORT RETURN (UPDATE) (DATE) UTF-8 ALL",
            "UNAUTHENTICATE",
        ):
            tag = line.replace(" ", "")[:5].encode()
            self.assertIn(tag + b" OK ", used.send(b"%b %b\r\n" % (tag, line.encode())), line)
        server.login().send(b'x SETMETADATA "" (/private/comment "x")\r\nx CREATE New\r\n')
        self.assertEqual(pushed(used), [])
        for line in (
            *("CAPABILITY", "SELECT INBOX", "LOGIN bob@example.test secret", "NOOP", "CAPABILITY"),
            *("FETCH 1 FLAGS", 'LIST "" *', "STATUS INBOX (MESSAGES UNSEEN)", "EXAMINE INBOX"),
            *("SEARCH ALL", "FETCH 1 FLAGS", "FETCH $ FLAGS", "STORE 1 +FLAGS (x)"),
            *("CANCELUPDATE UIDSE", 'STATUS "\u00e9" (MESSAGES)', "IDLE\r\nDONE", "EXPUNGE"),
            *("ENABLE QRESYNC", "CLOSE", "ENABLE QRESYNC", "COMPRESS LZ4", "NOOP"),
        ):
            text = b"t " + line.encode() + b"\r\n"
            self.assertEqual(used.send(text), fresh.send(text), line)
        server.deliver(account=bob)
        for client in (used, fresh):
            self.assertEqual(pushed(client), [])

    def test_compressed(self) -> None:
        """So it is where the connection was compressed; it may be compressed again."""
        server = Server()
        client = server.login()
        for _ in range(2):
            client.send(b"c COMPRESS DEFLATE\r\n")
            compressed = Compressed(client)
            self.assertEqual(
                compressed.send(b"u UNAUTHENTICATE\r\n"), b"u OK UNAUTHENTICATE completed\r\n"
            )
            answer = client.send(b"l LOGIN alice@example.test secret\r\n")
            self.assertTrue(answer.startswith(b"l OK "), answer)


WORK = f"{ROOT}/Work"
URL = f"/{WORK.replace(' ', '%20')}/;UID=1"
NEW = "{3+}\r\na:b"
#: As those of C{tests.imap.test_acl}: by command, what it needs in Work, with bob's INBOX
#: selected.
CASES = {
    f'SUBSCRIBE "{WORK}"': "",
    f'REPLACE 1 "{WORK}" {NEW}': "i",
    f'UID MOVE 1 "{WORK}"': "i",
    f'APPEND "{WORK}" CATENATE (URL "/INBOX/;UID=1")': "i",
    f'APPEND "{WORK}" {NEW} {NEW}': "i",
    f'STATUS "{WORK}" (DELETED-STORAGE MAILBOXID HIGHESTMODSEQ SIZE)': "r",
    f'SELECT "{WORK}" (CONDSTORE)': "r",
    f'GETMETADATA "{WORK}" /shared/comment': "lr",
    f'GETMETADATA (DEPTH infinity) "{WORK}" /private': "lr",
}
#: With Work selected.
SELECTED = {
    "SORT (DATE) UTF-8 ALL": "",
    "UID THREAD REFS UTF-8 ALL": "",
    "SEARCH RETURN (UPDATE SAVE) ALL": "",
    'APPEND Sent CATENATE (URL ";UID=1")': "",
    f'REPLACE 1 "{WORK}" {NEW}': "|tei",
    f"UID REPLACE 1 Sent {NEW}": "|te",
    "UID STORE 1 (UNCHANGEDSINCE 1000) +FLAGS.SILENT (x)": "|w",
}


class RightsTests(SharingTestCase):
    """
    What rights mean (RFC 4314 §4) to extensions that RFC knows nothing of: each command with no
    right, with one alone, with all but one, with all.
    """

    def attempt(self, rights: str, text: str, selected: str) -> bytes:
        """
        @return: the answer to a command of bob's, who has these rights in Work and Work/Old.
        """
        self.setUp()
        self.server.deliver(account=self.bob)
        for name in ("Work", "Work/Old"):
            self.grant(rights, name)
        client = self.server.login("bob")
        self.server.sessions[-1].urls = URLAuthority(
            self.server.store, self.server.settings.hostname, self.server.clock.seconds
        )
        self.assertIn(b"s OK ", client.send(f's SELECT "{selected}"\r\n'.encode()))
        return command(text)(client)

    def test_fromOwn(self) -> None:
        """Commands that reach into the mailbox from another."""
        for rights in SETS:
            for text, needed in CASES.items():
                if needed == "lr":
                    # RFC 5464 §3.3: "the "l" right and any one of the "r", "s", "w", "i", or "p"".
                    needed = "l" if set("rswip") & set(rights) else "lr"
                answer = tagged(self.attempt(rights, text, "INBOX"))
                self.assertEqual(answer, expected(rights, needed), (text, rights))

    def test_selected(self) -> None:
        """Commands in the mailbox."""
        for rights in SETS:
            if "r" in rights:
                for text, needed in SELECTED.items():
                    answer = tagged(self.attempt(rights, text, WORK))
                    self.assertEqual(answer, expected(rights, needed), (text, rights))

    def test_hidden(self) -> None:
        """
        What can't be read isn't found by MULTISEARCH, not told by LIST-STATUS, not put into new
        messages, not watched; and what may not be seen isn't even named.
        """
        told = [
            (f'ESEARCH IN (subtree "{ROOT}") RETURN (COUNT) ALL', "lr", "* ESEARCH "),
            ("ESEARCH IN (mailboxes {}) RETURN (COUNT) ALL", "r", "* ESEARCH "),
            ("LIST {} * RETURN (STATUS (MESSAGES))", "lr", "* STATUS "),
            ("LIST {} * RETURN (METADATA (/shared/comment))", "lr", "* METADATA "),
            ("NOTIFY SET STATUS (mailboxes {} (MessageNew MessageExpunge))", "lr", "* STATUS "),
            (f'APPEND INBOX CATENATE (URL "{URL}")', "r", "[APPENDUID "),
        ]
        for rights in ("", "l", "r", "lr", "lrswi"):
            for text, needed, response in told:
                answer = self.attempt(rights, text.replace("{}", f'"{WORK}"'), "INBOX").decode()
                self.assertEqual(response in answer, set(needed) <= set(rights), (text, rights))
                if "l" not in rights and response not in answer and "URL" not in text:
                    self.assertNotIn(ROOT, answer, (text, rights))

    def test_urlsOfOthers(self) -> None:
        """Only one's own mailboxes have keys for URLs (RFC 4467 §5), whatever may be read."""
        url = f"imap://bob%40example.test@imap.example.test{URL};URLAUTH=anonymous"
        for rights in ("", "lr", "lrswipkxtean"):
            for text in (f'GENURLAUTH "{url}" INTERNAL', f'RESETKEY "{WORK}" INTERNAL'):
                self.assertEqual(
                    tagged(self.attempt(rights, text, "INBOX")), "NO [NONEXISTENT]", (rights, text)
                )

    def test_grantedLater(self) -> None:
        """
        RFC 5465 §3.1: C{\\NoAccess} for what may be seen and not read; once it may be read, it is
        watched like the others.
        """
        self.grant("l")
        client = self.server.login("bob")
        answer = client.send(
            f'n NOTIFY SET STATUS (subtree "{ROOT}" (MessageNew MessageExpunge))\r\n'.encode()
        )
        self.assertIn(f'* LIST (\\NoAccess) "/" "{WORK}"\r\n'.encode(), answer)
        self.server.deliver(mailbox="Work")
        self.assertEqual(pushed(client), [])
        self.grant("lr")
        self.assertEqual(pushed(client), [f'* STATUS "{WORK}" (UIDNEXT 3 MESSAGES 2)'])
        self.server.deliver(mailbox="Work")
        self.assertEqual(pushed(client), [f'* STATUS "{WORK}" (UIDNEXT 4 MESSAGES 3)'])
        self.grant("l")
        self.server.deliver(mailbox="Work")
        self.assertEqual(pushed(client), [])

    def test_personal(self) -> None:
        """
        RFC 5465 §6.2, §6.3: C{personal} and C{inboxes} are one's own mailboxes; C{subscribed} are
        others', too, and what isn't any more is told as well.
        """
        self.grant("lr")
        for kind in ("personal", "inboxes", "subscribed"):
            self.setUp()
            self.grant("lr")
            client, other = self.server.login("bob"), self.server.login("bob")
            other.send(f'x SUBSCRIBE "{WORK}"\r\n'.encode())
            events = "MessageNew MessageExpunge MailboxMetadataChange SubscriptionChange"
            client.send(f"n NOTIFY SET ({kind} ({events}))\r\n".encode())
            self.server.deliver(account=self.bob)
            self.assertEqual(pushed(client), ["* STATUS INBOX (UIDNEXT 2 MESSAGES 1)"], kind)
            other.send(b'x SETMETADATA INBOX (/private/comment "x")\r\n')
            self.assertEqual(pushed(client), ["* METADATA INBOX /private/comment"], kind)
            self.server.deliver(mailbox="Work")
            told = [f'* STATUS "{WORK}" (UIDNEXT 3 MESSAGES 2)'] * (kind == "subscribed")
            self.assertEqual(pushed(client), told, kind)
            other.send(f'x UNSUBSCRIBE "{WORK}"\r\n'.encode())
            told = [f'* LIST (\\HasChildren) "/" "{WORK}"'] * (kind == "subscribed")
            self.assertEqual(
                [each.replace("HasNoChildren", "HasChildren") for each in pushed(client)],
                told,
                kind,
            )
            self.server.deliver(mailbox="Work")
            self.assertEqual(pushed(client), [], kind)

    def test_parents(self) -> None:
        """
        RFC 5465 §5.4: the name above what came or went is told, whether there is such a mailbox or
        not, and whether others are below it.
        """
        for name in ("Work", "Work/Old"):
            self.grant("lr", name)
        client = self.server.login("bob")
        client.send(f'n NOTIFY SET (subtree "{ROOT}" (MailboxName))\r\n'.encode())
        self.grant("")
        self.assertEqual(
            pushed(client),
            [
                f'* LIST (\\NonExistent \\HasChildren) "/" "{ROOT}"',
                f'* LIST (\\NonExistent \\HasChildren) "/" "{WORK}"',
            ],
        )
        self.grant("", "Work/Old")
        self.assertEqual(
            pushed(client),
            [f'* LIST (\\NonExistent) "/" "{name}"' for name in (WORK, f"{WORK}/Old")],
        )

    def test_metadataOfOthers(self) -> None:
        """
        A session isn't told what it did itself (RFC 5464 §4.4.2); what it did to others' mailboxes
        hides nothing of what happens in its own account.
        """
        self.grant("lrw")
        client, other = self.server.login("bob"), self.server.login("bob")
        client.send(b"e ENABLE METADATA\r\n")
        # Alice's account had more changes than bob's has.
        answer = client.send(f'a SETMETADATA "{WORK}" (/shared/comment "x")\r\n'.encode())
        self.assertEqual(answer, b"a OK SETMETADATA completed\r\n")
        alices = now(now(self.alice.openMailbox("Work")).status()).highestModSeq
        bobs = 0
        while bobs <= alices:
            other.send(b'x SETMETADATA INBOX (/private/comment "y")\r\n')
            answer = client.send(b"n NOOP\r\n")
            self.assertEqual(
                answer, b"* METADATA INBOX /private/comment\r\nn OK NOOP completed\r\n"
            )
            bobs = now(now(self.bob.openMailbox("INBOX")).status()).highestModSeq
