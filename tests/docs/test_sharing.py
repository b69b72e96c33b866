"""
docs/sharing.rst as one story: its commands, and its conversations, on one data directory.
"""

from __future__ import annotations

import re
import shlex

from tests.cli.support import CommandTestCase
from tests.docs import DOCS
from tests.docs.console import steps
from tests.imap.stepped import SteppedServer
from tests.imap.support import now
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.rights import ORDER

PAGE = DOCS / "sharing.rst"
ACCOUNTS = ("anna@example.org", "ben@example.org", "orders@example.org")


def conversations() -> list[str]:
    """
    @return: the page's conversations.
    """
    text = PAGE.read_text("utf-8")
    return [match.group() for match in re.finditer(r"(?m)(?:^    [CS]: .*\n)+", text)]


class SharingPageTests(CommandTestCase):
    """
    What the page shows is what happens.
    """

    def test_story(self) -> None:
        """Each command prints what is shown, then each conversation goes as it is shown."""
        self.add(*ACCOUNTS)
        for step in steps(PAGE):
            program, *arguments = shlex.split(step.command)
            self.assertEqual(program, "mailstack")
            said = self.mailstack(*arguments)
            self.assertEqual(tuple(said.splitlines()), step.expected, step.command)
        server = SteppedServer(self.data)
        self.addCleanup(lambda: now(server.store.stop()))
        for account in ACCOUNTS[:2]:
            now(server.store.directory.setPassword(Address.parse(account), "secret"))
        found = conversations()
        self.assertEqual(len(found), 3)
        for conversation in found:
            client = server.connect()
            client.wire.take()
            for line in conversation.splitlines():
                side, _, text = line.strip().partition(": ")
                if side == "C":
                    answer = client.send(text.encode() + b"\r\n").decode().splitlines()
                else:
                    pattern = re.escape(text).replace(re.escape("..."), ".*")
                    self.assertRegex(answer.pop(0), pattern + r"\Z")
            self.assertEqual(answer, [])

    def test_rights(self) -> None:
        """The table has every right, in the order in which they are shown."""
        text = PAGE.read_text("utf-8")
        self.assertEqual("".join(re.findall(r"(?m)^``(\w)``  \S", text)), ORDER)
