"""
C{mailstack export} and C{mailstack import}.
"""

from __future__ import annotations

import mailbox
import os
import sqlite3
from pathlib import Path

from tests.cli.support import ALICE, BOB, CommandTestCase, Look
from twisted_mailstack.cli import transfer
from twisted_mailstack.interfaces import IMaildropAccount
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet

#: Messages that mail software likes to alter.
OCTETS = {
    "ordinary": b"Subject: hello\r\n\r\ntext\r\n",
    "eight-bit": "Subject: Grüße\r\n\r\nnaïve 日本語\r\n".encode()
    + bytes(range(128, 256))
    + b"\r\n",
    "no end": b"Subject: unfinished\r\n\r\nno line end",
    "bare newlines": b"Subject: bare\n\none\ntwo\r\nthree\rfour\n",
    "From": b"Subject: quoting\r\n\r\nFrom the start\r\n>From me\r\n.\r\n..\r\n",
    "header only": b"Subject: header only\r\n",
    "long line": b"Subject: long\r\n\r\n" + b"x" * 998 + b"\r\n",
    "large": b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 50_000 + b"\r\n",
}


class TransferTestCase(CommandTestCase):
    """
    Two accounts.
    """

    def setUp(self) -> None:
        """The accounts, and the store beside the command."""
        super().setUp()
        self.add(ALICE, BOB)
        self.look = Look(self.data)
        self.addCleanup(self.look.close)
        self.tree = Path(self.mktemp()).resolve()


