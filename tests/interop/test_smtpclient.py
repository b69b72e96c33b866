"""
SMTPClient with real servers: Postfix's smtp-sink in every shape, and C{twistd mailstack}.
"""

from __future__ import annotations

import atexit
import imaplib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import (
    ALICE,
    BOB,
    PASSWORD,
    ROOT,
    Server,
    environment,
    freePorts,
    looseTLS,
    needs,
)

ME = "me@example.test"
NAMES = ["a@example.org", "b@example.org", "c@example.org"]
#: Messages that tell what a client does to them.
PLAIN = b"Subject: plain\n\n.\n..\n.a dot\n\n" + b"x" * 70 + b"\n"
EIGHT = "Subject: eight\nMIME-Version: 1.0\n\nGr\u00fc\u00dfe\n".encode()
LARGE = b"Subject: large\n\n" + b"".join(b".%078d\n" % number for number in range(40_000))


class Sink:
    """
    A running smtp-sink.
    """

    def __init__(self, *options: str, path: bool = False) -> None:
        """
        @param path: on a Unix socket.
        """
        self.work = Path(tempfile.mkdtemp(prefix="mailstack-sink-"))
        self.work.chmod(0o777)
        (self.port,) = freePorts(1)
        self.path = self.work / "socket"
        where: list[str] = [f"unix:{self.path}" if path else f"127.0.0.1:{self.port}", "50"]
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            ["smtp-sink", *user, *options, "-d", str(self.work / "mail."), *where],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not self._answers(path):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"smtp-sink {' '.join(options)} doesn't listen")
            time.sleep(0.02)

    def _answers(self, path: bool) -> bool:
        with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as probe:
            try:
                probe.connect(str(self.path) if path else ("127.0.0.1", self.port))
            except OSError:
                return False
        return True

    def messages(self) -> list[tuple[list[str], bytes]]:
        """
        @return: the recipients and the text of each message that it took, by their subjects.
        """
        found = []
        for file in self.work.glob("mail.*"):
            head, _, text = file.read_bytes().partition(b"\nReceived: ")
            names = [
                line.partition(b"<")[2].partition(b">")[0].decode()
                for line in head.split(b"\n")
                if line.startswith(b"X-Rcpt-Args:")
            ]
            # Its own field ends where the message begins, and it adds a line.
            at = text.find(b"\nSubject: ") + 1
            found.append((names, text[at:-1]))
        return sorted(found, key=lambda each: each[1][:20])

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.work, ignore_errors=True)


