"""
POP3 with other people's clients against C{twistd mailstack}, and POP3Client and C{mailstack import}
against Dovecot's server and our own, over real sockets.
"""

from __future__ import annotations

import atexit
import json
import os
import poplib
import smtplib
import ssl
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.dovecot import Dovecot, needsDovecot
from tests.interop.harness import (
    ALICE,
    BOB,
    PASSWORD,
    ROOT,
    Server,
    environment,
    looseTLS,
    needs,
    run,
)

CONFIG = "[pop3]\napop = true\n"
#: Runs a coroutine with a client, and prints its result as JSON.
SCRIPT = """
import json, sys
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted_mailstack.errors import MailError
from twisted_mailstack.pop3.client import POP3Client

async def main(reactor):
    port, options, text = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
    scope = {}
    exec("async def work(client):\\n" + "\\n".join("    " + l for l in text.splitlines()), scope)
    try:
        async with POP3Client(reactor, "127.0.0.1", port, **options) as client:
            print(json.dumps(await scope["work"](client)))
    except MailError as error:
        print(json.dumps([type(error).__name__, str(error)]))

task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""
GLOBAL = "Subject: Grüße\r\nFrom: Jörg <j@example.test>\r\n\r\n.\r\n..ä\r\n".encode()


@cache
def server() -> Server:
    """
    @return: a server with alice and bob.
    """
    found = Server(config=CONFIG)
    atexit.register(found.close)
    found.start()
    for address in (ALICE, BOB):
        found.tool("user", "add", "--plain", address, stdin=PASSWORD + "\n")
    return found


def deliver(address: str, *messages: bytes) -> None:
    """Messages arrive."""
    with smtplib.SMTP("127.0.0.1", server().ports["smtp"], local_hostname="c.test") as client:
        for each in messages:
            client.sendmail("x@elsewhere.test", [address], each, ["SMTPUTF8", "BODY=8BITMIME"])


def work(port: int, text: str, **options: Any) -> Any:
    """
    @param text: what is done with C{client}.
    @return: what it returned.
    """
    options = {"username": ALICE, "password": PASSWORD, **options}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(port), json.dumps(options), text],
        capture_output=True,
        timeout=60,
        cwd=ROOT,
        env=environment(),
    )
    if done.stderr:
        raise AssertionError(done.stderr.decode())
    return json.loads(done.stdout)


class ClientTests(SynchronousTestCase):
    """
    Clients of others.
    """

    def setUp(self) -> None:
        """An account of its own."""
        self.me = f"{self.id().rpartition('.')[2].lower()}@example.test"
        server().tool("user", "add", "--plain", self.me, stdin=PASSWORD + "\n")
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()

    def pop(self) -> poplib.POP3_SSL:
        """
        @return: a connection of Python's client.
        """
        return poplib.POP3_SSL("127.0.0.1", server().ports["pop3s"], context=looseTLS(), timeout=30)

    def test_poplib(self) -> None:
        """All commands of Python's client, STLS and UTF8 among them."""
        deliver(self.me, b"Subject: one\r\n\r\n.\r\n..\r\n", GLOBAL)
        client = poplib.POP3("127.0.0.1", server().ports["pop3"], timeout=30)
        self.assertIn("STLS", client.capa())
        client.stls(looseTLS())
        self.assertIn("UTF8", client.capa())
        client.utf8()
        client.user(self.me)
        client.pass_(PASSWORD)
        self.assertEqual(client.stat()[0], 2)
        self.assertEqual(client.retr(1)[1][-3:], [b"", b".", b".."])
        self.assertIn("Subject: Grüße".encode(), client.retr(2)[1])
        self.assertEqual(len(client.top(1, 1)[1]), len(client.retr(1)[1]) - 1)
        ids = client.uidl()[1]
        self.assertEqual(len(set(ids)), 2)
        client.dele(1)
        client.rset()
        client.dele(2)
        client.quit()
        again = self.pop()
        again.user(self.me)
        again.pass_(PASSWORD)
        self.assertEqual(again.uidl()[1], ids[:1])
        again.quit()

    def test_policy(self) -> None:
        """What an account has of its own is announced, enforced, and seen by a running server."""
        deliver(self.me, b"Subject: one\r\n\r\n", b"Subject: two\r\n\r\n")
        server().tool("user", "pop3", self.me, "--expire", "0", "--login-delay", "86400")
        client = self.pop()
        self.assertEqual(client.capa()["EXPIRE"], ["0", "USER"])
        self.assertEqual(client.capa()["LOGIN-DELAY"], ["86400", "USER"])
        client.user(self.me)
        client.pass_(PASSWORD)
        self.assertEqual(client.capa()["EXPIRE"], ["0"])
        self.assertEqual(client.capa()["LOGIN-DELAY"], ["86400"])
        client.retr(1)
        client.quit()
        again = self.pop()
        again.user(self.me)
        with self.assertRaisesRegex(poplib.error_proto, "LOGIN-DELAY"):
            again.pass_(PASSWORD)
        again.close()
        server().tool("user", "pop3", self.me, "--expire", "default", "--login-delay", "default")
        again = self.pop()
        self.assertEqual(again.capa()["EXPIRE"], ["NEVER"])
        again.user(self.me)
        again.pass_(PASSWORD)
        self.assertEqual(again.stat()[0], 1)
        again.quit()

    def test_apop(self) -> None:
        """APOP of Python's client, with the secret that the account has in plain."""
        client = poplib.POP3("127.0.0.1", server().ports["pop3"], timeout=30)
        client.apop(self.me, PASSWORD)
        self.assertEqual(client.stat(), (0, 0))
        client.quit()
        client = poplib.POP3("127.0.0.1", server().ports["pop3"], timeout=30)
        with self.assertRaisesRegex(poplib.error_proto, "AUTH"):
            client.apop(self.me, "wrong")
        client.close()

    def test_surrogate(self) -> None:
        """curl, which doesn't say UTF8, gets headers in ASCII; a second session is IN-USE."""
        needs("curl")
        deliver(self.me, GLOBAL)
        url = f"pop3s://127.0.0.1:{server().ports['pop3s']}/1"
        got = run(["curl", "-sS", "-k", "-u", f"{self.me}:{PASSWORD}", url])
        self.assertIn(b"Subject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n", got)
        self.assertTrue(got.endswith("\r\n\r\n.\r\n..ä\r\n".encode()))
        first = self.pop()
        first.user(self.me)
        first.pass_(PASSWORD)
        second = self.pop()
        second.user(self.me)
        with self.assertRaisesRegex(poplib.error_proto, "IN-USE"):
            second.pass_(PASSWORD)
        first.quit()

    def test_mpop(self) -> None:
        """mpop, which pipelines, fetches what is new by UIDL and deletes what is wanted."""
        needs("mpop")
        config = self.folder / "mpoprc"
        spool = self.folder / "maildir"
        for each in ("cur", "new", "tmp"):
            (spool / each).mkdir(parents=True)

        def fetch(*options: str) -> int:
            config.write_text(
                f"account default\nhost 127.0.0.1\nport {server().ports['pop3']}\n"
                f"user {self.me}\npasswordeval echo '{PASSWORD}'\ntls on\ntls_starttls on\n"
                "tls_certcheck off\npipelining on\nauth on\nreceived_header off\n"
                f"delivery maildir {spool}\nuidls_file {self.folder}/uidls\n"
            )
            config.chmod(0o600)
            run(["mpop", "-C", str(config), "-q", *options])
            return len([*(spool / "new").iterdir()])

        deliver(self.me, *[b"Subject: %d\r\n\r\n.x\r\n" % n for n in range(30)])
        self.assertEqual(fetch("--keep=on"), 30)
        deliver(self.me, b"Subject: new\r\n\r\n")
        self.assertEqual(fetch("--keep=on"), 31)
        self.assertEqual(fetch("--keep=off"), 31)
        client = self.pop()
        client.user(self.me)
        client.pass_(PASSWORD)
        self.assertEqual(client.stat(), (0, 0))
        client.quit()

    def test_mutt(self) -> None:
        """mutt opens the maildrop and deletes a message."""
        needs("mutt", "script")
        deliver(self.me, b"Subject: one\r\n\r\nx\r\n", b"Subject: two\r\n\r\nx\r\n")
        config = self.folder / "muttrc"
        config.write_text(
            f"set certificate_file={self.certificate()}\nset ssl_verify_host=no\n"
            f"set ssl_verify_dates=no\nset pop_user='{self.me}'\nset pop_pass='{PASSWORD}'\n"
            # Of an exchange that it cancels it doesn't read the end.
            "set pop_authenticators=plain\nset pop_delete=no\n"
            "set delete=yes\nset quit=yes\nset wait_key=no\nset move=no\n"
            f"set sleep_time=0\nset folder={self.folder}\nset record=''\nset ssl_force_tls=yes\n"
        )
        words = (
            f"mutt -n -F {config} -f pops://127.0.0.1:{server().ports['pop3s']}/"
            " -e 'push \"<delete-message><sync-mailbox><quit>\"'"
        )
        done = subprocess.run(
            ["script", "-qec", words, "/dev/null"],
            input=b"",
            capture_output=True,
            timeout=60,
            env={**os.environ, "TERM": "xterm", "HOME": str(self.folder)},
        )
        self.assertEqual(done.returncode, 0, done.stdout[-2000:])
        client = self.pop()
        client.user(self.me)
        client.pass_(PASSWORD)
        self.assertEqual(client.stat()[0], 1)
        client.quit()

    def certificate(self) -> Path:
        """
        @return: the server's, in a file that mutt takes.
        """
        pem = ssl.get_server_certificate(("127.0.0.1", server().ports["pop3s"]))
        path = self.folder / "certificate.pem"
        path.write_text(pem)
        return path