class RoundTripTests(TransferTestCase):
    """
    What was exported and is imported is what was there.
    """

    def transfer(self) -> None:
        """
        From Alice by files to Bob.
        """
        self.mailstack("export", ALICE, self.tree)
        self.mailstack("import", BOB, self.tree)

    def test_octets(self) -> None:
        """Octet for octet, whatever the message."""
        for octets in OCTETS.values():
            self.look.append(ALICE, octets)
        self.transfer()
        self.assertEqual(self.look.messages(BOB), self.look.messages(ALICE))
        self.assertEqual([each[0] for each in self.look.messages(BOB)], [*OCTETS.values()])

    def test_flags(self) -> None:
        """The system flags, and keywords in the spelling they have."""
        for flags in (
            (),
            ("\\Seen",),
            ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"),
            ("$Junk", "Projekt", "\\Seen"),
            ("$Forwarded",),
        ):
            self.look.append(ALICE, OCTETS["ordinary"], flags)
        self.transfer()
        self.assertEqual(self.look.messages(BOB), self.look.messages(ALICE))
        self.assertIn(
            frozenset({"$Junk", "Projekt", "\\Seen"}), [m[1] for m in self.look.messages(BOB)]
        )

    def test_dates(self) -> None:
        """Internal dates, to the second, 1970 and far ahead."""
        for seconds in (0, 1, 1_000_000_000, 2_000_000_001, 4_000_000_000):
            self.look.append(ALICE, OCTETS["ordinary"], seconds=seconds)
        self.transfer()
        self.assertEqual(
            [each[2] for each in self.look.messages(BOB)],
            [0, 1, 1_000_000_000, 2_000_000_001, 4_000_000_000],
        )

    def test_order(self) -> None:
        """The order in the mailbox, also where it isn't that of the dates."""
        for number in range(12):
            self.look.append(ALICE, b"Subject: %d\r\n\r\n" % number, seconds=1000 - number // 3)
        self.transfer()
        self.assertEqual(
            [each[0] for each in self.look.messages(BOB)],
            [b"Subject: %d\r\n\r\n" % number for number in range(12)],
        )

    def test_mailboxes(self) -> None:
        """Mailboxes with their messages, empty ones too: levels, dots, backslashes, any script."""
        names = (
            "Work/2026/Q1",
            "a.b",
            "a/b",
            "back\\slash",
            "back\\2eslash",
            "Entwürfe & Ideen",
            "日本語",
        )
        for name in names:
            self.look.run(self.look.account(ALICE).createMailbox(name))
            self.look.append(ALICE, f"Subject: {len(name)}\r\n\r\n".encode(), mailbox=name)
        self.look.run(self.look.account(ALICE).createMailbox("Empty"))
        self.transfer()
        self.assertEqual(self.look.names(BOB), self.look.names(ALICE))
        for name in (*names, "Empty", "INBOX"):
            self.assertEqual(self.look.messages(BOB, name), self.look.messages(ALICE, name), name)

    def test_many(self) -> None:
        """More messages than go into one step."""
        self.patch(transfer, "BATCH", 3)
        self.patch(transfer, "BATCH_OCTETS", 60)
        for number in range(11):
            self.look.append(ALICE, b"Subject: %d\r\n\r\n" % number + b"x" * (number * 7))
        self.transfer()
        self.assertEqual(self.look.messages(BOB), self.look.messages(ALICE))

    def test_twice(self) -> None:
        """An import adds: a second one gives everything a second time."""
        self.look.append(ALICE, OCTETS["ordinary"])
        self.transfer()
        self.mailstack("import", BOB, self.tree)
        self.assertEqual(len(self.look.messages(BOB)), 2)

    def uniqueIds(self, address: str) -> list[str]:
        """
        @return: those of an INBOX.
        """
        rows = self.look.run(
            self.look.mailbox(address).fetch(NumberSet([(1, 9)]), (Attribute.MESSAGE_ID,))
        )
        account = IMaildropAccount(self.look.account(address))
        found = self.look.run(account.uniqueIds([row[1] for row in rows]))
        return [found[row[1]] for row in rows]

    def test_uniqueIds(self) -> None:
        """POP3 clients know the messages again (RFC 1939 \u00a77)."""
        for _ in range(3):
            self.look.append(ALICE, OCTETS["ordinary"])
        before = self.uniqueIds(ALICE)
        self.transfer()
        self.assertEqual(self.uniqueIds(BOB), before)
        # A second copy is another message.
        self.mailstack("import", BOB, self.tree)
        self.assertEqual(self.uniqueIds(BOB)[:3], before)
        self.assertEqual(len(set(self.uniqueIds(BOB))), 6)

    def test_uniqueIdsOfOthers(self) -> None:
        """
        A Maildir of another server brings them as C{dovecot-uidlist} says: given ones, or those
        that Dovecot makes of UIDVALIDITY and UID.
        """
        for each in ("tmp", "new", "cur"):
            (self.tree / each).mkdir(parents=True)
        for name in ("1.b.c", "2.b.c", "3.b.c"):
            (self.tree / "cur" / f"{name}:2,S").write_bytes(b"Subject: x\n\n")
        (self.tree / "dovecot-uidlist").write_text(
            "3 V1700000001 N31 Gabc\n7 W12 Pold-id S11 :1.b.c\n29 :2.b.c\nnonsense\n8 :missing\n"
        )
        self.mailstack("import", BOB, self.tree)
        found = self.uniqueIds(BOB)
        self.assertEqual(found[:2], ["old-id", "0000001d6553f101"])
        self.assertEqual(len(set(found)), 3)


class ExportTests(TransferTestCase):
    """
    C{mailstack export}.
    """

    def test_maildir(self) -> None:
        """Others read it: the standard library's Maildir finds folders, messages and flags."""
        self.look.append(ALICE, OCTETS["ordinary"], ("\\Seen", "\\Flagged"), 1_000_000_000)
        self.look.append(ALICE, b"Subject: deep\r\n\r\n", mailbox="Archive")
        self.assertEqual(
            self.mailstack("export", ALICE, self.tree),
            f"Exported 2 messages of {ALICE} to {self.tree}.\n",
        )
        found = mailbox.Maildir(str(self.tree), create=False)
        (message,) = found
        self.assertEqual((message["Subject"], message.get_flags()), ("hello", "FS"))
        self.assertEqual(message.get_date(), 1_000_000_000)
        self.assertEqual(set(found.list_folders()), {"Archive", "Drafts", "Junk", "Sent", "Trash"})
        (deep,) = found.get_folder("Archive")
        self.assertEqual(deep["Subject"], "deep")

    def test_keywords(self) -> None:
        """Keywords are letters that dovecot-keywords explains; the file is there only with them."""
        self.look.append(ALICE, OCTETS["ordinary"], ("b", "$A", "\\Seen"))
        self.mailstack("export", ALICE, self.tree)
        self.assertEqual((self.tree / "dovecot-keywords").read_text(), "0 $A\n1 b\n")
        (file,) = (self.tree / "cur").iterdir()
        self.assertTrue(file.name.endswith(":2,Sab"))
        self.assertFalse((self.tree / ".Sent" / "dovecot-keywords").exists())

    def test_tooManyKeywords(self) -> None:
        """More keywords than there are letters: those that are left out are named."""
        self.look.append(ALICE, OCTETS["ordinary"], [f"k{number:02}" for number in range(30)])
        said = self.mailstack("export", ALICE, self.tree)
        self.assertIn("INBOX: 30 keywords", said)
        self.assertIn("left out: k26 k27 k28 k29", said)

    def test_private(self) -> None:
        """Mail is for its owner's eyes."""
        self.look.append(ALICE, OCTETS["ordinary"])
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        self.mailstack("export", ALICE, self.tree)
        for path in (self.tree, *self.tree.rglob("*")):
            if path.is_dir():
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_notEmpty(self) -> None:
        """Nothing is written into a directory in which something is."""
        self.tree.mkdir()
        (self.tree / "mine").write_text("")
        said = self.mailstack("export", ALICE, self.tree, status=1)
        self.assertIn(f"{self.tree} is not empty", said)
        self.assertEqual([path.name for path in self.tree.iterdir()], ["mine"])

    def test_unknown(self) -> None:
        """An account that there isn't; no directory is made."""
        said = self.mailstack("export", "nobody@example.test", self.tree, status=1)
        self.assertIn("there is no account nobody@example.test", said)
        self.assertFalse(self.tree.exists())

    def test_notWritable(self) -> None:
        """A place where nothing can be written."""
        blocker = Path(self.mktemp()).resolve()
        blocker.write_text("")
        self.assertIn(str(blocker), self.mailstack("export", ALICE, blocker / "x", status=1))

    def test_nameTooLong(self) -> None:
        """A mailbox whose name no file can have is named; the others are exported."""
        self.look.append(ALICE, OCTETS["ordinary"])
        self.look.run(self.look.account(ALICE).createMailbox("x" * 300))
        said = self.mailstack("export", ALICE, self.tree, status=1)
        self.assertIn("File name too long", said)
        self.assertIn("Exported 1 messages", said)

    def test_damaged(self) -> None:
        """Of a damaged store, what can't be read is named and the rest is exported."""
        for octets in (OCTETS["ordinary"], OCTETS["large"], OCTETS["eight-bit"]):
            self.look.append(ALICE, octets)
        self.look.close()
        connection = sqlite3.connect(self.data / "mail.sqlite3")
        connection.execute("DELETE FROM chunk WHERE piece % 65536 = 2")
        connection.commit()
        connection.close()
        said = self.mailstack("export", ALICE, self.tree, status=1)
        self.assertIn("INBOX, UID 2: ", said)
        self.assertIn("Exported 2 messages", said)
        self.assertEqual(
            sorted(path.read_bytes() for path in (self.tree / "cur").iterdir()),
            sorted([OCTETS["ordinary"], OCTETS["eight-bit"]]),
        )
        self.assertEqual([*(self.tree / "tmp").iterdir()], [])


class ImportTests(TransferTestCase):
    """
    C{mailstack import}.
    """

    def message(self, octets: bytes, *arguments: str, name: str = "message.eml") -> str:
        """
        Import a file.

        @return: what was said.
        """
        path = Path(self.mktemp() + name)
        path.write_bytes(octets)
        os.utime(path, (1_000_000_000, 1_000_000_000))
        return self.mailstack("import", BOB, path, *arguments)

    def test_single(self) -> None:
        """A message in a file: its line ends become CRLF, its date is the file's."""
        said = self.message(b"Subject: x\n\none\r\ntwo\nthree")
        self.assertEqual(said, f"Imported 1 messages into {BOB}.\n")
        self.assertEqual(
            self.look.messages(BOB),
            [(b"Subject: x\r\n\r\none\r\ntwo\r\nthree", frozenset(), 1_000_000_000)],
        )

    def test_mailbox(self) -> None:
        """--mailbox says where it goes; it is made if it is new."""
        self.message(b"Subject: x\n\n", "--mailbox", "Old/Stuff")
        self.assertEqual(len(self.look.messages(BOB, "Old/Stuff")), 1)
        self.message(b"Subject: y\n\n", "--mailbox", "inbox")
        self.assertEqual(len(self.look.messages(BOB)), 1)

    def test_mbox(self) -> None:
        """An mbox file: each message once, quoting undone, flags and dates as it says."""
        said = self.message(
            b"From alice@example.test Mon Nov 23 10:00:00 2026\n"
            b"Subject: one\nStatus: RO\nX-Status: AF\n\n"
            b"text\n>From me\n>>From you\n\n"
            b"From - Tue Nov 24 11:00:00 2026\nSubject: two\n\n\nlast line\n\n\n"
            b"From MAILER-DAEMON Wed Nov 25 12:00:00 2026\nSubject: three\n\nFrom here to there\n"
            b"\nFrom now on\n",
            name="archive",
        )
        self.assertIn("Imported 3 messages", said)
        one, two, three = self.look.messages(BOB)
        self.assertEqual(
            one,
            (
                b"Subject: one\r\nStatus: RO\r\nX-Status: AF\r\n\r\n"
                b"text\r\nFrom me\r\n>From you\r\n",
                frozenset({"\\Seen", "\\Answered", "\\Flagged"}),
                1795428000,
            ),
        )
        self.assertEqual(two[0], b"Subject: two\r\n\r\n\r\nlast line\r\n\r\n")
        self.assertEqual(two[2], 1795428000 + 25 * 3600)
        self.assertEqual(
            three[0], b"Subject: three\r\n\r\nFrom here to there\r\n\r\nFrom now on\r\n"
        )

    def test_mboxOfOthers(self) -> None:
        """What the standard library writes is read."""
        path = self.mktemp()
        box = mailbox.mbox(path)
        for number in range(3):
            box.add(b"Subject: %d\n\nFrom time to time\n" % number)
        box.flush()
        box.close()
        self.mailstack("import", BOB, path)
        self.assertEqual(
            [each[0] for each in self.look.messages(BOB)],
            [b"Subject: %d\r\n\r\nFrom time to time\r\n" % number for number in range(3)],
        )

    def test_mboxCRLF(self) -> None:
        """An mbox with CRLF."""
        self.message(
            b"From a Mon Nov 23 10:00:00 2026\r\nSubject: one\r\n\r\nx\r\n\r\n"
            b"From b Mon Nov 23 10:00:00 2026\r\nSubject: two\r\n\r\ny\r\n\r\n"
        )
        self.assertEqual(
            [each[0] for each in self.look.messages(BOB)],
            [b"Subject: one\r\n\r\nx\r\n", b"Subject: two\r\n\r\ny\r\n"],
        )

    def test_notMbox(self) -> None:
        """A file that only begins like an mbox is refused, and nothing of it is stored."""
        path = Path(self.mktemp())
        path.write_bytes(b"From here\n\nthere\n")
        said = self.mailstack("import", BOB, path, status=1)
        self.assertIn(f"{path} begins like an mbox", said)
        self.assertEqual(self.look.messages(BOB), [])

    def maildir(self) -> mailbox.Maildir:
        """
        @return: a Maildir as other programs make it.
        """
        box = mailbox.Maildir(str(self.tree), create=True)
        message = mailbox.MaildirMessage(b"Subject: seen\n\ntext\n")
        message.set_flags("SR")
        message.set_subdir("cur")
        box.add(message)
        box.add(mailbox.MaildirMessage(b"Subject: new\n\ntext\n"))
        box.add_folder("Lists.python").add(b"Subject: list\n\n")
        return box

    def test_maildir(self) -> None:
        """A Maildir++ tree of others: new and seen messages, folders as levels."""
        self.maildir()
        said = self.mailstack("import", BOB, self.tree)
        self.assertIn("Imported 3 messages", said)
        found = {each[0]: each[1] for each in self.look.messages(BOB)}
        self.assertEqual(
            found,
            {
                b"Subject: seen\r\n\r\ntext\r\n": frozenset({"\\Seen", "\\Answered"}),
                b"Subject: new\r\n\r\ntext\r\n": frozenset(),
            },
        )
        self.assertEqual(len(self.look.messages(BOB, "Lists/python")), 1)

    def test_below(self) -> None:
        """With --mailbox all of a tree goes below it."""
        self.maildir()
        self.mailstack("import", BOB, self.tree, "--mailbox", "Old")
        self.assertEqual(len(self.look.messages(BOB, "Old")), 2)
        self.assertEqual(len(self.look.messages(BOB, "Old/Lists/python")), 1)
        self.assertEqual(self.look.messages(BOB), [])

    def test_order(self) -> None:
        """Messages of others are taken in the order in which they arrived."""
        (self.tree / "cur").mkdir(parents=True)
        for name in ("1000.M9P1.host:2,", "1000.M10P1.host:2,S", "999.M20P1.host:2,"):
            (self.tree / "cur" / name).write_bytes(f"Subject: {name}\n\n".encode())
        self.mailstack("import", BOB, self.tree)
        self.assertEqual(
            [each[0].split(b".")[1] for each in self.look.messages(BOB)],
            [b"M20P1", b"M9P1", b"M10P1"],
        )

    def test_folderNames(self) -> None:
        """Folders in UTF-8 are taken as well as those in modified UTF-7; nonsense is named."""
        for name in (".Entw&APw-rfe", ".Grüße", ".R&D"):
            (self.tree / name / "cur").mkdir(parents=True)
        (self.tree / "cur").mkdir()
        self.mailstack("import", BOB, self.tree)
        self.assertLessEqual({"Entwürfe", "Grüße", "R&D"}, set(self.look.names(BOB)))
        (self.tree / ".a..b" / "cur").mkdir(parents=True)
        said = self.mailstack("import", BOB, self.tree, status=1)
        self.assertIn(f"{self.tree}/.a..b: ", said)

    def test_emptyMaildir(self) -> None:
        """Nothing in it, nothing imported."""
        (self.tree / "cur").mkdir(parents=True)
        self.assertIn("Imported 0 messages", self.mailstack("import", BOB, self.tree))

    def test_noMaildir(self) -> None:
        """Another directory is refused."""
        self.tree.mkdir()
        said = self.mailstack("import", BOB, self.tree, status=1)
        self.assertIn(f"{self.tree} is no Maildir", said)

    def test_unknown(self) -> None:
        """An account or a file that there isn't; a mailbox that can't be."""
        self.tree.write_text("Subject: x\n\n")
        said = self.mailstack("import", "nobody@example.test", self.tree, status=1)
        self.assertIn("there is no account nobody@example.test", said)
        self.mailstack("import", BOB, self.mktemp(), status=2)
        said = self.mailstack("import", BOB, self.tree, "--mailbox", "a//b", status=1)
        self.assertIn("empty level", said)

    def test_overQuota(self) -> None:
        """A full account: how far it went is said; what was counted is there, nothing more."""
        self.mailstack("user", "quota", BOB, "--messages", "4")
        self.patch(transfer, "BATCH", 3)
        (self.tree / "cur").mkdir(parents=True)
        for number in range(9):
            (self.tree / "cur" / f"{number}:2,").write_bytes(b"Subject: x\n\n")
        said = self.mailstack("import", BOB, self.tree, status=1)
        self.assertIn("the 3 messages before it are imported", said)
        self.assertIn(str(self.tree / "cur" / "3:2,"), said)
        self.assertEqual(len(self.look.messages(BOB)), 3)
        self.assertIn("No damage found.", self.mailstack("check"))

    def test_unreadable(self) -> None:
        """A file that can't be read is named."""
        (self.tree / "cur").mkdir(parents=True)
        file = self.tree / "cur" / "1:2,"
        file.write_bytes(b"Subject: x\n\n")
        read = Path.read_bytes

        def refuse(path: Path) -> bytes:
            if path == file:
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        self.patch(Path, "read_bytes", refuse)
        said = self.mailstack("import", BOB, self.tree, status=1)
        self.assertIn(f"{file}: Permission denied", said)