class ClientTestCase(SynchronousTestCase):
    """
    Makes clients talk.
    """

    def setUp(self) -> None:
        """The messages, in files."""
        self.work = Path(self.mktemp()).resolve()
        self.work.mkdir(parents=True)
        for name, text in (("plain", PLAIN), ("eight", EIGHT), ("large", LARGE)):
            (self.work / name).write_bytes(text)

    def message(self, name: str = "plain", to: Any = NAMES, **given: Any) -> dict[str, Any]:
        """
        @return: one that is to be sent.
        """
        return {"from": ME, "to": to, "file": str(self.work / name), **given}

    def talk(self, *connections: dict[str, Any]) -> list[dict[str, Any]]:
        """
        @return: what came of them.
        """
        done = subprocess.run(
            [sys.executable, "-m", "tests.interop.mailclient"],
            input=json.dumps(connections).encode(),
            capture_output=True,
            timeout=120,
            cwd=ROOT,
            env=environment(),
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace")[-3000:])
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


class SinkTests(ClientTestCase):
    """
    smtp-sink.
    """

    def setUp(self) -> None:
        """It has to be there."""
        needs("smtp-sink")
        super().setUp()

    def sink(self, *options: str, path: bool = False) -> Sink:
        """
        @return: one that ends with the test.
        """
        sink = Sink(*options, path=path)
        self.addCleanup(sink.close)
        return sink

    def to(self, sink: Sink, *messages: dict[str, Any], **options: Any) -> dict[str, Any]:
        """
        @return: a connection to it.
        """
        options = {"host": "127.0.0.1", "port": sink.port, **options}
        return {"options": options, "messages": messages}

    def test_extensions(self) -> None:
        """
        Whatever it offers, every message arrives as it was, for all recipients, over one
        connection; without 8BITMIME encoded.
        """
        kinds: list[tuple[str, ...]] = [
            *((), ("-8",), ("-p",), ("-E",), ("-e",), ("-8", "-p", "-E", "-N")),
            ("-L",),
        ]
        sinks = [self.sink(*options) for options in kinds]
        names = ("plain", "eight", "large")
        connections = [
            self.to(sink, *map(self.message, names), lmtp="-L" in options)
            for sink, options in zip(sinks, kinds, strict=True)
        ]
        for options, sink, found in zip(kinds, sinks, self.talk(*connections), strict=True):
            self.assertNotIn("error", found, (options, found))
            for results in found["results"]:
                self.assertEqual([line[:4] for line in results], ["250 "] * 3, options)
            self.assertTrue(found["usable"])
            self.assertEqual("8BITMIME" in found["offered"], not {"-8", "-e"} & set(options))
            eight, large, plain = sink.messages()
            self.assertEqual(plain, (NAMES, PLAIN), options)
            self.assertEqual(large, (NAMES, LARGE), options)
            if "8BITMIME" in found["offered"]:
                self.assertEqual(eight, (NAMES, EIGHT))
            else:
                self.assertTrue(eight[1].endswith(b"\n\nGr=C3=BC=C3=9Fe\n"))

    def test_refusals(self) -> None:
        """Refused at each step, for good and for now."""
        cases = [
            (flag, step, code)
            for flag, code in (("-f", 500), ("-r", 450))
            for step in ("CONNECT", "MAIL", "RCPT", "DATA", ".")
        ]
        sinks = [self.sink(flag, step) for flag, step, _ in cases]
        found = self.talk(*(self.to(sink, self.message(), self.message()) for sink in sinks))
        for (flag, step, code), answer in zip(cases, found, strict=True):
            if step == "CONNECT":
                self.assertEqual(answer["code"], code, (flag, step))
                continue
            for results in answer["results"]:
                self.assertEqual([line[:3] for line in results], [str(code)] * 3, (flag, step))
            self.assertTrue(answer["usable"])

    def test_disconnects(self) -> None:
        """It goes at each step, with 421 or without a word."""
        cases = [
            (flag, step)
            for flag in ("-q", "-Q")
            for step in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".")
        ]
        sinks = [self.sink(flag, step) for flag, step in cases]
        found = self.talk(*(self.to(sink, self.message(), self.message()) for sink in sinks))
        for (flag, step), answer in zip(cases, found, strict=True):
            if step in ("CONNECT", "EHLO"):
                expected = "DestinationUnavailable" if flag == "-q" else "MailError"
                self.assertEqual(answer["error"], expected, (flag, step))
                continue
            first, second = answer["results"]
            code = "451" if flag == "-q" else "421"
            self.assertEqual([line[:3] for line in first], [code] * 3, (flag, step))
            self.assertEqual([line[:3] for line in second], ["451"] * 3)
            self.assertFalse(answer["usable"])

    def test_abort(self) -> None:
        """It refuses a large text while it is sent, and takes no more."""
        sink = self.sink("-A", "0")
        [answer] = self.talk(self.to(sink, self.message("large")))
        for line in answer["results"][0]:
            # The refusal, or what is left of it where the connection broke before it was heard.
            self.assertIn(line[:3], ("550", "451"))
        self.assertFalse(answer["usable"])
        self.assertEqual(sink.messages(), [])

    def test_socket(self) -> None:
        """LMTP over a Unix socket."""
        sink = self.sink("-L", path=True)
        options = {"path": str(sink.path), "lmtp": True}
        [answer] = self.talk({"options": options, "messages": [self.message()] * 2})
        for results in answer["results"]:
            self.assertEqual([line[:3] for line in results], ["250"] * 3)
        self.assertEqual([each[0] for each in sink.messages()], [NAMES] * 2)


