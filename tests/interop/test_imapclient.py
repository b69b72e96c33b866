"""
IMAPClient with C{twistd mailstack} over real TLS, and an account that moves from one server to
another by C{mailstack import}.
"""

from __future__ import annotations

import atexit
import imaplib
import json
import subprocess
import sys
from functools import cache
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import ALICE, BOB, PASSWORD, ROOT, Server, environment, looseTLS

#: Runs a coroutine with a client, and prints its result as JSON.
SCRIPT = """
import json, sys
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted_mailstack.errors import MailError
from twisted_mailstack.imap.client import IMAPClient

async def main(reactor):
    port, options, text = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
    scope = {"reactor": reactor}
    exec("async def work(client):\\n" + "\\n".join("    " + l for l in text.splitlines()), scope)
    try:
        async with IMAPClient(reactor, "127.0.0.1", port, **options) as client:
            print(json.dumps(await scope["work"](client)))
    except MailError as error:
        print(json.dumps([type(error).__name__, str(error)]))

task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""
LARGE = b"Subject: large\r\n\r\n" + b"".join(b"%078d\r\n" % number for number in range(60_000))


@cache
def server() -> Server:
    """
    @return: a server with alice and bob.
    """
    found = Server()
    atexit.register(found.close)
    found.start()
    found.addAccounts(ALICE, BOB)
    return found


def connect(at: Server, address: str) -> imaplib.IMAP4_SSL:
    """
    @return: another's client, logged in.
    """
    client = imaplib.IMAP4_SSL("127.0.0.1", at.ports["imaps"], ssl_context=looseTLS())
    client.login(address, PASSWORD)
    return client


class ClientTests(SynchronousTestCase):
    """The client over the network."""

    def work(self, service: str, text: str, **options: Any) -> Any:
        """
        @param text: what is done with C{client}.
        @return: what it returned.
        """
        options = {"username": ALICE, "password": PASSWORD, **options}
        done = subprocess.run(
            [
                *(sys.executable, "-c", SCRIPT, str(server().ports[service])),
                *(json.dumps(options), text),
            ],
            capture_output=True,
            timeout=60,
            cwd=ROOT,
            env=environment(),
        )
        self.assertEqual(done.stderr.decode(), "")
        return json.loads(done.stdout)

    def test_startTLS(self) -> None:
        """STARTTLS, a login, a message that is appended, idled for and read in pieces."""
        text = """
from twisted_mailstack.model.flags import FlagOperation
class Sink:
    data = b""
    def write(self, data):
        self.data += data
large = b"Subject: large\\r\\n\\r\\n" + b"".join(b"%078d\\r\\n" % n for n in range(60000))
assert client.session.stream.info.secure
await client.select("INBOX")
uid = (await client.append("INBOX", large, ["\\\\Seen"])).uids[0]
sink = Sink()
told = await client.fetchTo(uid, sink)
assert sink.data == large, len(sink.data)
assert "\\\\Seen" in told.flags
reactor.callLater(0.2, client.stopIdle)
await client.idle()
await client.store([uid], FlagOperation.ADD, ["\\\\Deleted"])
await client.expunge([uid])
return (await client.search("ALL")).uids
"""
        self.assertEqual(self.work("imap", text, tls="required"), [])

    def test_verified(self) -> None:
        """A certificate that nobody vouches for isn't taken, unless that is wanted."""
        for service, level in (("imaps", "implicit"), ("imap", "verified")):
            name, text = self.work(service, "return None", tls=level)
            self.assertEqual(name, "TLSUnavailable")
            self.assertIn("issuer is not trusted", text)

    def test_wrongPassword(self) -> None:
        """A wrong password."""
        found = self.work("imap", "return None", tls="required", password="wrong")
        self.assertEqual(found[0], "AuthenticationFailed")

    def test_nobody(self) -> None:
        """A port where something else listens, and one without TLS."""
        self.assertEqual(
            self.work("pop3", "return None", tls="required")[0], "DestinationUnavailable"
        )
        self.assertEqual(self.work("imap", "return None", tls="none")[0], "EncryptionRequired")


class MigrationTests(SynchronousTestCase):
    """C{mailstack import} from a server."""

    def test_move(self) -> None:
        """
        An account moves, octet for octet; the second time only what is new; a wrong password and a
        server that isn't there are told.
        """
        old = connect(server(), BOB)
        for number in range(150):
            text = b"Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\n" % (number, number)
            old.append("Sent", "(\\Seen)", '"17-Jul-1996 02:44:25 -0700"', text)  # type: ignore[arg-type]
        old.append("INBOX", "", "", LARGE)  # type: ignore[arg-type]
        new = Server()
        self.addCleanup(new.close)
        new.start()
        new.addAccounts(ALICE)
        source = f"imap://{BOB}@127.0.0.1:{server().ports['imap']}"
        arguments = ("import", ALICE, source, "--tls", "required")
        said = new.tool(*arguments, stdin=PASSWORD + "\n")
        self.assertIn("Imported 151 messages", said)
        old.append("INBOX", "", "", b"Subject: late\r\n\r\n")  # type: ignore[arg-type]
        said = new.tool(*arguments, stdin=PASSWORD + "\n")
        self.assertIn("Imported 1 messages into alice@example.test; 151 were there already", said)
        client = connect(new, ALICE)
        client.select("INBOX", readonly=True)
        found: Any = client.fetch("1", "(BODY.PEEK[])")[1]
        self.assertEqual(found[0][1], LARGE)
        client.select("Sent", readonly=True)
        found = client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        rows = found[::2]
        self.assertEqual(len(rows), 150)
        self.assertIn(b'"17-Jul-1996 02:44:25 -0700"', rows[0][0])
        self.assertIn(b"\\Seen", rows[149][0])
        self.assertEqual(rows[149][1].strip(), b"Subject: 149")
        said = new.tool(*arguments, stdin="wrong\n", status=1)
        self.assertIn("uthentication failed", said)
        said = new.tool(*arguments[:3], stdin=PASSWORD + "\n", status=1)
        self.assertIn("not trusted", said)
        said = new.tool("import", ALICE, "imaps://x@127.0.0.1:1", stdin="x\n", status=1)
        self.assertIn("127.0.0.1: ", said)

    def test_arguments(self) -> None:
        """What can't be done is said before anything is asked."""
        for source in ("ftp://a@b", "imaps://host", "imaps://a:secret@host", "imaps://a@host/x"):
            self.assertIn("Error: ", server().tool("import", ALICE, source, status=2))
