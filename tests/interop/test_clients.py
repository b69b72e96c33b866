"""
Other people's clients against C{twistd mailstack}: one server for the whole module, real TLS, a
real SQLite file. What is sent by one comes back octet for octet by another.
"""

from __future__ import annotations

import atexit
import imaplib
import os
import poplib
import re
import shlex
import smtplib
import ssl
import subprocess
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import (
    ALICE,
    BOB,
    PASSWORD,
    Server,
    looseTLS,
    needs,
    run,
)


def message(subject: str, body: bytes) -> bytes:
    """
    @return: a message with this body, exactly.
    """
    return (
        b"From: Alice <%b>\r\nTo: %b\r\nSubject: %b\r\nMessage-ID: <%b@example.test>\r\n"
        b"Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        % (ALICE.encode(), BOB.encode(), subject.encode(), subject.encode())
    ) + body


#: Bodies that mail software likes to alter.
BODIES = {
    "eight-bit": "Grüße, 日本語, naïve\r\n".encode() + bytes(range(0xA0, 0x100)) + b"\r\n",
    "leading-dots": b".\r\n..\r\n...\r\n.a dot\r\nmid.dle\r\n.\r\n",
    "long-line": b"x" * 998 + b"\r\n" + b"." + b"y" * 997 + b"\r\n",
    "blank-lines": b"\r\n\r\ntext \r\n\t\r\n \r\n\r\n\r\n",
    "empty": b"",
}


@cache
def sharedServer() -> Server:
    """
    @return: one running server for all tests of this process.
    """
    server = Server()
    atexit.register(server.close)
    server.start()
    server.addAccounts(ALICE)
    return server


