"""
Runs the C{mailstack} command in this process, on a data directory of the test's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth.passwords import verifyPassword
from twisted_mailstack.cli.context import Context
from twisted_mailstack.cli.main import main
from twisted_mailstack.config import load
from twisted_mailstack.interfaces import IAccount, IMailbox
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import Flags, internFlags
from twisted_mailstack.model.records import PASSWORD

ALICE = "alice@example.test"
BOB = "bob@example.test"


class CommandTestCase(SynchronousTestCase):
    """
    @ivar data: the data directory, not made yet.
    """

    def setUp(self) -> None:
        """A place."""
        self.data = Path(self.mktemp()).resolve()

    def mailstack(
        self, *arguments: str | Path, stdin: str | bytes | None = None, status: int = 0
    ) -> str:
        """
        Run the command on this test's data.

        @param status: the exit status that is expected. 1: it can't be done, 2: it can't be
            understood.
        @return: what it printed.
        """
        return self.command("--data", self.data, *arguments, stdin=stdin, status=status)

    def command(
        self, *arguments: str | Path, stdin: str | bytes | None = None, status: int = 0
    ) -> str:
        """
        As L{mailstack}, without C{--data}.
        """
        result = CliRunner().invoke(main, [str(each) for each in arguments], input=stdin or b"")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.assertEqual(result.exit_code, status, result.output)
        if status:
            # One clear line, told as an error.
            self.assertIn("Error: ", result.output)
            self.assertNotIn("Traceback", result.output)
        return result.output

    def add(self, *addresses: str, password: str = "a password") -> None:
        """
        Make accounts.
        """
        for address in addresses:
            self.mailstack("user", "add", address, stdin=password + "\n")


class Look:
    """
    The store of a test, opened beside the command, as a running server has it open.
    """

    def __init__(self, data: Path) -> None:
        self.context = Context(load(None, data=str(data)))
        self.store = self.context.open()
        self.run = self.context.run

    def close(self) -> None:
        """
        Close it.
        """
        self.context.close()

    def account(self, address: str) -> IAccount:
        """
        @return: an account.
        """
        record = self.run(self.store.directory.findAccount(Address.parse(address)))
        assert record is not None, address
        return self.run(self.store.openAccount(record.accountId))

    def mailbox(self, address: str, name: str = "INBOX") -> IMailbox:
        """
        @return: a mailbox.
        """
        return self.run(self.account(address).openMailbox(name))

    def password(self, address: str, password: bytes) -> bool:
        """
        @return: whether this is the account's password.
        """
        directory = self.store.directory
        record = self.run(directory.findAccount(Address.parse(address)))
        return record is not None and any(
            verifyPassword(each.secrets.get("argon2id", ""), password)
            for each in self.run(directory.findCredentials(record.accountId))
            if each.kind == PASSWORD
        )

    def append(
        self,
        address: str,
        octets: bytes,
        flags: Sequence[str] = (),
        seconds: int = 1_000_000_000,
        mailbox: str = "INBOX",
    ) -> None:
        """
        Store a message.
        """
        account = self.account(address)
        writer = account.newContent()
        for start in range(0, len(octets), 65536):
            waiting = writer.write(octets[start : start + 65536])
            if waiting is not None:
                self.run(waiting)
        staged = self.run(writer.finish())
        opened = self.mailbox(address, mailbox)
        self.run(opened.append([(staged, internFlags(flags), seconds, 0)]))
        staged.discard()

    def messages(self, address: str, mailbox: str = "INBOX") -> list[tuple[bytes, Flags, int]]:
        """
        @return: octets, flags and internal date of each message, in order.
        """
        from twisted_mailstack.model.records import Attribute
        from twisted_mailstack.model.sequence import NumberSet

        opened = self.mailbox(address, mailbox)
        changes = self.run(opened.changesSince(0))
        found: list[Any] = []
        for uid, flags in zip(changes.uids, changes.flags, strict=True):
            content = self.run(opened.openMessage(uid))
            octets = b""
            while len(octets) < content.size:
                octets += self.run(content.read(len(octets), 1 << 18))
            ((_, seconds),) = self.run(
                opened.fetch(NumberSet.of([uid]), (Attribute.INTERNAL_DATE,))
            )
            found.append((octets, flags, seconds))
        return found

    def names(self, address: str) -> list[str]:
        """
        @return: the mailboxes there are.
        """
        return [info.name for info in self.run(self.account(address).listMailboxes())]
