"""
Clients that keep a copy in step: OfflineIMAP, and the libraries imapclient and aioimaplib with
their IDLE, against C{twistd mailstack}.
"""

from __future__ import annotations

import asyncio
import atexit
import imaplib
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import aioimaplib
import imapclient
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import PASSWORD, Server, looseTLS, needs, run

TEXT = b"Subject: m%d\r\nMessage-ID: <m%d@x>\r\nMIME-Version: 1.0\r\n\r\ntext\r\n.\r\n\xff\r\n"


@cache
def sharedServer() -> Server:
    """
    @return: one running server for all tests of this process.
    """
    server = Server()
    atexit.register(server.close)
    server.start()
    return server


class SynchroniserTestCase(SynchronousTestCase):
    """
    An account of its own for each test, with three messages.
    """

    def setUp(self) -> None:
        """The account."""
        self.server = sharedServer()
        self.me = f"{self._testMethodName.removeprefix('test_').lower()}@example.test"
        self.server.addAccounts(self.me)
        self.port = self.server.ports["imaps"]
        self.other = imaplib.IMAP4_SSL("127.0.0.1", self.port, ssl_context=looseTLS(), timeout=60)
        self.addCleanup(self.other.shutdown)
        self.other.login(self.me, PASSWORD)
        for number in range(3):
            self.append(number)
        self.other.select()

    def append(self, number: int, flags: str = "") -> None:
        """One more message."""
        self.other.append("INBOX", flags, "", TEXT.replace(b"%d", b"%d" % number))  # type: ignore[arg-type]


class OfflineIMAPTests(SynchroniserTestCase):
    """
    OfflineIMAP.
    """

    def test_offlineimap(self) -> None:
        """A Maildir and the account become the same, whoever changed what."""
        needs("offlineimap")
        folder = Path(self.mktemp()).resolve()
        folder.mkdir(parents=True)
        certificate = folder / "server.pem"
        certificate.write_text(ssl.get_server_certificate(("127.0.0.1", self.port)))
        config = folder / "offlineimaprc"
        config.write_text(
            f"[general]\naccounts = a\nmetadata = {folder}/meta\nui = basic\n"
            "[Account a]\nlocalrepository = near\nremoterepository = far\n"
            f"[Repository near]\ntype = Maildir\nlocalfolders = {folder}/mail\n"
            f"[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {self.port}\n"
            f"remoteuser = {self.me}\nremotepass = {PASSWORD}\nssl = yes\n"
            f"sslcacertfile = {certificate}\nmaxconnections = 2\n"
        )
        synchronise = ["offlineimap", "-o", "-c", str(config)]
        run(synchronise)
        inbox = folder / "mail" / "INBOX"

        def local() -> list[Path]:
            found = [*(inbox / "new").iterdir(), *(inbox / "cur").iterdir()]
            return sorted(found, key=lambda path: path.read_bytes())

        self.assertEqual(len(local()), 3)
        self.assertEqual(local()[0].read_bytes(), TEXT.replace(b"%d", b"0").replace(b"\r\n", b"\n"))
        self.assertTrue((folder / "mail" / "Sent").is_dir())
        first, second, _ = local()
        first.unlink()
        second.rename(inbox / "cur" / (second.name.partition(":")[0] + ":2,FS"))
        self.other.store("3", "+FLAGS", r"(\Deleted)")
        self.other.expunge()
        self.append(7, r"(\Answered)")
        self.other.create("There/Sub")
        run(synchronise)
        self.other.noop()
        self.assertEqual(self.other.search(None, "ALL")[1], [b"1 2"])
        self.assertEqual(self.other.search(None, "FLAGGED", "SEEN", "SUBJECT", "m1")[1], [b"1"])
        self.assertEqual(len(local()), 2)
        self.assertTrue((folder / "mail" / "There.Sub").is_dir())
        self.assertIn("R", local()[1].name.partition(":2,")[2])
        before = [path.name for path in local()]
        run(synchronise)
        self.assertEqual([path.name for path in local()], before)


