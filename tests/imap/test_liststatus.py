"""
LIST-STATUS (RFC 5819): C{twisted_mailstack.imap.extensions.liststatus}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.errors import NoSuchMailbox
from twisted_mailstack.model.records import DEFAULT_MAILBOXES
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.testing.faulty import FaultyStore


class ListStatusTests(SynchronousTestCase):
    """
    STATUS of what LIST lists.
    """

    def setUp(self) -> None:
        """§3's mailboxes: the name bar can't be selected."""
        self.server = Server()
        for name, _ in DEFAULT_MAILBOXES:
            now(self.server.account.deleteMailbox(name))
            now(self.server.account.setSubscribed(name, False))
        for name in ("bar/below", "foo/in"):
            now(self.server.account.createMailbox(name))
        now(self.server.account.deleteMailbox("bar"))
        for number in range(3):
            self.server.deliver(flags=["\\Seen"] if number else [])
        self.server.deliver(mailbox="foo")
        self.client: Conversation = self.server.login()

    def test_example(self) -> None:
        """§3's first example."""
        self.client.check(
            r"""
            C: A01 LIST "" % RETURN (STATUS (MESSAGES UNSEEN))
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * STATUS INBOX (MESSAGES 3 UNSEEN 1)
            S: * LIST (\Noselect \HasChildren) "/" bar
            S: * LIST (\HasChildren) "/" foo
            S: * STATUS foo (MESSAGES 1 UNSEEN 1)
            S: A01 OK LIST completed
            """
        )

    def test_recursiveMatch(self) -> None:
        """§3's second example: what is listed for its children alone has no STATUS."""
        now(self.server.account.setSubscribed("foo/in", True))
        now(self.server.account.setSubscribed("missing", True))
        self.client.check(
            r"""
            C: A02 LIST (SUBSCRIBED RECURSIVEMATCH) "" % RETURN (STATUS (MESSAGES))
            S: * LIST (\HasNoChildren \Subscribed) "/" INBOX
            S: * STATUS INBOX (MESSAGES 3)
            S: * LIST (\HasChildren) "/" foo ("CHILDINFO" ("SUBSCRIBED"))
            S: * LIST (\NonExistent \HasNoChildren \Subscribed) "/" missing
            S: A02 OK LIST completed
            """
        )

    def test_items(self) -> None:
        """Every STATUS item may be asked for, in any order, among other return options."""
        items = f"(UIDNEXT 4 SIZE {3 * len(MESSAGE)} MAILBOXID (M1-1) DELETED 0 UIDVALIDITY 1)"
        self.client.check(
            rf"""
            C: a LIST "" inbox RETURN (CHILDREN STATUS (uidnext SIZE mailboxid DELETED UIDVALIDITY) SUBSCRIBED)
            S: * LIST (\HasNoChildren \Subscribed) "/" INBOX
            S: * STATUS INBOX {items}
            S: a OK LIST completed
            """  # noqa: E501
        )

    def test_syntax(self) -> None:
        """§4: at least one item, and no unknown one."""
        for options in (
            "STATUS", "STATUS ()", "STATUS MESSAGES", "STATUS(MESSAGES)", "STATUS (MESSAGES X)",
            "STATUS (MESSAGES", "STATUS (MESSAGES) )", "(STATUS (MESSAGES))",
        ):  # fmt: skip
            answer = self.client.send(f'a LIST "" * RETURN ({options})\r\n'.encode())
            self.assertRegex(answer, rb"^a BAD ")

    def test_selected(self) -> None:
        """The selected mailbox can be asked too (RFC 9051 §6.3.11)."""
        self.server.select().check(
            r"""
            C: a LIST "" INBOX RETURN (STATUS (MESSAGES RECENT))
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * STATUS INBOX (MESSAGES 3 RECENT 0)
            S: a OK LIST completed
            """
        )

    def test_gone(self) -> None:
        r"""
        §2: "If an attempted STATUS for a listed mailbox fails because the mailbox can't be
        selected ..., the STATUS response MUST NOT be returned and the LIST response MUST include
        the \NoSelect attribute".
        """
        opened = self.server.account.openMailbox

        async def openMailbox(name: str) -> object:
            if name == "foo":
                raise NoSuchMailbox()
            return await opened(name)

        self.patch(self.server.account, "openMailbox", openMailbox)
        self.client.check(
            r"""
            C: a LIST "" (foo INBOX) RETURN (STATUS (MESSAGES))
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * STATUS INBOX (MESSAGES 3)
            S: * LIST (\Noselect \HasChildren) "/" foo
            S: a OK LIST completed
            """
        )

    def test_many(self) -> None:
        """However many mailboxes there are, each is told its own numbers."""
        names = [f"box{number:03}" for number in range(30)]
        for name in names:
            now(self.server.account.createMailbox(name))
        self.server.deliver(mailbox=names[7])
        for items in ("MESSAGES", "MAILBOXID MESSAGES"):
            answer = self.client.send(f'a LIST "" box% RETURN (STATUS ({items}))\r\n'.encode())
            lines = answer.decode().split("\r\n")[1:-2:2]
            ids = {info.name: info.mailboxId for info in now(self.server.account.listMailboxes())}
            for name, line in zip(names, lines, strict=True):
                number = int(name == names[7])
                mailboxId = f"MAILBOXID ({ids[name]}) " if "ID" in items else ""
                self.assertEqual(line, f"* STATUS {name} ({mailboxId}MESSAGES {number})")


class FaultTests(SynchronousTestCase):
    """
    A storage that fails.
    """

    def test_everyCall(self) -> None:
        """§2: a STATUS that can't be found out may be left out; LIST says OK, or NO as a whole."""
        store = FaultyStore(MemoryMailStore())
        client = Server(store=store).login()
        command = b'a LIST "" * RETURN (STATUS (MESSAGES))\r\n'
        before = len(store.calls)
        whole = client.send(command)
        for number in range(len(store.calls) - before):
            store.failAt(number + 1)
            answer = client.send(command)
            store.heal()
            self.flushLoggedErrors()
            lines = answer.split(b"\r\n")
            # The first two are about which mailboxes there are: one's own, and those of others.
            if number > 1:
                self.assertEqual(lines[-2], b"a OK LIST completed")
                self.assertEqual(len(lines), len(whole.split(b"\r\n")) - 1)
            else:
                self.assertEqual(lines, [b"a NO [SERVERBUG] internal error, try later", b""])
        self.assertEqual(client.send(command), whole)
