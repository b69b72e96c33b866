"""
CAPABILITY and the extensions behind it: C{twisted_mailstack.imap.registry}. Whatever a server
tells that it can do works there, whatever its store is like.
"""

from __future__ import annotations

from typing import Any

from twisted.python.components import proxyForInterface
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import providedBy

from tests.imap.stepped import SteppedServer
from tests.imap.support import Server
from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.interfaces import IAccount, IMailbox, IMailStore, IURLKeyStore
from twisted_mailstack.model.flags import FlagScope
from twisted_mailstack.model.records import CopyResult
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation


class PlainMailbox(proxyForInterface(IMailbox, "_inner")):  # type: ignore[misc]
    """A mailbox that can do what each must be able to."""

    async def copyMessages(
        self, uids: NumberSet, destination: Any, scope: FlagScope | None = None
    ) -> CopyResult:
        """See L{IMailbox}."""
        result: CopyResult = await self._inner.copyMessages(uids, destination._inner, scope)
        return result


class PlainAccount(proxyForInterface(IAccount, "_inner")):  # type: ignore[misc]
    """An account that can do what each must be able to."""

    async def openMailbox(self, name: str) -> PlainMailbox:
        """See L{IAccount}."""
        return PlainMailbox(await self._inner.openMailbox(name))


class PlainStore(proxyForInterface(IMailStore, "_inner")):  # type: ignore[misc]
    """A store that can do what each must be able to."""

    async def openAccount(self, accountId: str) -> PlainAccount:
        """See L{IMailStore}."""
        return PlainAccount(await self._inner.openAccount(accountId))


#: By capability: commands of the authenticated state that have to succeed where it is told.
AUTHENTICATED = {
    "ENABLE": ["ENABLE CONDSTORE"],
    "IMAP4rev2": ["ENABLE IMAP4rev2", "SELECT INBOX", "SEARCH ALL", "LIST (SUBSCRIBED) {} *"],
    "UTF8=ACCEPT": [
        "ENABLE UTF8=ACCEPT",
        "APPEND INBOX UTF8 (~{24+}\r\nSubject: \xfcber\r\n\r\ntext\r\n)",
    ],
    "UIDONLY": ["ENABLE UIDONLY", "SELECT INBOX", "UID FETCH 1:* FLAGS", "UID SEARCH ALL"],
    "QRESYNC": [
        "ENABLE QRESYNC",
        "SELECT INBOX (QRESYNC (1 1 1:10))",
        "UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)",
    ],
}

