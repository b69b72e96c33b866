"""
Every delivery target and policy step of ours keeps its contract.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.delivery.test_target import PlainStore
from tests.smtp.support import UnreachableRelay, WatchedStore, now
from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.policy import HopLimit, PolicyStep
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.target import MailTarget
from twisted_mailstack.errors import MailError
from twisted_mailstack.interfaces import IDeliveryTarget, IPolicyStep, IStagedContent
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import Envelope, Recipient
from twisted_mailstack.testing.contracts.delivery import (
    DeliveryTargetContract,
    PolicyStepContract,
)


class MailTargetTests(DeliveryTargetContract, SynchronousTestCase):
    """
    L{MailTarget} over the memory store.
    """

    def makeStore(self) -> WatchedStore:
        """
        @return: an empty one.
        """
        return WatchedStore()

    def makeTarget(self) -> IDeliveryTarget:
        """See L{DeliveryTargetContract}."""
        self.store = self.makeStore()
        self.addCleanup(lambda: self.assertEqual(self.store.staged, set()))
        now(self.store.directory.addDomain("example.test"))
        for address in self.recipients:
            now(self.store.directory.addAccount(address, None))
        return MailTarget(self.store, Resolver(self.store.directory), Dispatch(UnreachableRelay()))

    def delivered(self, recipient: Address) -> Sequence[bytes]:
        """See L{DeliveryTargetContract}."""
        record = now(self.store.directory.findAccount(recipient))
        assert record is not None
        entries = self.store.accounts[record.accountId].boxes["INBOX"].entries
        return [entry.message.prefix + entry.message.data for entry in entries]


class PlainStoreTests(MailTargetTests):
    """
    L{MailTarget} over a store without a spool.
    """

    def makeStore(self) -> WatchedStore:
        """See L{MailTargetTests}."""
        return PlainStore()


class PolicyStepTests(PolicyStepContract, SynchronousTestCase):
    """
    L{PolicyStep}.
    """

    def makeStep(self) -> IPolicyStep:
        """See L{PolicyStepContract}."""
        return PolicyStep()


class HopLimitTests(PolicyStepContract, SynchronousTestCase):
    """
    L{HopLimit}.
    """

    def makeStep(self) -> IPolicyStep:
        """See L{PolicyStepContract}."""
        return HopLimit()


class BadStep(PolicyStep):
    """
    Breaks its promises one after the other.
    """

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def reversePath(self, envelope: Envelope) -> None:
        """See L{IPolicyStep}."""
        if isinstance(self.answer, Exception):
            raise self.answer

    def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        return self.answer if isinstance(self.answer, bytes) else b""


class ContractTests(SynchronousTestCase):
    """
    The contract sees what breaks it.
    """

    def test_steps(self) -> None:
        """Lines without end, lines that are no fields, wrong codes, other exceptions."""
        for answer, name in (
            (b"X-A: 1", "test_message"),
            (b"no field\r\n", "test_message"),
            (b"X-A: 1\r\n\r\n", "test_message"),
            (MailError("x", smtpCode=250), "test_stages"),
            (KeyError("x"), "test_stages"),
        ):

            class Case(PolicyStepContract, SynchronousTestCase):
                def makeStep(self, answer: object = answer) -> IPolicyStep:
                    return BadStep(answer)

            result = Case(name).defaultTestResult()
            Case(name).run(result)
            self.assertEqual(len(result.failures) + len(result.errors), 1, answer)
