"""
Several servers of ours and scripted peers, that find one another by MX records.

MX records have no ports, so all of them listen on one port, each on an address of its own in
127.0.0.0/8; C{relay.port} names the port.
"""

from __future__ import annotations

import email
import email.policy
import imaplib
import json
import re
import smtplib
import sqlite3
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import cache
from itertools import count
from typing import Any

from tests.interop.harness import PASSWORD, Server, freePorts
from tests.interop.relaying.nameserver import NameServer, unusedPort
from tests.interop.relaying.peer import Peer, Script
from twisted_mailstack.auth.passwords import hashPassword
from twisted_mailstack.cli.context import Context
from twisted_mailstack.config import load
from twisted_mailstack.model.address import Address
from twisted_mailstack.relay.records import RelayRecords
from twisted_mailstack.relay.security import RECORDS_FILE
from twisted_mailstack.relay.tlsrpt import reportPolicies

#: Seconds to wait for what must happen.
PATIENCE = 60.0
#: A message in which there is whatever breaks if somebody touches it: 8-bit text, dots, blanks at
#: the ends of lines, long lines, octets that are no text, an empty line at the end.
OCTETS = (
    b"Subject: octets\r\nFrom: <alice@a.test>\r\nDate: Wed, 01 Jan 2025 00:00:00 +0000\r\n"
    b"Message-ID: <octets@a.test>\r\nMIME-Version: 1.0\r\nX-Folded: one\r\n\ttwo  \r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b".\r\n..\r\n...\r\n.a\r\n\r\n" + "Grüße, žluťoučký\r\n".encode() + b"blank \r\ntab\t\r\n"
    b"From here\r\n" + b"x" * 996 + b"\r\n" + b"." * 998 + b"\r\n" + b"\xff\xfe\x80\r\n\r\n"
)


