"""
The plug points: C{twisted_mailstack.imap.registry}, C{twisted_mailstack.imap.extension}.
"""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import twisted_mailstack
from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.errors import MessageTooLarge
from twisted_mailstack.imap.extension import ANY, LOGGED_IN, Command, Extension, ListReturn, State
from twisted_mailstack.imap.fetch import FetchItem
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.registry import COMMANDS, EXTENSIONS, makeRegistry
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import IContentWriter
from twisted_mailstack.model.flags import NO_FLAGS
from twisted_mailstack.model.records import Attribute, MailboxInfo
from twisted_mailstack.pop3.registry import EXTENSIONS as POP3_EXTENSIONS
from twisted_mailstack.smtp.registry import EXTENSIONS as SMTP_EXTENSIONS


def modules(package: str) -> list[ModuleType]:
    """
    @return: the modules that lie in a package of ours.
    """
    folder = Path(twisted_mailstack.__file__).parent / package.replace(".", "/")
    return [
        import_module(f"twisted_mailstack.{package}.{path.stem}")
        for path in sorted(folder.glob("*.py"))
        if path.stem != "__init__"
    ]


class RegistryTests(SynchronousTestCase):
    """
    One feature is one file and one line.
    """

    def test_extensionsOnce(self) -> None:
        """Every extension in a file of extensions/ is in its protocol's registry, once."""
        registries: dict[str, tuple[Any, ...]] = {
            "imap": EXTENSIONS,
            "pop3": POP3_EXTENSIONS,
            "smtp": SMTP_EXTENSIONS,
        }
        for protocol, registered in registries.items():
            kind = type(registered[0])
            found = []
            for module in modules(f"{protocol}.extensions"):
                mine = [each for each in vars(module).values() if isinstance(each, kind)]
                self.assertTrue(mine, module.__name__)
                found += mine
            self.assertEqual(Counter(map(id, found)), Counter(map(id, registered)), protocol)

    def test_noClashes(self) -> None:
        """No extension takes the name of something that is there."""
        registry = makeRegistry(())
        commands = Counter(
            command.name
            for command in (*COMMANDS, *(c for each in EXTENSIONS for c in each.commands))
        )
        self.assertEqual([name for name, times in commands.items() if times > 1], [])
        for table in ("fetchItems", "searchKeys", "statusItems", "listSelections"):
            names = Counter(getattr(registry, table).keys())
            for extension in EXTENSIONS:
                names.update(getattr(extension, table).keys())
            self.assertEqual([name for name, times in names.items() if times > 1], [], table)

    def test_withoutExtensions(self) -> None:
        """A server without any is RFC 3501's."""
        server = Server(extensions=())
        server.connect().check(
            """
            S: * OK [CAPABILITY IMAP4rev1] imap.example.test ready
            C: a LOGIN alice@example.test secret
            S: a OK [CAPABILITY IMAP4rev1] logged in
            C: b UNSELECT
            S: b BAD Unknown command
            C: c LIST "" INBOX
            S: * LIST () "/" INBOX
            S: c OK LIST completed
            """
        )


async def xput(session: IMAPSession, cursor: Cursor) -> bytes:
    """XPUT SP literal: puts it into Drafts."""
    cursor.space()
    staged = await cursor.content().finish()
    try:
        drafts = await session.theAccount().openMailbox("Drafts")
        await drafts.append([(staged, NO_FLAGS, 0, 0)])
    finally:
        staged.discard()
    return b"put %d octets" % staged.summary.size


async def xputSink(session: IMAPSession, cursor: Cursor, size: int) -> IContentWriter | None:
    """No more than a thousand octets."""
    cursor.space()
    cursor.end()
    if size > 1000:
        raise MessageTooLarge()
    return session.theAccount().newContent(size)


async def xhello(session: IMAPSession, cursor: Cursor) -> bytes:
    """XHELLO SP astring."""
    cursor.space()
    name = cursor.astring()
    cursor.end()
    session.stream.write(b"* XHELLO %b\r\n" % name)
    return b"hello"


def isMail(info: MailboxInfo) -> bool:
    """Whether it is INBOX or Sent."""
    return info.name in ("INBOX", "Sent")