class ClientTests(SynchronousTestCase):
    """
    Each test starts with empty mailboxes of its own: it makes its own account.
    """

    def setUp(self) -> None:
        """An account for this test only."""
        self.server = sharedServer()
        name = self._testMethodName.removeprefix("test_").lower().replace("_", "-")
        self.me = f"{name}@example.test"
        self.server.addAccounts(self.me)
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir(parents=True)
        self.ports = self.server.ports

    # --- helpers -------------------------------------------------------------------------------

    def imap(self, who: str | None = None) -> imaplib.IMAP4:
        """A logged-in session over TLS."""
        client = imaplib.IMAP4_SSL(
            "127.0.0.1", self.ports["imaps"], ssl_context=looseTLS(), timeout=60
        )
        self.addCleanup(client.shutdown)
        client.login(who or self.me, PASSWORD)
        return client

    def inbox(self, mailbox: str = "INBOX") -> list[bytes]:
        """Every message's octets, from From: on (the server's own lines go before it)."""
        client = self.imap()
        self.assertEqual(client.select(mailbox)[0], "OK")
        _, found = client.uid("SEARCH", "ALL")
        result = []
        for uid in found[0].split():
            _, data = client.uid("FETCH", uid.decode(), "(BODY.PEEK[])")
            octets = next(part[1] for part in data if isinstance(part, tuple))
            result.append(octets[octets.index(b"From: ") :])
        return result

    def submit(self, *messages: bytes) -> None:
        """Send by submission with STARTTLS, as Alice, to this test's account."""
        with smtplib.SMTP("127.0.0.1", self.ports["submission"], timeout=60) as client:
            client.starttls(context=looseTLS())
            client.login(ALICE, PASSWORD)
            for octets in messages:
                client.sendmail(ALICE, [self.me], octets, ["BODY=8BITMIME"])

    def curl(self, *arguments: str, status: int | None = 0) -> bytes:
        """Run curl quietly, trusting the self-signed certificate."""
        needs("curl")
        return run(["curl", "-sS", "-k", "--max-time", "100", *arguments], status=status)

    # --- the standard library ------------------------------------------------------------------

    def test_octetForOctet(self) -> None:
        """What smtplib submits, imaplib and poplib read, whatever is in it."""
        sent = [message(name, body) for name, body in BODIES.items()]
        self.submit(*sent)
        self.assertEqual(self.inbox(), sent)
        client = poplib.POP3_SSL("127.0.0.1", self.ports["pop3s"], context=looseTLS(), timeout=60)
        client.user(self.me)
        client.pass_(PASSWORD)
        for number, octets in enumerate(sent, 1):
            got = b"".join(line + b"\r\n" for line in client.retr(number)[1])
            self.assertEqual(got[got.index(b"From: ") :], octets)
        client.quit()

    def test_noFinalLineEnd(self) -> None:
        """APPEND keeps a message without a last line end as it is; POP3 ends the line."""
        octets = message("unfinished", b"no line end here")
        client = self.imap()
        self.assertEqual(client.append("INBOX", None, None, octets)[0], "OK")
        # imaplib normalises line ends of what it appends, nothing else.
        self.assertEqual(self.inbox(), [octets])
        pop = poplib.POP3("127.0.0.1", self.ports["pop3"], timeout=60)
        pop.stls(looseTLS())
        pop.user(self.me)
        pop.pass_(PASSWORD)
        self.assertEqual(pop.retr(1)[1][-1], b"no line end here")
        pop.quit()

    def test_twentyFiveMegabytes(self) -> None:
        """A 25 MB message goes in by SMTP and comes back by IMAP and POP3."""
        line = bytes(range(0x30, 0x7B)) + b"\r\n"
        octets = message("large", line * (25 * 1024 * 1024 // len(line)))
        self.submit(octets)
        self.assertEqual(self.inbox() == [octets], True)
        got = self.curl("-u", f"{self.me}:{PASSWORD}", f"pop3s://127.0.0.1:{self.ports['pop3s']}/1")
        self.assertEqual(got[got.index(b"From: ") :] == octets, True)

    def test_imapSynchronisedSessions(self) -> None:
        """Two sessions on one mailbox: each sees what the other does."""
        self.submit(message("one", b"1\r\n"), message("two", b"2\r\n"))
        first, second = self.imap(), self.imap()
        first.select()
        second.select()
        first.store("1", "+FLAGS", r"(\Deleted)")
        first.expunge()
        second.noop()
        self.assertEqual(second.response("EXPUNGE")[1], [b"1"])
        self.assertEqual(second.search(None, "ALL")[1], [b"1"])
        second.store("1", "+FLAGS", "(work)")
        first.noop()
        _, data = first.fetch("1", "(FLAGS)")
        self.assertIn(b"work", data[0])

    # --- swaks ---------------------------------------------------------------------------------

    def swaks(self, *arguments: str, status: int | None = 0) -> bytes:
        """Run swaks against loopback."""
        needs("swaks")
        return run(["swaks", "--server", "127.0.0.1", "--timeout", "30", *arguments], status=status)

    def test_swaksFromOutside(self) -> None:
        """Mail from a stranger to a local account arrives, with STARTTLS."""
        self.swaks(
            *("--port", str(self.ports["smtp"]), "--tls", "--pipeline"),
            *("--from", "stranger@elsewhere.test", "--to", self.me),
        )
        self.assertEqual(len(self.inbox()), 1)

    def test_swaksSubmission(self) -> None:
        """AUTH PLAIN and AUTH LOGIN, by STARTTLS and by implicit TLS."""
        for mechanism in ("PLAIN", "LOGIN"):
            for tls, service in (("--tls", "submission"), ("--tlsc", "submissions")):
                self.swaks(
                    *("--port", str(self.ports[service]), tls, "--auth", mechanism),
                    *("--auth-user", ALICE, "--auth-password", PASSWORD),
                    *("--from", ALICE, "--to", self.me),
                )
        self.assertEqual(len(self.inbox()), 4)

    def test_swaksRefused(self) -> None:
        """No relaying for strangers, no AUTH without TLS, no submission without AUTH."""
        smtp, submission = str(self.ports["smtp"]), str(self.ports["submission"])
        stranger = ("--from", "a@elsewhere.test", "--to", "b@far.test")
        self.assertIn(b"550 5.7.1", self.swaks("--port", smtp, *stranger, status=24))
        self.assertIn(
            b"5.7.0",
            self.swaks("--port", submission, "--tls", "--from", ALICE, "--to", self.me, status=23),
        )
        self.swaks(
            *("--port", submission, "--auth", "PLAIN", "--auth-user", ALICE),
            *("--auth-password", PASSWORD, "--from", ALICE, "--to", self.me),
            status=28,
        )
        self.assertEqual(self.inbox(), [])

    # --- curl ----------------------------------------------------------------------------------

    def test_curl(self) -> None:
        """SMTP, POP3 and IMAP, each by STARTTLS and by implicit TLS."""
        for number, (scheme, service, extra) in enumerate(
            (
                ("smtp", "submission", ["--ssl-reqd"]),
                ("smtps", "submissions", []),
            )
        ):
            path = self.folder / f"{number}.eml"
            path.write_bytes(message(f"curl-{number}", BODIES["leading-dots"]))
            self.curl(
                *(
                    f"{scheme}://127.0.0.1:{self.ports[service]}",
                    *extra,
                    "-u",
                    f"{ALICE}:{PASSWORD}",
                ),
                *("--mail-from", ALICE, "--mail-rcpt", self.me, "-T", str(path)),
            )
        sent = [message(f"curl-{n}", BODIES["leading-dots"]) for n in (0, 1)]
        self.assertEqual(self.inbox(), sent)
        login = ("-u", f"{self.me}:{PASSWORD}")
        for scheme, service, extra in (
            ("pop3", "pop3", ["--ssl-reqd"]),
            ("pop3s", "pop3s", []),
        ):
            got = self.curl(f"{scheme}://127.0.0.1:{self.ports[service]}/2", *extra, *login)
            self.assertEqual(got[got.index(b"From: ") :], sent[1])
        for scheme, service, extra in (
            ("imap", "imap", ["--ssl-reqd"]),
            ("imaps", "imaps", []),
        ):
            got = self.curl(
                f"{scheme}://127.0.0.1:{self.ports[service]}/INBOX;MAILINDEX=1", *extra, *login
            )
            self.assertEqual(got[got.index(b"From: ") :], sent[0])
        # APPEND by imaps.
        self.curl(
            f"imaps://127.0.0.1:{self.ports['imaps']}/Drafts",
            *(*login, "-T", str(self.folder / "0.eml")),
        )
        self.assertEqual(self.inbox("Drafts"), [sent[0]])

    def test_curlOctetForOctet(self) -> None:
        """Whatever is in a message, curl gets back what curl sent, in each protocol."""
        login = ("-u", f"{self.me}:{PASSWORD}")
        smtps = f"smtps://127.0.0.1:{self.ports['submissions']}"
        for number, (name, body) in enumerate(BODIES.items(), 1):
            octets = message(name, body)
            path = self.folder / name
            path.write_bytes(octets)
            self.curl(
                *(smtps, "-u", f"{ALICE}:{PASSWORD}", "-T", str(path)),
                *("--mail-from", ALICE, "--mail-rcpt", self.me),
            )
            for url in (
                f"pop3s://127.0.0.1:{self.ports['pop3s']}/{number}",
                f"imaps://127.0.0.1:{self.ports['imaps']}/INBOX;MAILINDEX={number}",
            ):
                got = self.curl(url, *login)
                self.assertEqual(got[got.index(b"From: ") :], octets, (name, url))

    def test_curlPlain(self) -> None:
        """Mail from outside without TLS arrives; a password without TLS is not taken."""
        path = self.folder / "plain.eml"
        path.write_bytes(message("plain", b"text\r\n"))
        self.curl(
            *(f"smtp://127.0.0.1:{self.ports['smtp']}", "-T", str(path)),
            *("--mail-from", "stranger@elsewhere.test", "--mail-rcpt", self.me),
        )
        self.assertEqual(self.inbox(), [path.read_bytes()])
        for scheme in ("imap", "pop3"):
            # 67: login denied.
            self.curl(
                f"{scheme}://127.0.0.1:{self.ports[scheme]}/",
                *("-u", f"{self.me}:{PASSWORD}"),
                status=67,
            )

    def test_appendLarge(self) -> None:
        """25 MB by APPEND, over STARTTLS, come back by IMAP and by POP3."""
        line = bytes(range(0x30, 0x7B)) + b"\r\n"
        octets = message("large", line * (25 * 1024 * 1024 // len(line)) + b"the end, unfinished")
        path = self.folder / "large.eml"
        path.write_bytes(octets)
        login = ("-u", f"{self.me}:{PASSWORD}")
        imap = f"imap://127.0.0.1:{self.ports['imap']}/INBOX"
        self.curl("--ssl-reqd", imap, *login, "-T", str(path))
        got = self.curl("--ssl-reqd", f"{imap};MAILINDEX=1", *login)
        self.assertEqual(got == octets, True)
        pop3 = f"pop3://127.0.0.1:{self.ports['pop3']}/1"
        got = self.curl("--ssl-reqd", pop3, *login)
        self.assertEqual(got.removesuffix(b"\r\n") == octets, True)

    # --- mbsync --------------------------------------------------------------------------------

    def test_mbsyncBothDirections(self) -> None:
        """A Maildir and the account become the same, whoever changed what."""
        needs("mbsync")
        self.submit(*(message(f"m{number}", b"text\r\n") for number in range(30)))
        (self.folder / "mail").mkdir()
        config = self.folder / "mbsyncrc"
        config.write_text(
            f"IMAPAccount a\nHost localhost\nPort {self.ports['imaps']}\nUser {self.me}\n"
            f'Pass "{PASSWORD}"\nSSLType IMAPS\nCertificateFile {self.certificate()}\n\n'
            "IMAPStore far\nAccount a\n\n"
            f"MaildirStore near\nPath {self.folder}/mail/\nInbox {self.folder}/mail/INBOX\n"
            "SubFolders Verbatim\n\n"
            "Channel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\n"
            "Remove Both\nSyncState *\n"
        )
        sync = ["mbsync", "-c", str(config), "-a"]
        # It compresses where it can (RFC 4978).
        self.assertIn(b" OK DEFLATE active", run(["mbsync", "-Dn", *sync[1:]]))
        inbox = self.folder / "mail" / "INBOX"
        local = [*(inbox / "new").iterdir(), *(inbox / "cur").iterdir()]
        self.assertEqual(len(local), 30)
        self.assertTrue((self.folder / "mail" / "Drafts").is_dir())
        # Here: one deleted, one flagged, one new. There: one deleted, one seen, a new mailbox.
        local.sort(key=lambda path: path.name)
        local[0].unlink()
        local[1].rename(inbox / "cur" / (local[1].name.partition(":")[0] + ":2,F"))
        (inbox / "new" / "1.fresh").write_bytes(
            message("fresh", b"from here\r\n").replace(b"\r\n", b"\n")
        )
        client = self.imap()
        client.select()
        client.store("30", "+FLAGS", r"(\Deleted)")
        client.store("29", "+FLAGS", r"(\Seen)")
        client.expunge()
        client.create("There/Sub")
        client.append("There/Sub", None, None, message("sub", b"x\r\n"))
        run(sync)
        client.noop()
        self.assertEqual(len(client.search(None, "ALL")[1][0].split()), 29)
        self.assertEqual(len(client.search(None, "FLAGGED")[1][0].split()), 1)
        self.assertEqual(len(client.search(None, "SUBJECT", "fresh")[1][0].split()), 1)
        remaining = [*(inbox / "new").iterdir(), *(inbox / "cur").iterdir()]
        self.assertEqual(len(remaining), 29)
        self.assertEqual(sum("S" in path.name.partition(":2,")[2] for path in remaining), 1)
        sub = self.folder / "mail" / "There" / "Sub"
        self.assertEqual(len([*(sub / "new").iterdir(), *(sub / "cur").iterdir()]), 1)
        # Once more: nothing is left to do.
        before = sorted(path.name for path in remaining)
        run(sync)
        after = sorted(path.name for part in ("new", "cur") for path in (inbox / part).iterdir())
        self.assertEqual(before, after)

    def certificate(self) -> Path:
        """The server's own certificate, as a client that pins it would save it."""
        path = self.folder / "server.pem"
        path.write_text(ssl.get_server_certificate(("127.0.0.1", self.ports["imaps"])))
        return path

    def test_mbsyncOctetForOctet(self) -> None:
        """What mbsync fetches is what was sent, and what it puts elsewhere is what it fetched."""
        needs("mbsync")
        sent = [message(name, body) for name, body in BODIES.items()]
        self.submit(*sent)
        (self.folder / "mail").mkdir()
        config = self.folder / "mbsyncrc"
        account = (
            f'Host localhost\nPort {self.ports["imaps"]}\nPass "{PASSWORD}"\n'
            f"SSLType IMAPS\nCertificateFile {self.certificate()}\n"
        )
        other = f"copy-of-{self.me}"
        self.server.addAccounts(other)
        config.write_text(
            f"IMAPAccount a\nUser {self.me}\n{account}\nIMAPStore one\nAccount a\n\n"
            f"IMAPAccount b\nUser {other}\n{account}\nIMAPStore two\nAccount b\n\n"
            f"MaildirStore near\nPath {self.folder}/mail/\nInbox {self.folder}/mail/INBOX\n\n"
            "Channel down\nFar :one:\nNear :near:\nCreate Near\nSync Pull\nSyncState *\n\n"
            f"Channel up\nFar :two:\nNear :near:\nSync Push\n"
            f"SyncState {self.folder}/up-\n"
        )
        run(["mbsync", "-c", str(config), "down", "up"])
        inbox = self.folder / "mail" / "INBOX"
        files = [*(inbox / "new").iterdir(), *(inbox / "cur").iterdir()]

        def own(octets: bytes) -> bytes:
            # It adds a field of its own to what it puts somewhere.
            return re.sub(rb"(?m)^X-TUID: [^\n]*\n", b"", octets[octets.index(b"From: ") :])

        # Files have LF.
        got = {own(path.read_bytes()) for path in files}
        self.assertEqual(got == {octets.replace(b"\r\n", b"\n") for octets in sent}, True)
        self.me = other
        self.assertEqual({own(octets) for octets in self.inbox()} == set(sent), True)

    # --- fetchmail -----------------------------------------------------------------------------

    def test_fetchmail(self) -> None:
        """POP3 and IMAP with TLS: every message is fetched once, and deleted where asked."""
        needs("fetchmail")

        def fetch(protocol: str, service: str, options: str, status: int = 0) -> None:
            config = self.folder / "fetchmailrc"
            config.write_text(
                f"poll localhost via 127.0.0.1 protocol {protocol}"
                f" port {self.ports[service]} uidl\n"
                f'  username "{self.me}" password "{PASSWORD}"\n'
                f"  ssl no sslcertck no rewrite {options}\n"
                f'  mda "cat >> {self.folder}/spool"\n'
            )
            os.chmod(config, 0o600)
            run(
                [
                    *("fetchmail", "-f", str(config), "--pidfile", str(self.folder / "pid")),
                    *("-i", str(self.folder / "ids")),
                ],
                status=status,
            )

        def fetched(subject: bytes) -> int:
            return (self.folder / "spool").read_bytes().count(b"Subject: " + subject)

        self.submit(message("f1", b"one\r\n"), message("f2", b"two\r\n"))
        fetch("POP3", "pop3s", "keep")
        self.assertEqual(fetched(b"f"), 2)
        # By UIDL it knows them: only what is new is fetched.
        self.submit(message("f3", b"three\r\n"))
        fetch("POP3", "pop3s", "keep")
        self.assertEqual((fetched(b"f"), fetched(b"f3")), (3, 1))
        # Status 1 is its "no mail".
        fetch("POP3", "pop3s", "keep", status=1)
        self.assertEqual(fetched(b"f"), 3)
        fetch("IMAP", "imaps", "fetchall nokeep")
        self.assertEqual(fetched(b"f"), 6)
        self.assertEqual(self.inbox(), [])

    def test_fetchmailOctetForOctet(self) -> None:
        """The bodies that fetchmail hands on are those that were sent, by POP3 and by IMAP."""
        needs("fetchmail")
        sent = [message(name, body) for name, body in BODIES.items()]
        self.submit(*sent)
        for protocol, service in (("POP3", "pop3"), ("IMAP", "imap")):
            place = self.folder / protocol
            place.mkdir()
            config = self.folder / "fetchmailrc"
            config.write_text(
                f"poll localhost via 127.0.0.1 protocol {protocol} port {self.ports[service]}\n"
                f'  username "{self.me}" password "{PASSWORD}"\n'
                f"  sslproto TLS1.2+ no sslcertck no rewrite fetchall keep\n"
                f'  mda "cat > $(mktemp {place}/XXXXXX)"\n'
            )
            os.chmod(config, 0o600)
            run(["fetchmail", "-f", str(config), "--pidfile", str(self.folder / "pid")])
            got = {path.read_bytes().partition(b"\n\n")[2] for path in place.iterdir()}
            wanted = {octets.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n") for octets in sent}
            self.assertEqual(got, wanted, protocol)

    # --- mutt ----------------------------------------------------------------------------------

    def mutt(self, *arguments: str, stdin: bytes = b"", settings: str = "") -> None:
        """
        Run mutt in this test's INBOX.

        @param settings: lines of its configuration.
        """
        needs("mutt")
        config = self.folder / "muttrc"
        config.write_text(
            f"set ssl_force_tls=yes\nset certificate_file={self.certificate()}\n"
            f"set imap_user='{self.me}'\nset imap_pass='{PASSWORD}'\n"
            f"set folder='imaps://127.0.0.1:{self.ports['imaps']}/'\n"
            f"set spoolfile='imaps://127.0.0.1:{self.ports['imaps']}/INBOX'\n"
            "set record=''\nset ssl_verify_host=no\nset ssl_verify_dates=no\n"
            f"set smtp_url='smtps://{self.me}@127.0.0.1:{self.ports['submissions']}'\n"
            f"set smtp_pass='{PASSWORD}'\nset from='{self.me}'\nset use_envelope_from=yes\n"
            "set confirmappend=no\nset confirmcreate=no\nset delete=yes\nset quit=yes\n"
            "set wait_key=no\nset move=no\nset header_cache=''\nset sleep_time=0\n" + settings
        )
        environment = {**os.environ, "TERM": "xterm", "HOME": str(self.folder)}
        # mutt wants a terminal: script gives it one.
        words = " ".join(
            shlex.quote(word) for word in ("mutt", "-n", "-F", str(config), *arguments)
        )
        command = ["script", "-qec", words, "/dev/null"] if not stdin else ["sh", "-c", words]
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            timeout=60,
            env=environment,
        )
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])

    def test_mutt(self) -> None:
        """mutt opens the mailbox, saves a message to another one and sends by submission."""
        self.submit(message("for-mutt", b"read me\r\n"))
        self.mutt(
            "-e", 'push "<tag-pattern>~A<enter><tag-prefix><copy-message>=Archive<enter><quit>"'
        )
        self.assertEqual(len(self.inbox("Archive")), 1)
        self.mutt("-s", "sent by mutt", self.me, stdin=b"hello from mutt\n")
        self.assertEqual(sum(b"sent by mutt" in octets for octets in self.inbox()), 1)

    def test_muttQresync(self) -> None:
        """
        mutt comes back by QRESYNC (RFC 7162) to a mailbox in which messages were flagged and
        expunged meanwhile, and new ones came: what it copies are those that are there and that
        nobody flagged.
        """
        settings = (
            f"set header_cache={self.folder}/cache\nset imap_condstore=yes\nset imap_qresync=yes\n"
        )
        for name in ("one", "two", "three", "four"):
            self.submit(message(name, name.encode() + b"\r\n"))
        self.mutt("-e", 'push "<quit>"', settings=settings)
        other = self.imap()
        other.select()
        other.store("1,3", "+FLAGS", r"(\Deleted)")
        other.expunge()
        other.store("1", "+FLAGS", r"(\Flagged)")
        self.submit(message("five", b"five\r\n"))
        copy = 'push "<tag-pattern>!~F<enter><tag-prefix><copy-message>=Archive<enter><quit>"'
        self.mutt("-d", "2", "-e", copy, settings=settings)
        copied = self.inbox("Archive")
        self.assertEqual(
            [next(word for word in (b"four", b"five") if word in octets) for octets in copied],
            [b"four", b"five"],
        )
        # That it did so by QRESYNC is in its own log.
        log = (self.folder / ".muttdebug0").read_bytes()
        self.assertRegex(log, rb"UID FETCH 1:4 \(FLAGS\) \(CHANGEDSINCE \d+ VANISHED\)")
        self.assertIn(b"* VANISHED (EARLIER) 1,3", log)