#: By capability: commands that have to succeed, with INBOX and two messages selected.
SELECTED = {
    "IMAP4rev1": ["NOOP", "CHECK", "FETCH 1 FULL", "SEARCH TEXT meeting", "LIST {} *", "CLOSE"],
    "LITERAL+": ["STATUS {5+}\r\nINBOX (MESSAGES)"],
    "SASL-IR": [],
    "ID": ['ID ("name" "test")', "ID NIL"],
    "IDLE": ["IDLE\r\nDONE"],
    "NAMESPACE": ["NAMESPACE"],
    "ACL": ["GETACL INBOX", "SETACL INBOX bob@example.test lr", "DELETEACL INBOX bob@example.test"],
    "RIGHTS=": ["MYRIGHTS INBOX", "LISTRIGHTS INBOX anyone"],
    "LIST-MYRIGHTS": ["LIST {} * RETURN (MYRIGHTS)"],
    "QUOTA": ["GETQUOTA alice@example.test"],
    "QUOTA=RES-STORAGE": ["GETQUOTAROOT INBOX", "STATUS INBOX (DELETED DELETED-STORAGE)"],
    "QUOTA=RES-MESSAGE": ["GETQUOTAROOT INBOX"],
    "QUOTA=RES-MAILBOX": ["GETQUOTAROOT INBOX"],
    "QUOTA=RES-ANNOTATION-STORAGE": ["GETQUOTAROOT INBOX"],
    "CHILDREN": ["LIST {} % RETURN (CHILDREN)"],
    "LIST-EXTENDED": ["LIST (SUBSCRIBED RECURSIVEMATCH) {} (* %) RETURN (SUBSCRIBED)"],
    "LIST-STATUS": ["LIST {} * RETURN (STATUS (MESSAGES UIDNEXT UNSEEN HIGHESTMODSEQ SIZE))"],
    "SPECIAL-USE": ["LIST (SPECIAL-USE) {} * RETURN (SPECIAL-USE)"],
    "CREATE-SPECIAL-USE": ["DELETE Archive", "CREATE Kept (USE (\\Archive))"],
    "XLIST": ["XLIST {} *"],
    "STATUS=SIZE": ["STATUS INBOX (SIZE)"],
    "OBJECTID": ["STATUS INBOX (MAILBOXID)", "FETCH 1 (EMAILID THREADID)", "SEARCH EMAILID x"],
    "METADATA": [
        'SETMETADATA INBOX (/private/comment "x")',
        "GETMETADATA INBOX /private/comment",
        'SETMETADATA {} (/private/comment "x")',
        "GETMETADATA (DEPTH infinity) {} /private",
    ],
    "LIST-METADATA": ["LIST {} * RETURN (METADATA (/private/comment))"],
    "NOTIFY": [
        "NOTIFY SET STATUS (PERSONAL (MessageNew MessageExpunge FlagChange))",
        "NOTIFY NONE",
    ],
    "LANGUAGE": ["LANGUAGE", "LANGUAGE EN"],
    "COMPRESS=DEFLATE": ["COMPRESS DEFLATE"],
    "UNAUTHENTICATE": ["UNAUTHENTICATE"],
    "UIDPLUS": ["UID EXPUNGE 1000"],
    "UNSELECT": ["UNSELECT"],
    "MOVE": ["COPY 1 INBOX", "MOVE 1 Drafts", "UID MOVE 1:* Drafts"],
    "ESEARCH": ["SEARCH RETURN (MIN MAX COUNT ALL) ALL"],
    "SEARCHRES": ["SEARCH RETURN (SAVE) ALL", "FETCH $ FLAGS"],
    "WITHIN": ["SEARCH YOUNGER 1000", "SEARCH OLDER 1000"],
    "FILTERS": [
        'SETMETADATA {} (/private/filters/values/unread "UNSEEN")',
        "SEARCH FILTER unread",
    ],
    "MULTISEARCH": ["ESEARCH IN (personal) RETURN (COUNT) ALL", "ESEARCH IN (mailboxes INBOX) ALL"],
    "PARTIAL": ["SEARCH RETURN (PARTIAL -1:-10) ALL", "UID FETCH 1:* FLAGS (PARTIAL 1:1)"],
    "CONTEXT=SEARCH": ["SEARCH RETURN (UPDATE CONTEXT COUNT) ALL", "CANCELUPDATE {tag}"],
    "INPROGRESS": ["SEARCH BODY text"],
    "UIDBATCHES": ["UIDBATCHES 1000"],
    "MESSAGELIMIT=": ["FETCH 1:* FLAGS"],
    "CONDSTORE": ["FETCH 1:* FLAGS (CHANGEDSINCE 1)", "STORE 1 (UNCHANGEDSINCE 1) FLAGS (\\Seen)"],
    "MULTIAPPEND": ["APPEND INBOX {4+}\r\na:\r\n {4+}\r\nb:\r\n"],
    "CATENATE": ['APPEND INBOX CATENATE (URL "/INBOX/;UID={uid}" TEXT {5+}\r\nx\r\n\r\n)'],
    "URLAUTH": [
        'GENURLAUTH "imap://alice%40example.test@imap.example.test/INBOX/;UID={uid};URLAUTH=anonymous"'
        " INTERNAL",
        "RESETKEY",
    ],
    "URL-PARTIAL": [
        'APPEND INBOX CATENATE (URL "/INBOX/;UID={uid}/;PARTIAL=0.10" TEXT {5+}\r\nx\r\n\r\n)'
    ],
    "REPLACE": ["REPLACE 1 INBOX {4+}\r\na:\r\n", "UID REPLACE * INBOX {4+}\r\nb:\r\n"],
    "BINARY": ["FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[1])", "APPEND INBOX ~{4+}\r\na:\r\n"],
    "SAVEDATE": ["FETCH 1 SAVEDATE", "SEARCH SAVEDATESUPPORTED"],
    "PREVIEW": ["FETCH 1 (PREVIEW (LAZY))", "FETCH 1 PREVIEW"],
    "APPENDLIMIT=": ["STATUS INBOX (APPENDLIMIT)"],
    "SORT": ["SORT (ARRIVAL CC DATE FROM SIZE SUBJECT TO) UTF-8 ALL", "UID SORT (DATE) UTF-8 ALL"],
    "SORT=DISPLAY": ["SORT (DISPLAYFROM REVERSE DISPLAYTO) UTF-8 ALL"],
    "ESORT": ["SORT RETURN (COUNT ALL) (DATE) UTF-8 ALL"],
    "CONTEXT=SORT": ["SORT RETURN (UPDATE ALL) (DATE) UTF-8 ALL", "CANCELUPDATE {tag}"],
    "THREAD=ORDEREDSUBJECT": ["THREAD ORDEREDSUBJECT UTF-8 ALL"],
    "THREAD=REFERENCES": ["THREAD REFERENCES UTF-8 ALL"],
    "THREAD=REFS": ["UID THREAD REFS UTF-8 ALL"],
    "SEARCH=FUZZY": ["SEARCH RETURN (RELEVANCY ALL) FUZZY SUBJECT afternon"],
    "I18NLEVEL=2": ["COMPARATOR", 'COMPARATOR "i;unicode-casemap"'],
    "ANNOTATE-EXPERIMENT-1": [
        'STORE 1 ANNOTATION (/comment (value.priv "x"))',
        "FETCH 1 (ANNOTATION (/comment (value.priv size.priv)))",
        'SEARCH ANNOTATION /comment value.priv "x"',
    ],
}
#: Those of them whose values depend on the server.
VALUED = ("RIGHTS=", "MESSAGELIMIT=", "APPENDLIMIT=")