class OwnClientTests(SynchronousTestCase):
    """
    POP3Client with our server over real TLS.
    """

    TEXT = """
class Sink:
    data = b""
    def write(self, data):
        self.data += data
listed = await client.listMessages()
sinks = {each.number: Sink() for each in listed}
await client.retrieveAll([each.number for each in listed], sinks.__getitem__)
await client.delete(*sinks)
return [len(listed), len({each.uniqueId for each in listed}),
        sum(len(each.data) for each in sinks.values()) - sum(each.octets for each in listed)]
"""

    def test_levels(self) -> None:
        """STLS and implicit TLS: many messages, a large one among them, fetched and deleted."""
        for service, level in (("pop3", "required"), ("pop3s", None)):
            large = b"Subject: large\r\n\r\n" + b".%077d\r\n" % 1 * 60_000
            deliver(BOB, *[b"Subject: x\r\n\r\n.%d\r\n" % n for n in range(99)], large, GLOBAL)
            options: dict[str, Any] = {"username": BOB}
            if level is not None:
                options["tls"] = level
                found = work(server().ports[service], self.TEXT, **options)
                self.assertEqual(found, [101, 101, 0])
            else:
                found = work(server().ports[service], self.TEXT, **options)
                self.assertEqual(found[0], "TLSUnavailable")
                self.assertIn("issuer is not trusted", found[1])
        # Nobody has fetched those of the second round.
        found = work(server().ports["pop3"], self.TEXT, username=BOB, tls="required")
        self.assertEqual(found, [101, 101, 0])
        text = "return await client.status()"
        found = work(server().ports["pop3"], text, username=BOB, tls="required")
        self.assertEqual(found, [0, 0])

    def test_refused(self) -> None:
        """A wrong password; no password without TLS; something else that listens."""
        port = server().ports["pop3"]
        self.assertEqual(
            work(port, "return None", tls="required", password="wrong")[0], "AuthenticationFailed"
        )
        self.assertEqual(work(port, "return None", tls="none")[0], "EncryptionRequired")
        imap = server().ports["imap"]
        self.assertEqual(work(imap, "return None", tls="required")[0], "DestinationUnavailable")