class IMAPClientTests(SynchroniserTestCase):
    """
    The library imapclient.
    """

    def connect(self) -> Any:
        """
        @return: a client that is logged in.
        """
        client = imapclient.IMAPClient("127.0.0.1", port=self.port, ssl_context=looseTLS())
        self.addCleanup(client.logout)
        client.login(self.me, PASSWORD)
        return client

    def test_imapclient(self) -> None:
        """Its CONDSTORE, SORT, THREAD, UIDPLUS, MOVE and so on understand what is answered."""
        client = self.connect()
        self.assertEqual(client.find_special_folder(imapclient.imapclient.SENT), "Sent")
        client.select_folder("INBOX")
        self.assertEqual(client.search(["SUBJECT", "m1"]), [2])
        self.assertEqual(client.sort("REVERSE SUBJECT"), [3, 2, 1])
        self.assertEqual(sorted(each[0] for each in client.thread()), [1, 2, 3])
        fetched = client.fetch([1, 2], ["ENVELOPE", "BODYSTRUCTURE", "MODSEQ", "BODY.PEEK[]"])
        self.assertEqual(fetched[1][b"ENVELOPE"].subject, b"m0")
        self.assertEqual(fetched[2][b"BODY[]"], TEXT.replace(b"%d", b"1"))
        modSeq = max(each[b"MODSEQ"][0] for each in client.fetch([1, 2, 3], ["MODSEQ"]).values())
        client.add_flags([2], [b"work"])
        changed = client.fetch([1, 2, 3], ["FLAGS"], [f"CHANGEDSINCE {modSeq}"])
        self.assertEqual(list(changed), [2])
        client.create_folder("Pr\u00f6jekt")
        client.move([3], "Pr\u00f6jekt")
        client.select_folder("Pr\u00f6jekt")
        self.assertEqual(client.search("ALL"), [1])
        self.assertIn((b"\\HasNoChildren",), {each[0] for each in client.list_folders()})
        self.assertEqual(client.folder_status("INBOX", ["MESSAGES"])[b"MESSAGES"], 2)

    def test_imapclientIdle(self) -> None:
        """Its IDLE is told of what arrives and what goes."""
        client = self.connect()
        client.select_folder("INBOX")
        client.idle()
        threading.Timer(0.2, self.append, (9,)).start()
        told: list[Any] = []
        deadline = time.monotonic() + 20
        while (4, b"EXISTS") not in told and time.monotonic() < deadline:
            told += client.idle_check(timeout=5)
        self.assertIn((4, b"EXISTS"), told)
        client.idle_done()
        self.assertEqual(client.search("ALL"), [1, 2, 3, 4])


class AIOIMAPTests(SynchroniserTestCase):
    """
    The library aioimaplib.
    """

    def work(self, work: Callable[[Any], Awaitable[None]]) -> None:
        """Run it with a client that is logged in."""

        async def main() -> None:
            client = aioimaplib.IMAP4_SSL("127.0.0.1", self.port, ssl_context=looseTLS())
            await client.wait_hello_from_server()
            self.assertEqual((await client.login(self.me, PASSWORD)).result, "OK")
            await client.select("INBOX")
            await work(client)
            await client.logout()

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_aioimaplib(self) -> None:
        """Fetching, storing, moving and expunging."""

        async def work(client: Any) -> None:
            answer = await client.uid("fetch", "1", "(FLAGS BODY.PEEK[])")
            self.assertIn(TEXT.replace(b"%d", b"0"), [bytes(line) for line in answer.lines])
            self.assertEqual((await client.uid("store", "1", "+FLAGS", r"(\Deleted)")).result, "OK")
            self.assertEqual((await client.expunge()).result, "OK")
            self.assertEqual((await client.uid("move", "2", "Archive")).result, "OK")
            found = await client.uid_search("ALL")
            self.assertEqual(found.lines[0].split(), [b"3"])

        self.work(work)

    def test_aioimaplibIdle(self) -> None:
        """Its IDLE is told of what arrives, and ends when it says so."""

        async def work(client: Any) -> None:
            idle = await client.idle_start(timeout=30)
            await asyncio.get_running_loop().run_in_executor(None, self.append, 9)
            told = await client.wait_server_push()
            self.assertIn(b"4 EXISTS", told)
            client.idle_done()
            await asyncio.wait_for(idle, 10)
            self.assertEqual((await client.noop()).result, "OK")

        self.work(work)