#: What the storage has to be able to do.
OPTIONAL = {
    *("ACL", "RIGHTS=", "LIST-MYRIGHTS", "METADATA", "LIST-METADATA", "FILTERS", "URLAUTH"),
    *("QUOTA=RES-MAILBOX", "QUOTA=RES-ANNOTATION-STORAGE", "ANNOTATE-EXPERIMENT-1"),
}
#: Before login only.
BEFORE = {"STARTTLS", "LOGINDISABLED", "AUTH=PLAIN", "AUTH=LOGIN"}


def told(client: Conversation) -> set[str]:
    """
    @return: the capabilities, without the values that depend on the server.
    """
    answer = client.send(b"c CAPABILITY\r\n").decode("ascii")
    names = answer.removeprefix("* CAPABILITY ").partition("\r\n")[0].split(" ")
    return {next((each for each in VALUED if name.startswith(each)), name) for name in names}


class CapabilityTests(SynchronousTestCase):
    """
    RFC 9051 §7.2.2: what is listed is there; over a store in memory, one on disk, and one that has
    none of the optional interfaces.
    """

    def servers(self) -> dict[str, Server]:
        """
        @return: a server for each kind of store.
        """
        plain = Server(maxMessages=1000)
        servers = {
            "memory": Server(maxMessages=1000),
            "sql": SteppedServer(self.mktemp(), maxMessages=1000),
            "plain": Server(
                store=PlainStore(MemoryMailStore(plain.clock.seconds)), maxMessages=1000
            ),
        }
        for server in servers.values():
            server.addAccount("bob")
        return servers

    def login(self, server: Server) -> Conversation:
        """
        @return: a new session of alice's.
        """
        client = server.login()
        if IURLKeyStore.providedBy(server.store):
            server.sessions[-1].urls = URLAuthority(
                server.store, server.settings.hostname, server.clock.seconds
            )
        return client

    def test_plain(self) -> None:
        """The plainest store of these tests has nothing that a store needn't have."""
        server = self.servers()["plain"]
        self.login(server)
        account: Any = server.sessions[-1].account
        client = server.select()
        selected = server.sessions[-1].theSelected().mailbox
        self.assertEqual([each.__name__ for each in providedBy(account)], ["IAccount"])
        self.assertEqual([each.__name__ for each in providedBy(selected)], ["IMailbox"])
        self.assertTrue(client.send(b"a NOOP\r\n").startswith(b"a OK "))

    def test_optional(self) -> None:
        """What only some storages can do is told where it can be done, and nowhere else."""
        servers = self.servers()
        some = {name: told(self.login(server)) for name, server in servers.items()}
        self.assertEqual(some["memory"], some["sql"])
        self.assertLessEqual(some["memory"] - some["plain"], OPTIONAL)
        self.assertFalse(some["plain"] & OPTIONAL)

    def test_enable(self) -> None:
        """RFC 5161 §3.1: what isn't there isn't enabled, and doesn't keep the rest from it."""
        for kind, server in self.servers().items():
            client = self.login(server)
            answer = client.send(b"a ENABLE METADATA CONDSTORE\r\n")
            names = b"CONDSTORE" if kind == "plain" else b"METADATA CONDSTORE"
            self.assertEqual(answer, b"* ENABLED %b\r\na OK ENABLE completed\r\n" % names, kind)

    def test_beforeLogin(self) -> None:
        """
        What is told before login is still so after it, whoever logs in, but for the ways to log in;
        so a client that learned it early isn't misled.
        """
        for kind, server in self.servers().items():
            after = told(self.login(server))
            for secure in (False, True):
                client = server.connect(secure)
                client.wire.take()
                self.assertLessEqual(told(client) - BEFORE, after, kind)
                self.assertEqual("AUTH=PLAIN" in told(client), secure)
                for command in (b'ID ("name" "test")', b"LANGUAGE", b"NOOP"):
                    answer = client.send(b"a %b\r\n" % command)
                    self.assertIn(b"a OK ", answer)
            self.assertFalse(after & BEFORE)

    def test_eachWorks(self) -> None:
        """The commands that each capability stands for do what they are for."""
        for kind, server in self.servers().items():
            names = told(self.login(server))
            self.assertLessEqual(names, AUTHENTICATED.keys() | SELECTED.keys(), kind)
            for name in sorted(names):
                for commands, selects in ((AUTHENTICATED, False), (SELECTED, True)):
                    if name in commands:
                        self.run_(server, commands[name], selects, f"{kind} {name}")

    def run_(self, server: Server, commands: list[str], selects: bool, what: str) -> None:
        """
        Give these commands, each of which has to succeed.

        @param selects: whether INBOX is selected before them.
        """
        uid = [server.deliver() for _ in range(2)][-1]
        client = self.login(server)
        if selects:
            client.send(b"s SELECT INBOX\r\n")
        tag = ""
        for number, command in enumerate(commands):
            text = command.replace("{tag}", tag).replace("{uid}", str(uid)).replace("{}", '""')
            tag = f"t{number}"
            answer = client.send(f"{tag} {text}\r\n".encode())
            self.assertRegex(answer, rb"(?:\A|\n)%b OK " % tag.encode(), f"{what}: {text}")