def waitFor(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """
    Wait until something is so.

    @return: what the condition gave.
    """
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s: {what}")
        time.sleep(0.05)


class Network:
    """
    Servers and peers that know one another's domains.

    @ivar port: of all of them.
    @ivar dns: the name server.
    """

    def __init__(self) -> None:
        self.port = unusedPort()
        self.dns = NameServer()
        self._numbers = count(2)
        self._closers: list[Callable[[], None]] = [self.dns.close]

    def address(self) -> str:
        """
        @return: an address that nobody has.
        """
        number = next(self._numbers)
        return f"127.0.{number // 250}.{number % 250 + 1}"

    def server(self, domain: str, **settings: Any) -> MailHost:
        """
        @return: a server of ours for a domain, which is its MX; it doesn't run yet.
        """
        host = MailHost(self, domain, settings)
        self._closers.append(host.close)
        self.dns.host(host.name, host.address)
        self.dns.mx(domain, (10, host.name))
        return host

    def peer(self, domain: str, *scripts: Script, **settings: Any) -> Peer:
        """
        @return: a scripted peer that is a domain's MX.
        """
        address = self.address()
        name = f"mx.{domain}"
        peer = Peer(address, self.port, *scripts, name=name, **settings)
        self._closers.append(peer.stop)
        self.dns.host(name, address)
        self.dns.mx(domain, (10, name))
        return peer

    def close(self) -> None:
        """
        Everything ends.
        """
        for closer in reversed(self._closers):
            closer()


class MailHost(Server):
    """
    A server of ours with one domain, that relays.

    @ivar name: what it calls itself.
    @ivar address: where it listens for other servers.
    """

    # It looks every half second for what is overdue, writes counters as often, and mail may expire
    # after seconds.
    program = """
from dataclasses import fields
from twisted.scripts.twistd import run
from twisted_mailstack.config import Configuration
from twisted_mailstack.delivery import queue
from twisted_mailstack.relay import tlsrpt
queue.LOOK = tlsrpt.GATHER = 0.5
for each in fields(Configuration):
    if each.name == "queueLifetime":
        each.metadata = {**each.metadata, "least": 1}
run()
"""

    def __init__(self, network: Network, domain: str, settings: Mapping[str, Any]) -> None:
        """
        @param settings: of the configuration: section and key with a C{__} between them, C{_} for
            C{-}.
        """
        self.network = network
        self.domain = domain
        self.name = f"mx.{domain}"
        self.address = network.address()
        values: dict[str, Any] = {
            "auth.allow-plaintext": True,
            "relay.enabled": True,
            "relay.resolvers": [f"127.0.0.1:{network.dns.port}"],
            "relay.port": network.port,
            "relay.address-families": ["ipv4"],
            "queue.retry": [1, 1, 2],
            "queue.warn-after": 0,
        }
        values.update(
            (key.replace("__", ".").replace("_", "-"), value) for key, value in settings.items()
        )
        super().__init__(
            *("--listen", f"smtp=tcp:{network.port}:interface={self.address}"),
            *(f"--listen={each}=off" for each in ("submissions", "pop3", "pop3s", "imaps")),
            config=f'hostname = "{self.name}"\n' + "".join(_toml(values)),
        )
        self.ports = dict(zip(("submission", "imap"), freePorts(2), strict=True))

    def start(self) -> None:
        """
        Start it; the first time it gets its domain and a first account.
        """
        if not (self.data / "mail.sqlite3").exists():
            self.addAccounts(self.user())
        super().start()

    def user(self, name: str = "alice") -> str:
        """
        @return: an address here.
        """
        return f"{name}@{self.domain}"

    # In this process: each would cost a start of the interpreter.

    def addAccounts(self, *addresses: str) -> None:
        """See L{Server}."""
        with self._directory() as (run, directory):
            for address in map(Address.parse, addresses):
                if run(directory.findDomain(address.domain)) is None:
                    run(directory.addDomain(address.domain))
                run(directory.addAccount(address, _passwordHash()))

    def addAlias(self, address: str, *targets: str) -> None:
        """
        Make an address stand for others.
        """
        with self._directory() as (run, directory):
            run(directory.setAlias(Address.parse(address), [Address.parse(it) for it in targets]))

    @contextmanager
    def _directory(self) -> Iterator[tuple[Callable[[Any], Any], Any]]:
        context = Context(load(None, data=str(self.data)))
        try:
            yield context.run, context.open(make=True).directory
        finally:
            context.close()

    # --- in ------------------------------------------------------------------------------------

    def submit(
        self,
        recipients: str | Sequence[str],
        message: bytes,
        *,
        sender: str | None = None,
        mail: Sequence[str] = (),
        rcpt: Sequence[str] = (),
    ) -> None:
        """
        Through submission.

        @param sender: an account here, by default the first one; empty: the first one sends with
            the null reverse-path.
        @param mail: parameters of MAIL; C{rcpt}: of each RCPT.
        """
        with smtplib.SMTP("127.0.0.1", self.ports["submission"], timeout=60) as client:
            client.ehlo_or_helo_if_needed()
            # The library's own login knows ASCII only.
            plain = b64encode(_plain(sender or self.user())).decode()
            code, said = client.docmd("AUTH", f"PLAIN {plain}")
            assert code == 235, said
            refused = client.sendmail(
                self.user() if sender is None else sender, recipients, message, mail, rcpt
            )
            if refused:
                raise AssertionError(f"refused: {refused}")

    def deliver(self, sender: str, recipients: str | Sequence[str], message: bytes) -> None:
        """
        As another server does.
        """
        with smtplib.SMTP(self.address, self.network.port, timeout=60) as client:
            refused = client.sendmail(sender, recipients, message)
            if refused:
                raise AssertionError(f"refused: {refused}")

    # --- out -----------------------------------------------------------------------------------

    def inbox(self, address: str | None = None) -> list[bytes]:
        """
        @return: the messages of an account's INBOX, the first account's by default.
        """
        client = imaplib.IMAP4("127.0.0.1", self.ports["imap"], timeout=60)
        try:
            client.authenticate("PLAIN", lambda _: _plain(address or self.user()))
            client.select("INBOX", readonly=True)
            _, found = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
            return [each[1] for each in found if isinstance(each, tuple)]
        finally:
            client.logout()

    def mail(self, number: int, address: str | None = None) -> list[bytes]:
        """
        Wait for so many messages, at least one.

        @return: the messages.
        """
        found: list[bytes] = waitFor(
            lambda: len(some := self.inbox(address)) >= number and some,
            f"{number} messages for {address or self.user()}",
        )
        return found

    def queued(self) -> list[dict[str, Any]]:
        """
        @return: what waits, as C{mailstack queue list} has it.
        """
        return [json.loads(line) for line in self.tool("queue", "list", "--json").splitlines()]

    def count(self, statement: str = "SELECT count(*) FROM queued") -> Any:
        """
        @return: what the database says, by default how many messages wait. Without the cost of a
            command, for those who wait for something.
        """
        connection = sqlite3.connect(f"file:{self.data}/mail.sqlite3?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(statement).fetchone()[0]
        finally:
            connection.close()

    def drained(self) -> None:
        """
        Wait until nothing waits any more.
        """
        waitFor(lambda: not self.count(), f"the queue of {self.name} is empty")

    def tlsReport(self, domain: str) -> dict[str, tuple[int, int, list[str]]]:
        """
        Wait until it is noted how the TLS of a domain's servers was.

        @return: by the type of policy (RFC 8460 §4.4): how many sessions kept to it, how many did
            not, and why.
        """

        def look() -> list[dict[str, Any]]:
            records = RelayRecords(self.data / RECORDS_FILE)
            try:
                sessions = records.sessions(str(datetime.now(UTC).date()))
                found: list[dict[str, Any]] = reportPolicies(sessions).get(domain, [])
                return found
            finally:
                records.close()

        return {
            each["policy"]["policy-type"]: (
                each["summary"]["total-successful-session-count"],
                each["summary"]["total-failure-session-count"],
                sorted(it["result-type"] for it in each.get("failure-details", ())),
            )
            for each in waitFor(look, f"the TLS of {domain} is noted")
        }

    def lines(self, *words: str) -> list[str]:
        """
        @return: lines of the log with these words.
        """
        return [
            line
            for line in self.log.read_text(errors="replace").splitlines()
            if all(word in line for word in words)
        ]


def _plain(address: str) -> bytes:
    return f"\0{address}\0{PASSWORD}".encode()


@cache
def _passwordHash() -> str:
    return hashPassword(PASSWORD.encode())


def settle(*hosts: MailHost) -> None:
    """
    Wait until nothing is on its way between servers any more.
    """
    # What left one queue is in the next or in a mailbox before it is gone from the first.
    waitFor(
        lambda: not any(host.count() for host in hosts) and not any(h.count() for h in hosts),
        "all queues are empty",
    )


def _toml(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs = ", ".join(
                f"{json.dumps(name)} = {json.dumps(it)}" for name, it in value.items()
            )
            yield f"{key} = {{ {pairs} }}\n"
        else:
            yield f"{key} = {json.dumps(value)}\n"


def text(subject: str, sender: str = "alice@a.test", body: bytes = b"text\r\n") -> bytes:
    """
    @return: a message that needs nothing added.
    """
    return (
        f"From: <{sender}>\r\nTo: undisclosed-recipients:;\r\nSubject: {subject}\r\n"
        "Date: Wed, 01 Jan 2025 00:00:00 +0000\r\n"
        f"Message-ID: <{subject.replace(' ', '-')}@a.test>\r\n\r\n"
    ).encode() + body


class Notification:
    """
    A delivery status notification, taken apart (RFC 3464).

    @ivar message: all of it.
    @ivar fields: of the message, lower-case names.
    @ivar recipients: those of each recipient.
    @ivar returned: what came back of the original.
    """

    def __init__(self, octets: bytes) -> None:
        """
        @raise AssertionError: if it is none.
        """
        message = email.message_from_bytes(octets, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.message = message
        self.octets = octets
        if message.get_content_type() != "multipart/report":
            raise AssertionError(f"no notification: {octets!r}")
        assert message.get_param("report-type") == "delivery-status"
        assert message["Return-Path"] == "<>", message["Return-Path"]
        human, status, returned = message.get_payload()
        assert human.get_content_type() == "text/plain"
        assert status.get_content_type() in (
            "message/delivery-status",
            "message/global-delivery-status",
        )
        self.text = human.get_content()
        # The library knows no message/global-delivery-status.
        boundary = message.get_boundary()
        assert boundary is not None
        part = octets.replace(b"\r\n", b"\n").split(b"\n--" + boundary.encode())[2]
        groups = re.sub(r"\n[ \t]+", " ", part.decode()).strip("\n").split("\n\n")[1:]
        self.fields, *self.recipients = map(_fields, groups)
        self.returned = returned

    @property
    def only(self) -> dict[str, str]:
        """
        The fields of the one recipient that it is about.
        """
        (recipient,) = self.recipients
        return recipient


def _fields(group: str) -> dict[str, str]:
    lines = [line.partition(":") for line in group.split("\n")]
    return {name.lower(): value.strip() for name, _, value in lines}


def notifications(octets: Sequence[bytes]) -> dict[str, list[dict[str, str]]]:
    """
    @param octets: messages, all of them notifications.
    @return: what they say of each final recipient.
    """
    found: dict[str, list[dict[str, str]]] = {}
    for each in octets:
        for recipient in Notification(each).recipients:
            address = recipient["final-recipient"].partition(";")[2].strip()
            found.setdefault(address, []).append(recipient)
    return found
