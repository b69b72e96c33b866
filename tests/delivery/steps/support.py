"""
What the tests of policy steps share: a directory, a clock, and a DNS that is made up.
"""

from __future__ import annotations

from collections.abc import Awaitable
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.delivery.support import DirectoryTestCase
from tests.smtp.support import TODAY, WatchedStore, now, stage
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.step import StepRecord, StepServices
from twisted_mailstack.errors import LookupFailed, MailError
from twisted_mailstack.interfaces import IDNSLookup, IPolicyStep
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.dns import DNSAnswer
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient

ALICE = "alice@example.test"
BOB = "bob@example.test"
STRANGER = "stranger@far.test"
#: A client somewhere.
PEER = "192.0.2.1"


def info(peer: str = PEER, service: str = "smtp", name: str | None = None) -> ConnectionInfo:
    """
    @return: of a connection.
    """
    return ConnectionInfo(peer, 50000, service, name=name)


def envelope(
    reversePath: str | None = STRANGER,
    *,
    peer: str = PEER,
    login: str | None = None,
    helo: str = "client.test",
    name: str | None = None,
    **parameters: str | None,
) -> Envelope:
    """
    @param login: whose session it is.
    @return: an envelope.
    """
    return Envelope(
        info(peer, name=name),
        helo,
        None if reversePath is None else Address.parse(reversePath),
        None if login is None else Address.parse(login),
        parameters,
        "Q1",
    )


@implementer(IDNSLookup)
class MadeUpDNS:
    """
    A DNS that is made up.

    @ivar answers: records by name and type; what isn't there doesn't exist.
    @ivar failing: names of which there is no answer.
    @ivar silent: names of which the answer never comes.
    @ivar asked: what was asked, in order.
    @ivar cancelled: what nobody wanted to know any more.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.failing: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.cancelled: list[str] = []

    async def lookup(self, name: str, kind: str) -> DNSAnswer:
        """See L{IDNSLookup}."""
        self.asked.append((name, kind))
        if name in self.failing:
            raise LookupFailed()
        if name in self.silent:
            await Deferred(lambda _: self.cancelled.append(name))
        records = self.answers.get((name, kind))
        exists = any(known == name for known, _ in self.answers)
        return DNSAnswer(records or (), exists, name=name)

    def addName(self, peer: str, *names: str) -> None:
        """
        Give a client names, each with its address.
        """
        address = ip_address(peer)
        self.answers[address.reverse_pointer, "PTR"] = names
        for name in names:
            self.answers[name, "A" if address.version == 4 else "AAAA"] = (peer,)


class StepTestCase(DirectoryTestCase):
    """
    A store with the domain example.test, in which alice and bob are, and what steps may use.
    """

    def setUp(self) -> None:
        """Make it."""
        self.clock = Clock()
        super().setUp()
        self.dns = MadeUpDNS()
        assert verifyObject(IDNSLookup, self.dns)
        self.services = StepServices(
            hostname="mx.example.test",
            resolver=Resolver(self.directory),
            clock=self.clock,
            now=self.now,
            lookup=self.dns,
            memory=self.store.memory,
        )

    def makeStore(self) -> WatchedStore:
        """See L{DirectoryTestCase}."""
        return WatchedStore(now=self.now)

    def tearDown(self) -> None:
        """No timer is left."""
        self.assertEqual([each for each in self.clock.getDelayedCalls() if each.active()], [])

    def now(self) -> float:
        """The time of day."""
        return TODAY + self.clock.seconds()

    def make(self, record: StepRecord, **settings: Any) -> IPolicyStep:
        """
        @return: a step that has something to do.
        """
        step = record.make(record.settings(**settings), self.services)
        assert step is not None
        self.assertTrue(verifyObject(IPolicyStep, step))
        return step

    # --- the stages; each says what the client is told, empty for nothing ----------------------

    def said(self, asked: Awaitable[Any] | None) -> str:
        """
        @return: a refusal as the client sees it; empty for none.
        """
        if asked is not None:
            try:
                now(asked)
            except MailError as error:
                return _reply(error)
        return ""

    def _ask(self, stage: Any, *arguments: Any) -> str:
        try:
            return self.said(stage(*arguments))
        except MailError as error:
            return _reply(error)

    def connect(self, step: IPolicyStep, peer: str = PEER, name: str | None = None) -> str:
        """The greeting."""
        return self._ask(step.connection, info(peer, name=name))

    def mail(self, step: IPolicyStep, reversePath: str | None = STRANGER, **given: Any) -> str:
        """MAIL."""
        return self._ask(step.reversePath, envelope(reversePath, **given))

    def rcpt(
        self,
        step: IPolicyStep,
        recipient: str = ALICE,
        reversePath: str | None = STRANGER,
        **given: Any,
    ) -> str:
        """RCPT."""
        return self._ask(
            step.recipient,
            envelope(reversePath, **given),
            Recipient(Address.parse(recipient), {}),
        )

    def data(
        self,
        step: IPolicyStep,
        text: bytes = b"",
        *recipients: str,
        reversePath: str | None = STRANGER,
        **given: Any,
    ) -> str:
        """
        The end of data.

        @return: the refusal, or the lines that the step adds.
        """
        asked = [Recipient(Address.parse(each), {}) for each in recipients or (ALICE,)]
        content = now(stage(text))
        lines: list[bytes] = []

        async def run() -> None:
            found: Any = step.message(envelope(reversePath, **given), asked, content)
            lines.append(found if isinstance(found, bytes) else await found)

        refusal = self.said(run())
        return refusal or lines[0].decode()

    def begin(self, asked: Awaitable[Any] | None) -> Deferred[Any]:
        """
        @return: what waits.
        """
        assert asked is not None

        async def run() -> Any:
            return await asked

        return ensureDeferred(run())


def _reply(error: MailError) -> str:
    assert error.enhancedStatus[0] == str(error.smtpCode)[0], error
    assert error.text.isprintable(), error
    return f"{error.smtpCode} {error.enhancedStatus} {error.text}"