class DovecotTests(SynchronousTestCase):
    """
    Our client with another's server; an account that comes from there.
    """

    def setUp(self) -> None:
        """A server with three messages."""
        needsDovecot("pop3")
        self.dovecot = Dovecot("pop3")
        self.addCleanup(self.dovecot.close)
        for number in (1, 2):
            octets = b"Subject: %d\nMessage-ID: <%d@x>\n\n.\n" % (number, number)
            self.dovecot.put(f"{number}.a.b", octets)
        self.dovecot.put("3.a.b", b"Subject: 3\n\n" + b"x" * 70 + b"\n")
        self.dovecot.start()
        self.port = self.dovecot.ports["pop3"]
        self.me = f"{self.id().rpartition('.')[2].lower()}@example.test"
        server().addAccounts(self.me)

    def options(self) -> dict[str, Any]:
        """
        @return: how to log in there.
        """
        return {"username": "a", "password": "secret", "tls": "none", "allowPlaintextAuth": True}

    def uniqueIds(self, port: int, **options: Any) -> list[str]:
        """
        @return: by message number.
        """
        text = "return [m.uniqueId.decode() for m in await client.listMessages()]"
        found: list[str] = work(port, text, **options)
        return found

    def ours(self) -> list[str]:
        """
        @return: those that our server has.
        """
        return self.uniqueIds(server().ports["pop3"], username=self.me, tls="required")

    def test_client(self) -> None:
        """Login by SASL, a pipelined fetch, deletion."""
        found = work(self.port, OwnClientTests.TEXT, **self.options())
        self.assertEqual(found, [3, 3, 0])
        self.assertEqual(self.uniqueIds(self.port, **self.options()), [])

    def test_import(self) -> None:
        """C{mailstack import pop3://}: unique-ids stay; the second run brings what is new."""
        before = self.uniqueIds(self.port, **self.options())
        where = f"pop3://a@127.0.0.1:{self.port}"
        command = ("import", self.me, where, "--tls", "none")
        said = server().tool(*command, stdin="secret\n")
        self.assertIn("Imported 3 messages", said)
        self.assertEqual(self.ours(), before)
        self.dovecot.put("4.a.b", b"Subject: 4\n\nnew\n")
        said = server().tool(*command, stdin="secret\n")
        self.assertIn("Imported 1 messages", said)
        self.assertIn("3 were there already", said)
        self.assertEqual(self.ours(), self.uniqueIds(self.port, **self.options()))

    def test_maildir(self) -> None:
        """Its Maildir, too, brings the unique-ids that its server shows."""
        before = self.uniqueIds(self.port, **self.options())
        said = server().tool("import", self.me, str(self.dovecot.mail))
        self.assertIn("Imported 3 messages", said)
        self.assertEqual(self.ours(), before)