@cache
def sharedServer() -> Server:
    """
    @return: one running server for all tests of this process.
    """
    server = Server()
    atexit.register(server.close)
    server.start()
    server.addAccounts(ALICE, BOB)
    return server


class OwnServerTests(ClientTestCase):
    """
    C{twistd mailstack}.
    """

    def setUp(self) -> None:
        """A server with two accounts."""
        super().setUp()
        self.server = sharedServer()
        for file in self.work.iterdir():
            # Who submits says whose mail it is.
            file.write_bytes(f"From: {ALICE}\n".encode() + file.read_bytes())
        self.trust = str(self.server.data / "self-signed.pem")

    def to(self, name: str, *messages: dict[str, Any], **options: Any) -> dict[str, Any]:
        """
        @return: a connection to one of its ports.
        """
        options = {"host": "localhost", "port": self.server.ports[name], **options}
        return {"options": {"trust": self.trust, **options}, "messages": messages}

    def inbox(self, address: str) -> list[bytes]:
        """
        @return: the texts in an account, which then are gone.
        """
        with imaplib.IMAP4_SSL(
            "127.0.0.1", self.server.ports["imaps"], ssl_context=looseTLS(), timeout=30
        ) as client:
            client.login(address, PASSWORD)
            client.select()
            _, data = client.fetch("1:*", "(BODY[TEXT])")
            client.store("1:*", "+FLAGS", "\\Deleted")
            client.expunge()
        return [each[1] for each in data if isinstance(each, tuple)]

    def test_submission(self) -> None:
        """By STARTTLS and with TLS from the beginning, with a password; several messages."""
        messages = [
            {**self.message(name, [ALICE, BOB, "no@example.test"]), "from": ALICE}
            for name in ("plain", "eight", "large")
        ]
        login = {"username": ALICE, "password": PASSWORD}
        found = self.talk(
            self.to("submission", *messages, **login),
            self.to("submissions", *messages, tls="implicit", **login),
        )
        for answer in found:
            self.assertTrue(answer["secure"])
            for results in answer["results"]:
                self.assertEqual([line[:9] for line in results],
                                 ["250 2.0.0", "250 2.0.0", "550 5.1.1"], results)  # fmt: skip
            self.assertIn("CHUNKING", answer["offered"])
        bodies = [
            text.partition(b"\n\n")[2].replace(b"\n", b"\r\n") for text in (PLAIN, EIGHT, LARGE)
        ]
        for address in (ALICE, BOB):
            self.assertEqual(self.inbox(address), bodies * 2)

    def test_relay(self) -> None:
        """At the port for other servers, without a login."""
        found = self.talk(
            self.to("smtp", self.message(to=[BOB]), tls="verified"),
            self.to("smtp", self.message(to=[BOB, "x@elsewhere.test"]), tls="none"),
        )
        self.assertEqual([answer["secure"] for answer in found], [True, False])
        self.assertEqual(found[1]["results"][0][1][:3], "550")
        self.assertEqual(len(self.inbox(BOB)), 2)

    def test_refused(self) -> None:
        """A wrong password, an unknown certificate, a port where nobody is."""
        login = {"username": ALICE, "password": "wrong"}
        wrong = self.to("submission", **login)
        stranger = self.to("submission", **login)
        del stranger["options"]["trust"]
        (port,) = freePorts(1)
        nobody = {"options": {"host": "localhost", "port": port}, "messages": []}
        found = self.talk(wrong, stranger, nobody)
        self.assertEqual(
            [answer["error"] for answer in found],
            ["AuthenticationFailed", "TLSUnavailable", "DestinationUnavailable"],
        )