MINE = Extension(
    lambda session: b"XMINE" if session.state is State.SELECTED else None,
    3501,
    commands=(
        Command(b"XHELLO", ANY, xhello),
        Command(b"XPUT", LOGGED_IN, xput, literalSink=xputSink),
        Command(b"UID XHELLO", LOGGED_IN, xhello),
    ),
    fetchItems={b"XHALF": FetchItem(b"XHALF", (Attribute.OCTETS,), lambda n: b"%d" % (n // 2))},
    statusItems={b"XDELETED": lambda status: status.deleted, b"XNAME": lambda status: b'"x"'},
    listAttributes=lambda info, hasChildren: (b"\\XMail",) if isMail(info) else (),
    listSelections={b"XMAIL": isMail},
    listReturns={b"XMAIL": ListReturn()},
    enables=(b"XMINE",),
)


class ThirdPartyTests(SynchronousTestCase):
    """
    Somebody else's extension, given to the factory: nothing of ours is edited.
    """

    def setUp(self) -> None:
        """A server with it."""
        searchKey = makeRegistry().searchKeys[b"DELETED"]
        mine = Extension(b"", 3501, searchKeys={b"XGONE": searchKey})
        self.server = Server(extensions=(*EXTENSIONS, MINE, mine))
        self.server.deliver(flags=["\\Deleted"])
        self.server.deliver()

    def test_capability(self) -> None:
        """It says itself when it is shown; a name that is empty is never."""
        for client, shown in (
            (self.server.connect(), False),
            (self.server.login(), False),
            (self.server.select(), True),
        ):
            client.wire.take()
            answer = client.send(b"a CAPABILITY\r\n")
            self.assertEqual(b" XMINE\r\n" in answer, shown)
            self.assertNotIn(b"  ", answer)

    def test_command(self) -> None:
        """Its commands are there in their states."""
        client = self.server.connect()
        client.wire.take()
        client.check(
            """
            C: a xhello {5}
            S: + Ready
            C: there
            S: * XHELLO there
            S: a OK hello
            C: b XPUT {3}
            S: b BAD Not when not authenticated
            C: c UID XHELLO x
            S: c BAD Not when not authenticated
            """
        )

    def test_literal(self) -> None:
        """A command may let its literal go to the store, and bound it."""
        client = self.server.login()
        client.check(
            """
            C: a XPUT {5}
            S: + Ready
            C: there
            S: a OK put 5 octets
            C: b XPUT {1001}
            S: b NO [TOOBIG] Message exceeds the size limit
            C: c XPUT x {5}
            S: c BAD Unexpected text at the end of the command
            C: d STATUS Drafts (MESSAGES)
            S: * STATUS Drafts (MESSAGES 1)
            S: d OK STATUS completed
            C: e UID XHELLO x
            S: * XHELLO x
            S: e OK hello
            """
        )

    def test_items(self) -> None:
        """FETCH items, SEARCH keys and STATUS items."""
        self.server.select().check(
            f"""
            C: a FETCH 1 (UID XHALF)
            S: * 1 FETCH (UID 1 XHALF {len(MESSAGE) // 2})
            S: a OK FETCH completed
            C: b SEARCH NOT XGONE
            S: * SEARCH 2
            S: b OK SEARCH completed
            C: c STATUS INBOX (XDELETED MESSAGES XNAME)
            S: * STATUS INBOX (XDELETED 1 MESSAGES 2 XNAME "x")
            S: c OK STATUS completed
            """
        )

    def test_list(self) -> None:
        """Attributes and options of LIST."""
        self.server.login().check(
            r"""
            C: a LIST (XMAIL) "" * RETURN (SPECIAL-USE XMAIL)
            S: * LIST (\HasNoChildren \XMail) "/" INBOX
            S: * LIST (\HasNoChildren \Sent \XMail) "/" Sent
            S: a OK LIST completed
            C: b LIST (XMAIL SPECIAL-USE) "" *
            S: * LIST (\HasNoChildren \Sent \XMail) "/" Sent
            S: b OK LIST completed
            """
        )

    def test_enable(self) -> None:
        """What it wants enabled is known to its code; what isn't offered then isn't enabled."""
        enabled: list[set[bytes]] = []

        async def xlook(session: IMAPSession, cursor: Cursor) -> None:
            enabled.append(session.enabled)

        look = Extension(b"", 3501, (Command(b"XLOOK", ANY, xlook),), enables=(b"XLOOK",))
        client = Server(extensions=(*EXTENSIONS, MINE, look)).login()
        client.send(b"a ENABLE XMINE XLOOK\r\nb XLOOK\r\n")
        self.assertEqual(enabled, [{b"XLOOK"}])

    def test_replace(self) -> None:
        """Of two commands of one name the later counts."""
        mine = Extension(b"", 3501, (Command(b"NOOP", ANY, xhello),))
        Server(extensions=(*EXTENSIONS, mine)).login().check(
            """
            C: a NOOP you
            S: * XHELLO you
            S: a OK hello
            """
        )
        self.assertEqual(now(self.server.account.quota()).messages, 2)
