"""
The maildrop's lock between processes that have one store open.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import MaildropLocked
from twisted_mailstack.model.mailboxname import INBOX
from twisted_mailstack.pop3.maildrop import Maildrop
from twisted_mailstack.testing.contracts import StorageContract

ROOT = Path(__file__).parents[2]
#: Another process that has a maildrop, and has marked a message, until it is killed or told to go.
HOLDER = """
import sys
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted_mailstack.pop3.maildrop import Maildrop
from twisted_mailstack.storage.sql.store import SQLMailStore

async def main(reactor):
    store = SQLMailStore(sys.argv[1], reactor, reactor.callFromThread)
    await store.start()
    maildrop = await Maildrop.open(await store.openAccount(sys.argv[2]))
    maildrop.deleted.add(1)
    print("locked", flush=True)
    sys.stdin.readline()
    await maildrop.update()
    maildrop.release()
    await store.stop()

task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


class ProcessTests(SQLStore, StorageContract, SynchronousTestCase):
    """
    Another process has the maildrop.
    """

    def setUp(self) -> None:
        """It has locked it."""
        super().setUp()
        self.inbox = self.mailbox(INBOX)
        self.first, self.second = self.append(self.inbox), self.append(self.inbox)
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, self.place(), self.account.accountId],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path.cwd(),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.addCleanup(self.end)
        assert self.process.stdout is not None
        self.assertEqual(self.process.stdout.readline(), b"locked\n")

    def end(self, kill: bool = True) -> None:
        """It is over, by force or by itself."""
        if kill:
            self.process.kill()
        self.process.communicate()

    def assertOpens(self, messages: int) -> None:
        """The maildrop can be had, and has so many messages."""
        maildrop = self.wait(Maildrop.open(self.account))
        self.assertEqual(maildrop.count, messages)
        maildrop.release()

    def test_killed(self) -> None:
        """
        It keeps out POP3 sessions here, and nobody else; once it is killed its lock is gone, and
        what it had marked is there.
        """
        self.assertFails(Maildrop.open(self.account), MaildropLocked)
        box: Any = self.inbox
        self.append(self.inbox)
        self.addFlags(self.inbox, [self.second], "\\Seen")
        self.wait(box.moveMessages(self.numbers(self.second), self.mailbox("other")))
        self.assertFails(Maildrop.open(self.account), MaildropLocked)
        self.end()
        self.assertOpens(2)
        self.assertIn(self.first, self.uids(self.inbox))

    def test_done(self) -> None:
        """When it is done the maildrop is free, without what it deleted."""
        self.end(kill=False)
        self.assertEqual(self.process.returncode, 0)
        self.assertOpens(1)
        self.assertEqual(self.uids(self.inbox), [self.second])


del SQLStore, StorageContract
